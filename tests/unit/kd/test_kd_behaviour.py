"""What a real kernel did with this host (reference/kd.md, "Seen since"), done by the simulated one for ever."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.kd_rig import Rig, vectors
from support.kd_target import BREAK_WITH_STATUS, FIRST, PC, Target

from wsklab.qemu.kd.events import (
    Bugcheck,
    Damaged,
    ExceptionSeen,
    GivenUp,
    Located,
    Place,
    Prompted,
    Resynced,
    Standing,
    TextLine,
)
from wsklab.qemu.kd.modules import Modules
from wsklab.qemu.kd.session import Session
from wsklab.qemu.kd.text import PrintedText

FLAVOURS = ["windows", "reactos"]
VECTORS = vectors()
USER = 0x7FF612340000


@pytest.fixture(params=FLAVOURS)
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    one = Rig(flavour=request.param)
    yield one
    one.close()


def causes(rig: Rig) -> list[str]:
    return [event.cause for event in rig.events if isinstance(event, ExceptionSeen)]


def x86(rig: Rig) -> Target:
    rig.target.x86 = True
    rig.target.memory.clear()
    rig.target.debugger_data()
    return rig.target


# --- bugchecks


def test_the_status_of_a_bugcheck_is_the_first_argument_of_its_routine(rig: Rig) -> None:
    """On x64 that is Rcx; what Rax holds there is nobody's business."""
    rig.play(rig.target.bugcheck(0xD1, (0x10, 2, 0, PC)), limit=1.0)  # at once, not when no stop came after the text
    assert [(one.code, one.source) for one in rig.events if isinstance(one, Bugcheck)] == [(0xD1, "memory")]
    assert causes(rig) == ["bugcheck"]


@pytest.mark.parametrize("status", [3, 4])
def test_a_driver_that_breaks_with_a_bugchecks_status_hides_no_bugcheck(rig: Rig, status: int) -> None:
    rig.play(rig.target.int3(BREAK_WITH_STATUS, status), rig.target.print(b"on\n"))
    assert rig.of(Bugcheck) == [] and causes(rig) == ["breakpoint"] and rig.lines() == ["on"]
    rig.play(rig.target.bugcheck(0x50, (1, 2, 3, 4)))
    assert [event.code for event in rig.events if isinstance(event, Bugcheck)] == [0x50]


def test_a_kernel_that_comes_back_for_ever_after_its_bugcheck_is_left_standing(rig: Rig) -> None:
    with pytest.raises(AssertionError, match="the target stands still"):
        rig.play(
            rig.target.bugcheck(0xA, (1, 2, 3, 4)), rig.target.print(b"dump\n"), rig.target.bugcheck_end(), limit=60.0
        )
    assert rig.target.stops == 2 and rig.lines()[-1] == "dump"
    assert len(rig.of(Bugcheck)) == 1 and rig.events[-1] == Standing(BREAK_WITH_STATUS)
    assert rig.session.due is None  # nothing more is said or asked


def test_a_bugcheck_of_32_bits_is_read(rig: Rig) -> None:
    rig.play(x86(rig).bugcheck(0xD1, (0x10, 2, 0, 0x80405060)), limit=1.0)
    assert [(event.code, event.parameters, event.source) for event in rig.events if isinstance(event, Bugcheck)] == [
        (0xD1, (0x10, 2, 0, 0x80405060), "memory")
    ]


def test_a_users_breakpoint_is_passed_on_32_bits_too(rig: Rig) -> None:
    """Its program counter says nothing of the machine; the thread does."""
    target = x86(rig)
    rig.play(target.int3(0x00401000), target.print(b"on\n"), limit=5.0)
    assert target.stops == 1 and target.pc == 0x00401001
    assert causes(rig) == ["user"] and rig.lines() == ["on"]


def test_the_parameters_of_a_bugcheck_name_the_driver(rig: Rig) -> None:
    rig.play(
        rig.target.load(r"\SystemRoot\System32\drivers\wsklab.sys", base=0xFFFFF80010000000),
        rig.target.bugcheck(0xD1, (0x10, 2, 0, 0xFFFFF80010001234)),
    )
    assert [event.where for event in rig.events if isinstance(event, Bugcheck)] == [("wsklab.sys+0x1234",)]


# --- snapshots


@pytest.mark.parametrize("own", [FIRST, FIRST | 1])
@pytest.mark.parametrize("expected", [FIRST, FIRST | 1])
@pytest.mark.parametrize("replying", [False, True])
def test_a_snapshot_in_a_stop_goes_on(rig: Rig, own: int, expected: int, replying: bool) -> None:
    """The state change was ACKed before: only a RESET makes the target say again what it waits for."""
    rig.play(rig.target.print(b"before\n"))
    rig.target.own, rig.target.expected = own, expected
    rig.session.resync(restored=True)
    rig.do(rig.session.resumed(rig.now))
    stop = rig.target.from_a_reply() if replying else rig.target.from_a_stop()
    rig.play(stop, rig.target.print(b"after\n"), limit=30.0)
    assert rig.lines() == ["before", "after"] and rig.target.pc == PC + 1


def test_a_reset_that_is_lost_after_a_restore_is_said_again(rig: Rig) -> None:
    """The beginning of a request is in the snapshot: what comes first is taken for its rest."""
    rig.session.resync(restored=True)
    rig.target.fifo += VECTORS["V13"][:40]
    rig.do(rig.session.resumed(rig.now))
    rig.play(rig.target.from_a_stop(), rig.target.print(b"after\n"), limit=30.0)
    assert rig.lines() == ["after"]


@pytest.mark.parametrize("cut", [1, 15, 16, 17, 33, 40])
def test_a_snapshot_in_the_middle_of_a_packet_gives_the_line_once(rig: Rig, cut: int) -> None:
    rig.play(rig.target.print(b"before\n"))
    rig.session.resync(restored=True)
    rig.do(rig.session.resumed(rig.now))
    rig.play(rig.target.from_the_middle_of_a_packet(b"WSKLAB1 seq=0001 ev=call\n", cut), rig.target.print(b"on\n"))
    assert rig.lines() == ["before", "WSKLAB1 seq=0001 ev=call", "on"]
    assert rig.plain() == [] and rig.of(Damaged) == []


def test_a_target_that_no_longer_speaks_kd_after_a_restore_is_heard_in_the_end() -> None:
    session = Session()
    session.resync(restored=True)
    text = b"".join(b"line %d of the firmware\n" % number for number in range(400))
    heard = [event.text for event in session.feed(text, 0.0).events if isinstance(event, TextLine)]
    assert heard[-1] == "line 399 of the firmware" and len(text) - sum(map(len, heard)) < 5000


def test_a_running_target_takes_no_harm_from_the_reset(rig: Rig) -> None:
    rig.session.resync(restored=True)
    rig.do(rig.session.resumed(rig.now))
    rig.play(rig.target.busy(5.0), rig.target.print(b"on\n"), rig.target.load("a.sys"), rig.target.print(b"end\n"))
    assert rig.lines() == ["on", "end"] and rig.target.stops == 0


# --- stalls


def test_a_stall_starts_no_echo_of_resends(rig: Rig) -> None:
    """It leaves a copy of one request; two sides that answer every RESEND at once repeat everything from then on."""
    said = bytearray()
    rig.target.stalls = {2: 0.3}
    control = rig.target.control

    def count(kind: int, number: int = 0) -> None:
        said.append(kind)
        control(kind, number)

    rig.target.control = count  # type: ignore[method-assign]
    rig.play(*[rig.target.int3() for _ in range(64)], rig.target.print(b"end\n"))
    assert rig.lines() == ["end"] and len(rig.of(ExceptionSeen)) == 64
    assert said.count(5) < 8


def test_a_target_that_gave_its_debugger_up_is_won_back_and_the_loss_told(rig: Rig) -> None:
    target = rig.target
    rig.play(target.print(b"first\n"))
    rig.lag = 2.0  # the host does nothing
    rig.play(*[target.print(b"line %d\n" % number) for number in range(50)])
    assert target.gave_up == 1 and len(target.dropped) == 49
    rig.lag = 0.0
    rig.play(target.busy(3.0), target.print(b"last\n"))
    assert rig.lines() == ["first", "line 0", "last"]
    assert [type(event) for event in rig.events if isinstance(event, (GivenUp, Resynced))] == [GivenUp]
    assert set(causes(rig)) == {"break-in"}


def test_a_host_that_is_only_slow_is_no_loss(rig: Rig) -> None:
    rig.lag = 0.15  # a target under TCG tries ten times
    rig.play(*[rig.target.print(b"line %d\n" % number) for number in range(20)], rig.target.busy(3.0))
    assert len(rig.lines()) == 20 and rig.of(GivenUp) == [] and rig.target.gave_up == 0


@pytest.mark.parametrize("how", ["shutdown", "crash", "module", "reset"])
def test_a_reboot_is_no_loss(rig: Rig, how: str) -> None:
    target = rig.target
    rig.play(target.print(b"up\n"))
    if how == "shutdown":
        rig.play(target.load("", unload=True, base=2**64 - 1))
    elif how == "crash":
        rig.play(target.bugcheck(0xA, (1, 2, 3, 4)))
    elif how == "reset":
        rig.session.rebooted()
    target.own, target.expected = FIRST | 0x800, FIRST
    rig.play(target.load("ntoskrnl.exe") if how == "module" else target.print(b"Windows\n"))
    assert rig.of(GivenUp) == [] and rig.of(Resynced) == [Resynced("target")]


def test_a_reset_before_the_first_packet_does_not_hide_a_later_loss(rig: Rig) -> None:
    rig.session.resync()
    rig.session.rebooted()
    rig.play(rig.target.print(b"up\n"))
    rig.target.own, rig.target.expected = FIRST | 0x800, FIRST
    rig.play(rig.target.int3(BREAK_WITH_STATUS, 1))
    assert len(rig.of(GivenUp)) == 1


@pytest.mark.parametrize("at", [10, 20, 30])
def test_a_guest_that_halts_in_mid_packet_under_load_is_not_damage(at: int) -> None:
    session = Session()
    session.feed(VECTORS["V1"], 0.0)
    session.feed(VECTORS["V3"][:at], 1.0)
    events = []
    for ms in range(150):
        events += session.tick(1.0 + ms / 1000).events
    events += session.feed(VECTORS["V3"][at:], 1.15).events
    assert events == [TextLine("hello", 0)]


# --- prompts, asserts, exceptions


def test_a_prompt_is_told_with_what_was_said_before(rig: Rig) -> None:
    target = rig.target
    rig.play(
        target.print(b"WSKLAB1 other processor\n", cpu=1),
        target.print(b"\n*** Assertion failed: Irp->CurrentLocation > 0\n***   Source File: a.c, line 5\n\n"),
        target.prompt(b"Break repeatedly, break Once, Ignore, terminate Process, or terminate Thread (boipt)? "),
        target.print(b"on\n"),
    )
    assert rig.of(Prompted) == [
        Prompted(
            "Break repeatedly, break Once, Ignore, terminate Process, or terminate Thread (boipt)?",
            ("*** Assertion failed: Irp->CurrentLocation > 0", "***   Source File: a.c, line 5"),
        )
    ]
    assert target.answers == [b"i"] and rig.lines()[-1] == "on"


@pytest.mark.parametrize(
    ("act", "cause"),
    [
        (lambda target: target.int3(code=0xC0000420, stream=b"\xcd\x2c\xc3"), "assertion"),
        (lambda target: target.int3(), "breakpoint"),
        (lambda target: target.int3(USER), "user"),
        (lambda target: target.exception(0xC0000005, first=False), "fault"),
        (lambda target: target.exception(0x80000004), "fault"),
        (lambda target: target.int3(BREAK_WITH_STATUS, 1), "breakpoint"),  # a break-in that nobody asked for
    ],
)
def test_why_it_stopped_is_told(rig: Rig, act: object, cause: str) -> None:
    rig.play(act(rig.target), rig.target.print(b"on\n"))  # type: ignore[operator]
    assert causes(rig) == [cause] and rig.lines() == ["on"]


def test_an_exception_whose_examination_is_cut_off_is_told(rig: Rig) -> None:
    rig.target.mute = 0x3132
    with pytest.raises(AssertionError):
        rig.play(rig.target.int3(), limit=0.5)
    assert [type(event) for event in rig.session.close()] == [ExceptionSeen]


# --- breaking in


def test_a_target_that_hangs_says_where_when_it_is_broken_into(rig: Rig) -> None:
    target, driver = rig.target, 0xFFFFF80010000000
    target.others = [(driver + 0x1234, PC + 0x20F00)]
    target.memory[PC + 0x20F00] = target.words(*[0x11] * 4, driver + 0x456, *[0x11] * 27)
    target.memory[target.sp] = target.words(PC, driver + 0x789, *[0x11] * 254)
    rig.play(
        target.load(r"\SystemRoot\system32\ntoskrnl.exe", base=0xFFFFF80000000000),
        target.load(r"\SystemRoot\System32\drivers\wsklab.sys", base=driver),
    )
    rig.do(rig.session.break_in(rig.now, survey=True))
    rig.play(target.busy(1.0), target.print(b"on\n"))
    assert rig.of(Located) == [
        Located(
            (
                Place(0, f"ntoskrnl.exe+{BREAK_WITH_STATUS - 0xFFFFF80000000000:#x}", ("wsklab.sys+0x789",)),
                Place(1, "wsklab.sys+0x1234", ("wsklab.sys+0x456",)),
            )
        )
    ]
    assert causes(rig) == ["break-in"] and rig.lines() == ["on"]


def test_a_break_in_is_tried_again_and_then_let_be(rig: Rig) -> None:
    said = [rig.session.break_in(0.0, survey=True).send]
    while (due := rig.session.due) is not None:
        said.append(rig.session.tick(due).send)
    assert [data for data in said if data] == [b"b"] * 3


# --- text


def known(text: str) -> bool:
    return text.startswith("WSKLAB1 ")


def test_what_another_driver_left_unfinished_does_not_hide_a_line(rig: Rig) -> None:
    rig.session = Session(known)
    rig.play(
        rig.target.print(b"storport: "),
        rig.target.print(b"WSKLAB1 seq=1\n"),
        rig.target.print(b"one, "),
        rig.target.print(b"two\n"),
    )
    assert rig.lines() == ["storport: ", "WSKLAB1 seq=1", "one, two"]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.text(alphabet="aW \n", max_size=6)), max_size=30))
def test_no_text_is_lost_or_invented_wherever_prints_begin(prints: list[tuple[int, str]]) -> None:
    printed = PrintedText(lambda text: text.startswith("W"))
    lines = [line for cpu, text in prints for line in printed.feed(cpu, text.encode())] + printed.flush()
    for cpu in (0, 1):
        said = "".join(text for one, text in prints if one == cpu)
        assert "".join(line.text for line in lines if line.processor == cpu) == said.replace("\n", "")


def test_modules_come_and_go() -> None:
    modules = Modules()
    modules.loaded(r"\??\C:\wsklab\wsklab.sys", 0x1000, 0x2000)
    assert (modules.name(0x1FFF), modules.name(0x3000)) == ("wsklab.sys+0xfff", "0x3000")
    modules.unloaded(0x1000)
    assert modules.name(0x1FFF) == "0x1fff"


def test_the_latency_of_packets_is_that_of_the_target_and_the_host() -> None:
    rig = Rig(lag=0.005)
    rig.play(rig.target.load("a.sys"), rig.target.int3())
    rig.close()
    assert len(rig.session.latencies) == 4  # Continue; GetContext, SetContext, Continue
    assert all(0 < one <= 0.01 for one in rig.session.latencies)
