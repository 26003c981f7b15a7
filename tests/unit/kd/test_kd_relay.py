"""A second KD host on the target's line: it has the line while it is there, and finds the target as a new one."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.kd_host import OtherHost
from support.kd_lent import WAIT, Lent, handed_over
from support.kd_rig import vectors
from support.kd_target import serve

from wsklab.qemu.deadline import within
from wsklab.qemu.errors import MachineError
from wsklab.qemu.kd.events import (
    Attached,
    Bugcheck,
    Detached,
    ExceptionSeen,
    ModuleLoaded,
    Resynced,
    Standing,
    TextLine,
)
from wsklab.qemu.kd.line import KdLine
from wsklab.qemu.logfile import LogFile
from wsklab.qemu.serial import SerialLine


@pytest.fixture
def lent(tmp_path: Path) -> Iterator[Lent]:
    one = Lent(tmp_path)
    yield one
    one.close()


@pytest.mark.parametrize("before", [1, 2])  # either number may be next
def test_the_other_debugger_has_the_line_while_it_is_there(lent: Lent, before: int) -> None:
    target = lent.target
    serve(target, lent.guest, [target.print(b"ours\n") for _ in range(before)])
    other = OtherHost(lent.port)
    handed_over(lent, True)
    with pytest.raises(MachineError, match="another debugger has the line"):
        lent.kd.locate(within(WAIT))
    lent.idle()  # the RESET is eaten by a target that runs
    serve(target, lent.guest, [target.load("a.sys"), target.int3(), target.print(b"his\n")])
    heard = other.until(TextLine, "his")
    assert [type(event) for event in heard if not isinstance(event, Resynced)] == [
        Attached,
        ModuleLoaded,
        ExceptionSeen,
        TextLine,
    ]
    assert lent.until("his") == ["ours"] * before + ["his"], "it is heard here as well"
    assert lent.told == [], "what he stops for is his"
    other.close()
    handed_over(lent, False)
    serve(target, lent.guest, [target.int3(), target.print(b"ours again\n")])
    assert lent.until("ours again") == ["ours again"]
    assert [kind for kind, _ in lent.told] == ["exception"]


def test_the_other_debugger_begins_with_a_whole_packet(lent: Lent) -> None:
    said = struct.pack("<IHHII", 0x3230, 6, 0, 5, 0) + b"half\n"
    packet = struct.pack("<4sHHII", b"0000", 3, len(said), 0x80800800, sum(said)) + said + b"\xaa"
    lent.guest.sendall(packet[:25])
    while not lent.kd._pump._session.waiting:
        threading.Event().wait(0.001)
    with socket.create_connection(("127.0.0.1", lent.port)) as client:
        client.settimeout(WAIT)
        handed_over(lent, True)
        lent.guest.sendall(packet[25:])
        assert lent.until("half") == ["half"]
        lent.guest.sendall(packet)  # nobody has answered
        assert client.recv(len(packet), socket.MSG_WAITALL) == packet


def test_a_target_that_did_not_hear_of_the_other_debugger_is_told_again(lent: Lent) -> None:
    """The beginning of a request of ours is still in its UART, and takes the first RESET for its rest."""
    lent.target.fifo += vectors()["V13"][:40]
    other = OtherHost(lent.port)
    handed_over(lent, True)
    serve(lent.target, lent.guest, [lent.target.from_a_stop(), lent.target.print(b"on\n")])
    other.until(TextLine, "on")
    other.close()


def test_a_target_that_crashed_is_found_in_its_stop(lent: Lent) -> None:
    target = lent.target
    crash = [target.bugcheck(0xD1, (1, 2, 3, 4)), target.bugcheck_end()]
    threading.Thread(target=serve, args=(target, lent.guest, crash), daemon=True).start()
    stands = threading.Event()
    lent.kd._pump.subscribe(lambda _t, event: stands.set() if isinstance(event, Standing) else None)
    assert stands.wait(WAIT) or any(kind == "stops" for kind, _ in lent.told)
    other = OtherHost(lent.port)
    heard = other.until(Bugcheck)
    assert [(event.code, event.source) for event in heard if isinstance(event, Bugcheck)] == [(0xD1, "memory")]
    other.close()


def test_the_other_debugger_breaks_into_a_target_that_says_nothing(lent: Lent) -> None:
    target = lent.target
    idle = (target.idle(0.003) for _ in range(100_000))
    threading.Thread(target=serve, args=(target, lent.guest, idle), daemon=True).start()
    other = OtherHost(lent.port)
    handed_over(lent, True)
    other.break_in()
    assert isinstance(other.until(ExceptionSeen)[-1], ExceptionSeen)
    other.close()


def test_a_line_that_ends_ends_the_other_debugger(lent: Lent) -> None:
    other = OtherHost(lent.port)
    handed_over(lent, True)
    lent.kd.let_go()
    assert isinstance(other.until(Detached)[-1], Detached)
    other.close()


def test_a_port_that_is_taken_is_said(lent: Lent, tmp_path: Path) -> None:
    ours, guest = socket.socketpair()
    line = SerialLine("debug", ours)
    kd = KdLine(line, LogFile(tmp_path / "other.jsonl"), lambda _t, _what: None)
    line.start()
    with pytest.raises(MachineError, match=f"port {lent.port} on 127.0.0.1 is not free for a debugger"):
        kd.lend(lent.port)
    line.close()
    guest.close()
