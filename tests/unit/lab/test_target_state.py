"""The driver's counters are those of the driver that was loaded: what it calls itself is compared."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from wsklab.drivers import protocol
from wsklab.drivers.build import BuiltDriver
from wsklab.drivers.protocol import Command, Op
from wsklab.orchestrator.guest import deploy
from wsklab.orchestrator.lab.target import RING_LINES, Misanswer, Target
from wsklab.orchestrator.observe.journal import Journal
from wsklab.orchestrator.observe.lab_notes import Answered


class PlayedLine:
    """A serial line on which only the test speaks."""

    def __init__(self) -> None:
        self.hear: Callable[[int, str], None] = lambda t, text: None

    def on_line(self, hear: Callable[[int, str], None], **words: Any) -> None:
        self.hear = hear


class PlayedAgent:
    def __init__(self, build: bytes) -> None:
        self._build = build

    def ioctl(self, device: str, code: int, data: bytes, out: int) -> bytes:
        counters = (0,) * 8
        return struct.pack("<I I Q 8I 32s", protocol.STATE_BYTES, protocol.VERSION, 1, *counters, self._build)


def loaded(monkeypatch: pytest.MonkeyPatch, says: str, answers: bytes) -> Target:
    """Return a target in which a driver was loaded that called itself `says`, and answers `answers` now."""
    debug = PlayedLine()
    machine = SimpleNamespace(agent=PlayedLine(), debug=debug)
    target = Target(cast(Any, machine), Journal())
    target.agent = cast(Any, PlayedAgent(answers))
    line = f"WSKLAB1 seq=00000001 t=0000000000000001 conn=0 ev=load ver=1 build={says}"
    monkeypatch.setattr(deploy, "load", lambda *words: debug.hear(1, line))
    monkeypatch.setattr(Target, "know", lambda self, driver: None)
    target.load(BuiltDriver(Path("x.sys"), "0" * 64, "wsklab", None, Path("x.sys")), "C:", 60.0)
    return target


def test_a_driver_goes_on_calling_itself_what_it_did_when_it_was_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert loaded(monkeypatch, "correct", b"correct").state().build == "correct"
    long = "a-name-of-more-than-thirty-one-characters"
    assert loaded(monkeypatch, long, long[:31].encode()).state().build == long[:31]


@pytest.mark.parametrize("answers", [b"\0orrect", b"", b"other"])
def test_another_name_than_then_is_an_answer_that_cannot_be(monkeypatch: pytest.MonkeyPatch, answers: bytes) -> None:
    with pytest.raises(Misanswer, match="was 'correct' when loaded"):
        loaded(monkeypatch, "correct", answers).state()


class PlayedRing:
    """A driver whose ring has lines from 1 to `last`; it gives `more` than it may."""

    def __init__(self, last: int, more: int = 0) -> None:
        self._last, self._more = last, more
        self.asked = 0

    def ioctl(self, device: str, code: int, data: bytes, out: int) -> bytes:
        self.asked += 1
        first, most, _ = struct.unpack("<QII", data)
        numbers = range(first, min(first + most + self._more, self._last + 1))
        lines = "".join(f"WSKLAB1 seq={number:08x} t=0000000000000001 conn=0 ev=cbin cb=recv\n" for number in numbers)
        return struct.pack("<QQII", first, first + len(numbers), len(numbers), 0) + lines.encode()


@pytest.mark.parametrize("last", [0, 1, RING_LINES - 1, RING_LINES, RING_LINES + 1, 3 * RING_LINES])
def test_the_ring_is_read_to_its_end_in_pieces(monkeypatch: pytest.MonkeyPatch, last: int) -> None:
    target = loaded(monkeypatch, "correct", b"correct")
    ring = PlayedRing(last)
    target.agent = cast(Any, ring)
    records, end = target.ring(1)
    assert [record.seq for record in records] == list(range(1, last + 1))
    assert (end, ring.asked) == (last, last // RING_LINES + 1)


def test_more_lines_than_were_asked_for_are_an_answer_that_cannot_be(monkeypatch: pytest.MonkeyPatch) -> None:
    target = loaded(monkeypatch, "correct", b"correct")
    target.agent = cast(Any, PlayedRing(500, more=1))
    with pytest.raises(Misanswer, match=r"gives 129 lines of its ring, and was asked for 128"):
        target.ring(1)


@pytest.mark.parametrize(
    ("command", "last"),
    [
        (Command(Op.CLOSE, id=5), 5),
        (Command(Op.RECEIVE, id=5, count=3), 7),
        (Command(Op.CALLBACK, id=5, count=2), 6),
        (Command(Op.CALLBACK, id=5), 5),
        (Command(Op.ACCEPT, id=5, count=3), 8),
        (Command(Op.OPEN, id=5, count=2), 7),
        (Command(Op.SOCKET_CONNECT, id=5), 5),
        (Command(Op.CONTROL, id=5, count=4), 5),
    ],
)
def test_an_answer_is_noted_with_all_operations_that_may_come_of_its_command(
    monkeypatch: pytest.MonkeyPatch, command: Command, last: int
) -> None:
    target = loaded(monkeypatch, "correct", b"correct")
    target.agent = cast(Any, SimpleNamespace(ioctl=lambda *words: struct.pack("<I", 0)))
    target.command(command)
    (answered,) = [note for note in target.journal.since(0) if isinstance(note, Answered)]
    assert answered.answers[0].last == last
