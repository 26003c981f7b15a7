"""The session against a simulated target on a faultless line: what is answered, what is told, what never stalls."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.kd_rig import Rig, vectors
from support.kd_target import BUGCHECK_DATA, DATA_BLOCK, FIRST, PC, SYNC, Run, Target, Wait

from wsklab.qemu.kd.events import (
    Answered,
    Attached,
    Bugcheck,
    Damaged,
    ExceptionSeen,
    GivenUp,
    Looping,
    ModuleLoaded,
    ModuleUnloaded,
    Prompted,
    Resynced,
    Shutdown,
    TextLine,
)
from wsklab.qemu.kd.session import Session

VECTORS = vectors()
HANDLED, NOT_HANDLED = 0x00010002, 0x80010001
FLAVOURS = ["windows", "reactos"]


@pytest.fixture(params=FLAVOURS)
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    one = Rig(flavour=request.param)
    yield one
    one.close()


def prints(target: Target, first: int, count: int) -> list[Run]:
    return [target.print(f"line {number}\n".encode()) for number in range(first, first + count)]


def lines(first: int, count: int) -> list[str]:
    return [f"line {number}" for number in range(first, first + count)]


# --- byte for byte


def test_first_print_is_acked_without_the_sync_bit() -> None:
    session = Session()
    assert session.feed(VECTORS["V1"], 0.0) == ([Attached(), TextLine("hello", 0)], VECTORS["V2"])
    assert session.feed(VECTORS["V3"], 0.1) == ([TextLine("hello", 0)], VECTORS["V4"])


def test_half_a_packet_is_not_answered() -> None:
    session = Session()
    assert session.feed(VECTORS["V1"][:20], 0.0) == ([], b"")
    assert session.feed(VECTORS["V1"][20:], 0.001).send == VECTORS["V2"]


def test_attached_in_the_middle_a_stop_gets_a_reset_first() -> None:
    session = Session()
    assert session.feed(VECTORS["V7"], 0.0) == ([], VECTORS["V5"])
    step = session.feed(VECTORS["V5"] + VECTORS["V7"], 0.001)
    assert step.send == VECTORS["V2"] + VECTORS["V10"]  # ACK and Continue in one piece (kd.md 3.2 rule 9)
    assert isinstance(step.events[1], ModuleLoaded)


def test_prompt_is_answered_after_a_sync() -> None:
    session = Session()
    session.feed(VECTORS["V5"], 0.0)  # a RESET of the target that we did not ask for: not answered
    session.feed(VECTORS["V15"], 0.0)
    session.feed(VECTORS["V5"], 0.0)
    assert session.feed(VECTORS["V15"], 0.0).send == VECTORS["V2"] + VECTORS["V16"]


def test_continue_is_repeated_until_acked_and_then_silent() -> None:
    session = Session()
    session.feed(VECTORS["V7"], 0.0)
    session.feed(VECTORS["V5"] + VECTORS["V7"], 0.0)
    assert session.due == 0.25
    assert session.tick(0.2499).send == b""
    assert session.tick(0.25).send == VECTORS["V10"]
    assert session.feed(VECTORS["V2"], 0.26) == ([], b"")
    assert session.due is None


def test_resend_repeats_the_continue_and_only_that() -> None:
    session = Session()
    assert session.feed(VECTORS["V6"], 0.0).send == b""
    session.feed(VECTORS["V7"], 0.0)
    session.feed(VECTORS["V5"] + VECTORS["V7"], 0.0)
    assert session.feed(VECTORS["V6"], 0.1).send == b""  # it may be about a copy: its reply is on the way then
    assert session.due == pytest.approx(0.12)
    assert session.tick(0.121).send == VECTORS["V10"]


def test_damaged_packet_gets_one_resend_and_is_told() -> None:
    session = Session()
    session.feed(VECTORS["V1"], 0.0)
    good = VECTORS["V3"].replace(b"hello", b"ollhe")
    damaged = good.replace(b"ollhe", b"ollha")
    assert session.feed(damaged, 0.1) == ([], VECTORS["V6"])
    assert session.feed(good, 0.101) == ([Damaged(len(damaged)), TextLine("ollhe", 0)], VECTORS["V4"])


def test_on_a_damaged_line_an_identical_print_is_asked_for_again() -> None:
    """It may be the last one with a damaged number: the header has no checksum."""
    session = Session()
    session.feed(VECTORS["V1"], 0.0)
    assert session.feed(VECTORS["V3"].replace(b"hello", b"hallo"), 0.1).send == VECTORS["V6"]
    assert [session.feed(VECTORS["V3"], 0.2).send for _ in range(3)] == [VECTORS["V6"]] * 2 + [VECTORS["V4"]]


def test_damaged_header_gets_a_resend_after_a_silence() -> None:
    session = Session()
    session.feed(VECTORS["V1"], 0.0)
    assert session.feed(b"x" + VECTORS["V3"][1:], 0.1).send == b""
    assert session.due == pytest.approx(0.105)
    assert session.tick(0.106).send == VECTORS["V6"]


def test_resends_into_silence_end() -> None:
    session = Session()
    session.feed(VECTORS["V1"], 0.0)
    session.feed(VECTORS["V3"].replace(b"hello", b"hallo"), 0.1)
    sent = 1
    while (due := session.due) is not None:
        sent += session.tick(due).send.count(VECTORS["V6"])
    assert sent == 20


def test_a_header_that_contradicts_is_believed_when_it_comes_three_times() -> None:
    session = Session()
    session.feed(VECTORS["V1"], 0.0)
    other = VECTORS["V1"].replace(b"hello", b"ollhe")  # SYNC again, with other content
    assert session.feed(other, 0.1) == ([], VECTORS["V6"])
    assert session.feed(other, 0.2) == ([], VECTORS["V6"])
    assert session.feed(other, 0.3) == ([GivenUp(0.3), TextLine("ollhe", 0)], VECTORS["V2"])


def test_a_reset_that_was_not_asked_for_changes_no_number_but_is_settled_at_the_next_stop() -> None:
    session = Session()
    session.feed(VECTORS["V1"], 0.0)
    assert session.feed(VECTORS["V5"], 0.1) == ([], b"")
    assert session.feed(VECTORS["V7"], 0.2) == ([], VECTORS["V5"])
    assert session.feed(VECTORS["V5"] + VECTORS["V7"], 0.3).send == VECTORS["V2"] + VECTORS["V10"]


def test_an_ack_that_may_be_false_is_doubted_four_times() -> None:
    session = Session()
    session.feed(VECTORS["V1"].replace(b"hello", b"hallo"), 0.0)  # a noisy line
    session.feed(VECTORS["V7"], 0.1)
    session.feed(VECTORS["V5"] + VECTORS["V7"], 0.2)
    assert session.feed(VECTORS["V2"], 0.3).send == b""
    sent = []
    while (due := session.due) is not None:
        sent.append(session.tick(due).send)
    assert sent == [VECTORS["V5"]] * 4


def test_a_guest_that_stutters_in_every_packet_gets_through() -> None:
    session, now = Session(), 0.0
    for _ in range(100):
        session.feed(VECTORS["V1"][:20], now)
        for _ in range(50):  # 50 ms
            now += 0.001
            if (due := session.due) is not None and due <= now:
                session.tick(now)
        if TextLine("hello", 0) in session.feed(VECTORS["V1"][20:], now).events:
            return
    raise AssertionError("never heard")


def test_text_is_text_again_after_the_longest_packet_that_damage_may_be() -> None:
    session = Session()
    session.feed(VECTORS["V1"], 0.0)
    session.feed(b"x" + VECTORS["V3"][1:], 0.1)
    line = b"boot manager text, one hundred bytes".ljust(99) + b"\n"
    events = [event for _ in range(50) for event in session.feed(line, 0.1).events]
    assert 5 < len([event for event in events if isinstance(event, TextLine)]) < 12


# --- conversations


def test_boot(rig: Rig) -> None:
    target = rig.target
    events = rig.play(
        target.load("ntoskrnl.exe"), target.load("hal.dll"), target.file("foo.sys"), *prints(target, 0, 5),
        target.prompt(b"Break (boipt)? "), target.load("wsklab.sys", unload=True),
        target.load("", unload=True, base=2**64 - 1))  # fmt: skip
    assert [type(event) for event in events] == [
        Attached, ModuleLoaded, ModuleLoaded, Answered, *[TextLine] * 5, TextLine, Prompted, ModuleUnloaded, Shutdown,
    ]  # fmt: skip
    assert rig.lines() == [*lines(0, 5), "Break (boipt)? "]
    assert (target.answers, target.file_statuses, target.gave_up) == ([b"i"], [0xC000000F], 0)
    assert target.statuses == [HANDLED] * 4
    assert Resynced("host") not in events and rig.now < 3.1  # nothing had to be repeated


def test_text_before_kd_and_pieces_of_lines(rig: Rig) -> None:
    rig.say(b"SeaBIOS (0x00000000)\r\nBooting 0000")
    target = rig.target
    rig.play(target.print(b"one, "), target.print(b"other cpu\n", cpu=1), target.print(b"two\r\nthree \xe9\n\nrest"))
    assert rig.plain() == ["SeaBIOS (0x00000000)", "Booting 0000"]
    assert rig.lines() == ["other cpu", "one, two", "three \ufffd", ""]
    assert rig.session.close() == [TextLine("rest", 0)]


def test_text_line_of_plain_text_is_not_held_for_long() -> None:
    session = Session()
    assert session.feed(b"flags=00000000", 0.0).events == []
    while session.due is not None:
        session.tick(session.due)
    assert session.feed(b"\n", 1.0).events == [TextLine("flags=00000000")]


def test_identical_prints_are_all_told(rig: Rig) -> None:
    rig.play(*[rig.target.print(b".\n") for _ in range(9)])
    assert rig.lines() == ["."] * 9


@pytest.mark.parametrize("own", [FIRST, FIRST | 1])
@pytest.mark.parametrize("expected", [FIRST, FIRST | 1])
@pytest.mark.parametrize("said", [True, False])
def test_every_phase_on_attach(rig: Rig, own: int, expected: int, said: bool) -> None:
    rig.target.own, rig.target.expected = own, expected
    before = [rig.target.print(b"before\n")] if said else []
    rig.play(*before, rig.target.load("a.sys"), rig.target.int3(), rig.target.prompt(b"?"))
    rig.play(rig.target.print(b"after\n"))
    assert rig.lines() == ["before"] * said + ["?", "after"]
    assert len(rig.of(ModuleLoaded)) == len(rig.of(ExceptionSeen)) == 1


@pytest.mark.parametrize("phase", [0, 1])
def test_snapshot(rig: Rig, phase: int) -> None:
    """kd.md 3.4 test 11: a host that keeps its numbers stalls for ever."""
    target = rig.target
    rig.play(*prints(target, 0, 2), target.load("a.sys"), *prints(target, 2, phase))
    kept = target.own, target.expected
    rig.play(*prints(target, 90, 3), target.load("b.sys"), target.load("c.sys"), target.load("d.sys"))
    target.own, target.expected = kept
    rig.session.resync()
    rig.play(target.load("e.sys"), *prints(target, 10, 3), target.int3())
    assert rig.lines()[-3:] == lines(10, 3)
    assert len(rig.of(ModuleLoaded)) == 5 and len(rig.of(Attached)) == 2


def test_new_boot_under_a_running_session(rig: Rig) -> None:
    rig.play(rig.target.load("a.sys"), *prints(rig.target, 0, 4))
    rig.target.own, rig.target.expected = FIRST | SYNC, FIRST
    rig.play(rig.target.load("ntoskrnl.exe"), *prints(rig.target, 4, 4))
    assert rig.lines() == lines(0, 8)
    assert rig.of(Resynced) == [Resynced("target")]


def test_slow_host_sees_duplicates_and_loses_nothing(rig: Rig) -> None:
    """kd.md 3.4 test 3: 100 ms late, the target tries every 14 ms."""
    rig.lag = 0.1
    rig.play(*prints(rig.target, 0, 10), rig.target.load("a.sys"), *prints(rig.target, 10, 5))
    assert rig.lines() == lines(0, 15) and rig.target.gave_up == 0


def test_byte_by_byte(rig: Rig) -> None:
    rig.chunk = 1
    rig.say(b"junk 0000i")
    rig.play(rig.target.load("a.sys"), *prints(rig.target, 0, 5), rig.target.int3())
    assert rig.lines() == lines(0, 5)


# --- stops


def test_a_request_without_reply_does_not_hold_the_target(rig: Rig) -> None:
    rig.target.mute = 0x3132
    rig.play(rig.target.exception(0x80000003, stream=b"\xcc"), rig.target.print(b"on\n"))
    assert rig.lines() == ["on"] and len(rig.of(ExceptionSeen)) == 1 and rig.now < 30


def test_breakpoint_is_passed_once(rig: Rig) -> None:
    rig.play(rig.target.int3(), rig.target.int3(code=0xC0000420, stream=b"\xcd\x2c\xc3"), rig.target.print(b"x\n"))
    assert rig.target.statuses == [HANDLED, HANDLED] and rig.target.pc == PC + 2
    assert len(rig.of(ExceptionSeen)) == 2


@pytest.mark.parametrize("first", [True, False])
def test_fault_is_left_to_the_system(rig: Rig, first: bool) -> None:
    rig.play(rig.target.exception(0xC0000005, first), rig.target.exception(0x80000004))
    assert rig.target.statuses == [NOT_HANDLED, HANDLED]
    seen = rig.of(ExceptionSeen)[0]
    assert isinstance(seen, ExceptionSeen) and (seen.code, seen.first_chance, seen.pc) == (0xC0000005, first, PC)


def test_bugcheck_from_memory(rig: Rig) -> None:
    rig.play(rig.target.bugcheck(0xD1, (0x10, 2, 0, PC)), rig.target.print(b"dump\n"))
    assert rig.of(Bugcheck) == [Bugcheck(0xD1, (0x10, 2, 0, PC), "DRIVER_IRQL_NOT_LESS_OR_EQUAL", "memory")]
    assert rig.lines()[-1] == "dump"


def test_bugcheck_without_text(rig: Rig) -> None:
    rig.play(rig.target.bugcheck(0xE2, (0, 0, 0, 0), text=False))
    assert rig.of(Bugcheck) == [Bugcheck(0xE2, (0, 0, 0, 0), "MANUALLY_INITIATED_CRASH", "memory")]


@pytest.mark.parametrize("missing", [BUGCHECK_DATA, DATA_BLOCK, "tag"])
def test_bugcheck_from_text_when_memory_does_not_tell(rig: Rig, missing: int | str) -> None:
    target = rig.target
    stop = target.bugcheck(0x50, (1, 2, 3, 4))

    def hide() -> Run:
        if isinstance(missing, str):
            target.memory[DATA_BLOCK] = target.memory[DATA_BLOCK].replace(b"KDBG", b"\0" * 4)
        for wait in stop:
            if not isinstance(missing, str):
                target.memory.pop(missing, None)
            yield wait

    rig.play(hide())
    assert rig.of(Bugcheck) == [Bugcheck(0x50, (1, 2, 3, 4), "PAGE_FAULT_IN_NONPAGED_AREA", "text")]


def test_bugcheck_text_without_a_stop(rig: Rig) -> None:
    text = b"\n*** Fatal System Error: 0x0000007e\n   (0x1,0x2,0x3,0x4)\n\n"
    rig.play(rig.target.print(text), (Wait(6.0, True) for _ in range(1)))
    assert rig.of(Bugcheck) == [Bugcheck(0x7E, (1, 2, 3, 4), "SYSTEM_THREAD_EXCEPTION_NOT_HANDLED", "text")]


def test_breakpoint_with_a_small_number_in_the_register_is_no_bugcheck(rig: Rig) -> None:
    rig.play(rig.target.int3(PC + 0x100, 3), rig.target.print(b"on\n"))
    assert rig.of(Bugcheck) == [] and rig.lines() == ["on"]


def test_refused_continue_is_said_the_other_way(rig: Rig) -> None:
    rig.target.refuse_continue = True
    rig.play(rig.target.load("a.sys"), rig.target.int3(), rig.target.exception(0xC0000005), rig.target.print(b"on\n"))
    assert rig.target.statuses == [HANDLED, HANDLED, NOT_HANDLED] and rig.lines() == ["on"]


def test_endless_breakpoint_is_told(rig: Rig) -> None:
    rig.play(*[rig.target.exception(0x80000004) for _ in range(45)])
    assert rig.of(Looping) == [Looping(PC, 20)]


def test_stops_of_unknown_kind_are_continued(rig: Rig) -> None:
    rig.play(rig.target.stop(0x3032, b"", b".echo hi\0"), rig.target.stop(0x3039, b"", b""), rig.target.print(b"on\n"))
    assert [type(event) for event in rig.events] == [Attached, Answered, Answered, TextLine]
    assert rig.events[1] == Answered("command string", ".echo hi")


@pytest.mark.parametrize("kind", [3, 9, 10])
def test_unknown_packets_are_acked(rig: Rig, kind: int) -> None:
    def unknown() -> Run:
        yield from rig.target.send(kind, b"\x3f\x32\0\0data" if kind == 3 else b"\x01\0\0\0data")

    rig.play(rig.target.print(b"a\n"), unknown(), rig.target.print(b"b\n"))
    assert rig.lines() == ["a", "b"] and len(rig.of(Answered)) == 1
