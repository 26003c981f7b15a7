"""A machine's debug line that speaks KD: the session, the serial line and the machine's events, joined."""

from __future__ import annotations

import json
import queue
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.kd_rig import vectors
from support.kd_target import BREAK_WITH_STATUS, PC, Run, Target, serve

from wsklab.orchestrator.observe.machine_events import WindowsBugcheck, of_machine
from wsklab.orchestrator.observe.observation import describe_loss
from wsklab.qemu.deadline import within
from wsklab.qemu.errors import GuestDied
from wsklab.qemu.kd.events import Bugcheck
from wsklab.qemu.kd.line import KdLine, Told, describe, tell_places
from wsklab.qemu.logfile import LogFile
from wsklab.qemu.machine_events import Events, MachineEvent, crash_registers
from wsklab.qemu.serial import SerialLine

VECTORS = vectors()


@dataclass
class Kd:
    """A KD line over a socket pair, with what it told."""

    line: SerialLine
    guest: socket.socket
    target: Target
    kd: KdLine
    transcript: Path
    lines: queue.Queue[str]
    told: list[Told]

    def play(self, *acts: Run) -> None:
        serve(self.target, self.guest, acts)

    def until(self, last: str) -> list[str]:
        heard = [self.lines.get(timeout=20)]
        while heard[-1] != last:
            heard.append(self.lines.get(timeout=20))
        return heard


@pytest.fixture
def kd(tmp_path: Path) -> Iterator[Kd]:
    ours, guest = socket.socketpair()
    line, told, lines = SerialLine("debug", ours), list[Told](), queue.Queue[str]()
    kd_line = KdLine(line, LogFile(tmp_path / "kd.jsonl"), lambda _t, what: told.append(what))
    line.on_line(lambda _t, text: lines.put(text))
    target = Target(guest.sendall, endless=True)
    target.debugger_data()
    line.start()
    yield Kd(line, guest, target, kd_line, tmp_path / "kd.jsonl", lines, told)
    line.close()
    guest.close()


def test_kd_text_comes_out_as_lines_of_the_serial_line(kd: Kd) -> None:
    with kd.line.watch() as watch:
        kd.guest.sendall(b"BdsDxe: loading Boot0001\r\n")
        kd.play(
            kd.target.load("wsklab.sys"),
            *[kd.target.print(b"WSKLAB1 seq=%d\r\n" % n) for n in range(200)],
            kd.target.print(b"\x1b[1mend\n"),
        )
        assert watch.expect(r"seq=199", within(20))
    assert kd.until("end") == ["BdsDxe: loading Boot0001", *(f"WSKLAB1 seq={n}" for n in range(200)), "end"]
    assert kd.told == []


def test_kd_bugcheck_is_told_with_code_name_and_parameters(kd: Kd) -> None:
    kd.play(
        kd.target.exception(0xC0000005),
        kd.target.bugcheck(0xD1, (0x10, 2, 0, 0xFFFFF80000005000)),
        kd.target.print(b"end\n"),
    )
    kd.until("end")
    assert [kind for kind, _ in kd.told] == ["exception", "bugcheck"]  # not its stop
    assert kd.told[0][1].startswith("0xc0000005 at ")
    assert kd.told[-1][1] == (
        "0x000000d1 DRIVER_IRQL_NOT_LESS_OR_EQUAL (0x0000000000000010, 0x0000000000000002, 0x0000000000000000, "
        "0xfffff80000005000), from the kernel's memory"
    )
    observed = of_machine("bugcheck", 1, "target", kd.told[-1][1])
    assert isinstance(observed, WindowsBugcheck)
    assert describe_loss(observed).startswith("Windows crashed on the target, bugcheck 0x000000d1 DRIVER_IRQL")


@pytest.mark.parametrize(
    ("code", "first", "says"),
    [
        (0xC4, 0x62, "the driver unloaded without freeing its pool"),
        (0xC4, 0x20005, "DDI compliance (0x20005)"),
        (0xC4, 0xF6, "violation 0xf6"),
        (0xC9, 7, "a rule of the I/O manager"),
        (0x100000C6, 7, "pool that it had freed"),
        (0xD1, 0x62, None),
    ],
)
def test_kd_a_stop_by_driver_verifier_says_so(code: int, first: int, says: str | None) -> None:
    told = describe(Bugcheck(code, (first, 2, 3, 4), "NAME", "memory"))
    assert told is not None
    loss = describe_loss(WindowsBugcheck(t=1, machine="target", detail=told[1]))
    assert ("Driver Verifier stopped Windows" in loss) is (says is not None) and (says or "") in loss


def test_kd_prompts_asserts_and_breakpoints_are_told(kd: Kd) -> None:
    module = kd.target.load(r"\SystemRoot\System32\drivers\wsklab.sys", base=PC - 0x5000)
    kd.play(
        module,
        kd.target.print(b"*** Assertion failed: Irp != NULL\n"),
        kd.target.prompt(b"Break or Ignore (bi)? "),
        kd.target.int3(code=0xC0000420, stream=b"\xcd\x2c\xc3"),
        kd.target.int3(),
        kd.target.int3(0x7FF600001000),
        kd.target.print(b"end\n"),
    )
    kd.until("end")
    assert kd.told[0] == ("prompt", "'Break or Ignore (bi)?'; before that: *** Assertion failed: Irp != NULL")
    assert [kind for kind, _ in kd.told[1:]] == ["exception", "exception"]  # not that of a user's program
    assert kd.told[1][1].startswith("an assert failed (int 2c): 0xc0000420 at ")
    assert "in wsklab.sys+0x5000, processor 0" in kd.told[2][1]


def test_kd_a_target_says_where_it_is_when_it_is_broken_into(kd: Kd) -> None:
    with ThreadPoolExecutor(1) as pool:
        where = pool.submit(kd.kd.locate, within(20))
        kd.play(*[kd.target.idle(0.01) for _ in range(200)], kd.target.print(b"end\n"))
        places = where.result()
    assert places is not None and tell_places(places) == f"processor 0 at {BREAK_WITH_STATUS:#x}"
    assert kd.told == [] and kd.until("end") == ["end"]


def test_kd_a_target_that_does_not_stop_says_nothing(kd: Kd) -> None:
    assert kd.kd.locate(within(0.05)) is None


def test_kd_a_line_is_found_behind_what_another_driver_left_unfinished(kd: Kd) -> None:
    kd.line.on_line(lambda _t, _text: None, reads=lambda text: text.startswith("mine "))
    kd.play(kd.target.print(b"theirs "), kd.target.print(b"mine 1\n"), kd.target.print(b"end\n"))
    assert kd.until("end") == ["theirs ", "mine 1", "end"]


def test_kd_what_nobody_has_read_is_thrown_away_in_both_directions(kd: Kd) -> None:
    far = kd.guest.dup()
    kd.kd._far = far
    kd.line.offer(b"old")
    kd.kd.empty()
    kd.line.offer(b"new")
    assert kd.guest.recv(100) == b"new"
    kd.kd.let_go()


def test_a_crash_that_windows_tells_its_hypervisor_of_is_a_bugcheck() -> None:
    info = {"type": "hyper-v", "arg1": 0xD1, "arg2": 0x10, "arg3": 2, "arg4": 0, "arg5": PC}
    told = crash_registers({"event": "GUEST_PANICKED", "data": {"action": "run", "info": info}})
    assert told is not None and told[0] == "bugcheck"
    assert told[1].startswith("0x000000d1 DRIVER_IRQL_NOT_LESS_OR_EQUAL (0x0000000000000010, ")
    assert crash_registers({"event": "GUEST_PANICKED", "data": {"action": "pause"}}) is None


@pytest.mark.parametrize("info", [None, {"type": "hyper-v", "arg1": 0xD1, "arg2": 1, "arg3": 2, "arg4": 3, "arg5": 4}])
def test_what_the_hypervisor_is_told_hides_nothing_of_what_the_debugger_is(info: dict[str, object] | None) -> None:
    """Both are heard, whichever comes first."""
    events, told = Events(), list[MachineEvent]()
    events.subscribe(told.append)
    panic: Any = {
        "event": "GUEST_PANICKED",
        "data": {"action": "run", **({"info": info} if info else {})},
        "timestamp": {"seconds": 1, "microseconds": 0},
    }
    said = "0x000000d1 DRIVER_IRQL_NOT_LESS_OR_EQUAL (1, 2, 3, 4), from the kernel's memory"
    events.hear_kd(0, ("bugcheck", said))
    events.hear_qmp(panic)
    events.hear_kd(2, ("bugcheck", said))
    assert [event.detail for event in told][::2] == [said, said]
    assert [event.kind for event in told] == ["bugcheck", "bugcheck" if info else "panic", "bugcheck"]


def test_kd_everything_is_told_and_written_when_the_line_ends(kd: Kd) -> None:
    with kd.line.watch() as watch:
        kd.play(kd.target.print(b"last\nunfinished"))
        kd.guest.close()
        assert watch.expect("unfinished", within(20))
        with pytest.raises(GuestDied):
            watch.expect("more", within(20))
    kd.line.close()
    events = [json.loads(text)["event"] for text in kd.transcript.read_text().splitlines()]
    assert events == ["Attached", "TextLine", "TextLine", "Detached"]


def test_kd_after_a_restored_snapshot_the_target_is_answered_at_once(kd: Kd) -> None:
    kd.play(*[kd.target.print(b"before\n") for _ in range(3)])
    kd.guest.sendall(VECTORS["V1"][:20])  # in mid-packet when the snapshot comes back
    kd.line.cut()
    kd.kd.resync()
    kd.target.fifo.clear()
    again = Target(kd.guest.sendall, endless=True)  # as it was long ago: its numbering is another one
    again.own ^= 1
    serve(again, kd.guest, [again.print(b"after\n"), again.print(b"end\n")])
    assert kd.until("end") == ["before"] * 3 + ["after", "end"]


def test_a_line_that_nobody_reads_never_waits(kd: Kd) -> None:
    kd.line.offer(b"x" * (8 << 20))  # far more than the socket holds: a line that waits would do so for ever
    assert kd.guest.recv(8 << 20, socket.MSG_DONTWAIT).strip(b"x") == b""
