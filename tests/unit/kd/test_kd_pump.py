"""The pump on a real socket, in real time."""

from __future__ import annotations

import queue
import socket
import threading
from collections.abc import Iterator

import pytest
from support.kd_rig import vectors
from support.kd_target import Run, Target, serve

from wsklab.qemu.kd.events import Attached, Bugcheck, Detached, Event, ExceptionSeen, TextLine
from wsklab.qemu.kd.pump import Pump

VECTORS = vectors()
WAIT = 20.0


class Heard:
    """What a pump told, to be waited for."""

    def __init__(self, pump: Pump) -> None:
        self._queue: queue.Queue[Event] = queue.Queue()
        pump.subscribe(lambda _t_ns, event: self._queue.put(event))

    def next(self) -> Event:
        return self._queue.get(timeout=WAIT)

    def until(self, last: Event) -> list[Event]:
        events = [self.next()]
        while events[-1] != last:
            events.append(self.next())
        return events


@pytest.fixture
def pump() -> Iterator[Pump]:
    one = Pump()
    yield one
    one.close()


def connect(pump: Pump) -> socket.socket:
    ours, theirs = socket.socketpair()
    theirs.settimeout(WAIT)
    pump.attach(ours)
    return theirs


def test_answers_and_tells(pump: Pump) -> None:
    heard, line = Heard(pump), connect(pump)
    line.sendall(VECTORS["V1"])
    assert line.recv(100) == VECTORS["V2"]
    assert [heard.next(), heard.next()] == [Attached(), TextLine("hello", 0)]


def test_a_whole_conversation_in_real_time(pump: Pump) -> None:
    heard, line = Heard(pump), connect(pump)
    target = Target(line.sendall, endless=True)
    target.debugger_data()
    script: list[Run] = [target.load("a.sys"), target.prompt(b"? "), *[target.print(b"x\n") for _ in range(50)]]
    script += [target.int3(), target.bugcheck(0xD1, (1, 2, 3, 4)), target.print(b"end\n")]
    serve(target, line, script)
    events = heard.until(TextLine("end", 0))
    assert events.count(TextLine("x", 0)) == 50
    assert [type(event) for event in events[-4:-1]] == [TextLine, ExceptionSeen, Bugcheck]
    line.close()


def test_slow_and_failing_subscribers_hold_up_nobody(pump: Pump, caplog: pytest.LogCaptureFixture) -> None:
    released = threading.Event()

    def slow(_t_ns: int, _event: Event) -> None:
        released.wait(WAIT)
        raise RuntimeError("told wrong")

    pump.subscribe(slow)
    heard, line = Heard(pump), connect(pump)
    for name in ("V1", "V3"):
        line.sendall(VECTORS[name])
        assert line.recv(100)  # answered, though nobody was told yet
    released.set()
    assert heard.until(TextLine("hello", 0)) and "told wrong" in caplog.text


def test_what_is_due_later_is_done_without_a_byte(pump: Pump) -> None:
    line = connect(pump)
    line.sendall(VECTORS["V1"] + VECTORS["V3"].replace(b"hello", b"hallo"))
    answer = b""
    while answer.count(VECTORS["V6"]) < 3:  # the RESEND comes again
        answer += line.recv(100)
    assert answer.startswith(VECTORS["V2"] + VECTORS["V6"])


def test_lost_connection_and_the_next(pump: Pump) -> None:
    heard, line = Heard(pump), connect(pump)
    line.sendall(VECTORS["V1"].replace(b"hello\n", b"hello "))  # damaged
    line.sendall(VECTORS["V1"][:20])
    line.close()
    assert heard.until(Detached())
    assert not pump.attached
    pump.break_in()  # nobody there: no error
    line = connect(pump)
    line.sendall(VECTORS["V1"])
    assert line.recv(100) == VECTORS["V2"]
    assert [heard.next(), heard.next()] == [Attached(), TextLine("hello", 0)]
    other = connect(pump)  # in place of one that lives
    assert line.recv(100) == b""
    assert heard.next() == Detached()
    other.sendall(VECTORS["V7"])
    assert other.recv(100) == VECTORS["V5"]


def test_resync_throws_away_what_was_said_before(pump: Pump) -> None:
    heard, line = Heard(pump), connect(pump)
    line.sendall(VECTORS["V1"] + VECTORS["V3"][:25])
    assert line.recv(100) == VECTORS["V2"]
    pump.resync()
    line.sendall(VECTORS["V3"])
    assert line.recv(100) == VECTORS["V4"]
    assert heard.until(TextLine("hello", 0)) == [Attached(), TextLine("hello", 0)]
    assert heard.until(TextLine("hello", 0)) == [Attached(), TextLine("hello", 0)]


def test_break_in(pump: Pump) -> None:
    line = connect(pump)
    pump.break_in()
    assert line.recv(100) == VECTORS["V18"]


def test_a_line_of_another_kind() -> None:
    written: list[bytes] = []
    pump = Pump(write=written.append)
    heard = Heard(pump)
    pump.received(VECTORS["V1"])
    assert written == [VECTORS["V2"]]
    assert heard.until(TextLine("hello", 0))
    pump.close()


def test_a_line_that_takes_nothing_is_survived() -> None:
    def broken(_data: bytes) -> None:
        raise BrokenPipeError

    pump = Pump(write=broken)
    heard = Heard(pump)
    pump.received(VECTORS["V1"])
    assert heard.until(TextLine("hello", 0))
    pump.close()


def test_events_are_all_told_before_close_returns() -> None:
    told: list[Event] = []
    pump = Pump()
    stop = pump.subscribe(lambda _t_ns, event: told.append(event))
    line = connect(pump)
    line.sendall(VECTORS["V1"].replace(b"hello\n", b"hel\nlo"))
    assert line.recv(100)
    pump.close()
    assert told == [Attached(), TextLine("hel", 0), TextLine("lo", 0), Detached()]
    stop()
