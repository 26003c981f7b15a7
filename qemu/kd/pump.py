"""The KD session on a real line: answers at once, and tells its subscribers on a thread of their own.

Three threads, because the target counts the milliseconds until it is answered (docs/reference/kd.md 1.5): the one that
brings bytes (its own, or that of a serial line which calls `received`), one for what is due later, and one that calls
the subscribers, so that a slow subscriber holds up nobody.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import select
import socket
import threading
import time
from collections.abc import Callable

from wsklab.qemu.kd.events import Detached, Event
from wsklab.qemu.kd.packet import HEADER, PAYLOAD_MAX, Kind, Packet, encode
from wsklab.qemu.kd.session import Session, Step

RESET = encode(Packet(Kind.RESET, 0))
PACKET_MAX = HEADER.size + PAYLOAD_MAX + 1

_RESETS = 0.3, 1.3, 3.3  # s after which a target is told again that it has another debugger, unless that has spoken
_MOMENT = 0.001  # s for the thread that reads the line to have its turn

EventSubscriber = Callable[[int, Event], None]

_log = logging.getLogger(__name__)


class Pump:
    """A session with its clock, its line and its subscribers.

    `write` sends bytes to the target. It must not block for long; what it raises as OSError is taken for a lost line.
    Give it a socket with `attach`, or call `received` with what a line of another kind brings; `unread` says whether
    that line holds more. `known`: see Session.
    """

    def __init__(
        self,
        write: Callable[[bytes], None] | None = None,
        unread: Callable[[], bool] = lambda: False,
        known: Callable[[str], bool] = lambda _text: False,
    ) -> None:
        self._session = Session(known)
        self._write = write
        self._holds_more = unread
        self._other: Callable[[bytes], None] | None = None  # another debugger, which has the line
        self._resets: list[float] = []  # when it is told of that again, unless the other one has spoken to it
        self._held_back = 0  # bytes that it does not get at most, as they may be the rest of a packet
        self._still = False
        self._socket: socket.socket | None = None
        self._reader: threading.Thread | None = None
        self._changed = threading.Condition()  # guards all of the above
        self._closed = False
        self._subscribers: list[EventSubscriber] = []
        self._events: queue.SimpleQueue[tuple[int, Event] | None] = queue.SimpleQueue()
        self._threads = [
            threading.Thread(target=self._keep_time, name="kd-time", daemon=True),
            threading.Thread(target=self._tell, name="kd-events", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def subscribe(self, subscriber: EventSubscriber) -> Callable[[], None]:
        """Call `subscriber(t_ns, event)` for every event from now on, in order. Returns how to stop it.

        `t_ns` is time.time_ns() when the event's bytes had been answered.
        """
        self._subscribers = [*self._subscribers, subscriber]

        def stop() -> None:
            self._subscribers = [one for one in self._subscribers if one is not subscriber]

        return stop

    def attach(self, line: socket.socket) -> None:
        """Take a connected socket, and close it at the end. Again after a lost connection, or in place of one."""
        self._detach()
        line.setblocking(False)
        with self._changed:
            self._session.resync()
            self._socket = line
            self._write = _Sender(line)
            self._reader = threading.Thread(target=self._read, args=(line,), name="kd-line", daemon=True)
            self._reader.start()

    @property
    def attached(self) -> bool:
        """A socket is there and has not ended."""
        return self._socket is not None

    def received(self, data: bytes) -> None:
        """Take in bytes from the target; the answer is written before this returns."""
        with self._changed:
            self._received(data)

    def ended(self) -> None:
        """Note that a line that calls `received` has ended: what it left unfinished is told, and that it is gone."""
        with self._changed:
            self._write = None
            self._gone()

    def resync(self, restored: bool = False) -> None:
        """After `loadvm` or a reset, before the target runs on: what it said before is thrown away (kd.md 3.5).

        A socket is emptied here; a line that calls `received` must be empty itself. `restored`: see Session.
        """
        with self._changed:
            while self._unread():
                pass
            self._session.resync(restored)
            if self._other:
                self._session.listen()
            self._changed.notify_all()

    def stand_still(self) -> None:
        """Note that the machine stands still: its silence means nothing, and nothing is due, until it runs."""
        with self._changed:
            self._still = True

    def resumed(self) -> None:
        """Note that the machine runs (again)."""
        with self._changed:
            self._still = False
            if not self._other:
                self._do(self._session.resumed(time.monotonic()))

    def hand_over(self, to: Callable[[bytes], None]) -> None:
        """Let another debugger have the line: `to` gets the target's bytes, and this end only listens.

        The RESET makes the target number anew and repeat what it waits for an answer to, so that the other one finds it
        as one that was just switched on.
        """
        with self._changed:
            self._send(RESET)
            self._other, self._held_back = to, PACKET_MAX
            self._resets = [time.monotonic() + after for after in _RESETS]
            self._changed.notify_all()
            self._begin_to_lend(b"")

    @property
    def latencies(self) -> list[float]:
        """Seconds from a packet of ours to the target's ACK of it, of the last ones."""
        with self._changed:
            return self._session.latencies

    @property
    def lent(self) -> bool:
        """Another debugger has the line."""
        return self._other is not None

    def take_back(self) -> None:
        """Take the line back, as the other debugger is gone; what it left the target waiting for is asked for again."""
        with self._changed:
            self._other, self._held_back, self._resets = None, 0, []
            self._session.resync(restored=True)
            self._do(self._session.resumed(time.monotonic()))

    def pass_on(self, data: bytes) -> None:
        """Pass on bytes of the other debugger for the target."""
        with self._changed:
            self._resets.clear()
            if self._other:
                self._write_out(data)

    def rebooted(self) -> None:
        """Note that the machine was reset."""
        with self._changed:
            self._session.rebooted()

    @property
    def between(self) -> bool:
        """Nothing is half said, as far as it has been read."""
        with self._changed:
            return self._session.between

    def break_in(self, survey: bool = False) -> None:
        """Make the target stop once and go on: it listens to us again if it had given us up (kd.md 1.5).

        With `survey` it says where it was.
        """
        with self._changed:
            if not self._other:  # it is his to break in
                self._do(self._session.break_in(time.monotonic(), survey))

    def close(self) -> None:
        """End the line and the threads; all events have been told when this returns (unless a subscriber calls it)."""
        self._detach()
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._events.put(None)
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()

    # --- under the lock

    def _unread(self) -> bytes | None:
        """Return what the socket holds; None for nothing, b"" at its end."""
        if not self._socket:
            return None
        try:
            return self._socket.recv(65536)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def _received(self, data: bytes) -> None:
        if self._other and not self._held_back:
            self._other(data)
        self._do(self._session.feed(data, time.monotonic()))
        if self._held_back:
            self._begin_to_lend(data)

    def _begin_to_lend(self, data: bytes) -> None:
        """Begin with whole packets for the other debugger: one that is half said comes again, as nobody answers it."""
        self._held_back = max(0, self._held_back - len(data)) if self._session.waiting else 0
        if not self._held_back:
            self._session.listen()

    def _do(self, step: Step) -> None:
        self._send(step.send)
        t_ns = time.time_ns() if step.events else 0
        for event in step.events:
            self._events.put((t_ns, event))
        self._changed.notify_all()

    def _send(self, data: bytes) -> None:
        if not self._other:
            self._write_out(data)

    def _write_out(self, data: bytes) -> None:
        if data and self._write:
            try:
                self._write(data)
            except OSError:  # the reader finds the end of the line
                _log.debug("the KD line does not take %d bytes", len(data))

    def _gone(self) -> None:
        t_ns = time.time_ns()
        for event in [*self._session.close(), Detached()]:
            self._events.put((t_ns, event))

    # --- threads

    def _read(self, line: socket.socket) -> None:
        poll = select.poll()
        poll.register(line, select.POLLIN)
        while True:
            poll.poll()
            with self._changed:
                data = self._unread()
                if data:
                    self._received(data)
                if data != b"":
                    continue  # None: another thread was quicker
                line.close()
                self._socket = self._write = None
                self._gone()
                return

    def _detach(self) -> None:
        with self._changed:
            reader = self._reader
            if self._socket:
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)
        if reader:
            reader.join()

    def _keep_time(self) -> None:
        with self._changed:
            while not self._closed:
                due = None if self._still else next(iter(self._resets), None) if self._other else self._session.due
                left = None if due is None else due - time.monotonic()
                if left is None or left > 0:
                    self._changed.wait(left)
                elif data := self._unread():  # it was not the line that was silent, but we were late
                    self._received(data)
                elif self._holds_more():
                    self._changed.wait(_MOMENT)
                elif self._other:
                    self._resets.pop(0)
                    self._write_out(RESET)
                else:
                    self._do(self._session.tick(time.monotonic()))

    def _tell(self) -> None:
        while told := self._events.get():
            for subscriber in self._subscribers:
                try:
                    subscriber(*told)
                except Exception:
                    _log.exception("a subscriber of the KD pump failed on %r", told[1])


class _Sender:
    """Writes to a socket without ever waiting: the target may be the one that waits for us to read.

    What does not fit is dropped, with the rest of its packet: the protocol repeats it.
    """

    def __init__(self, line: socket.socket) -> None:
        self._line = line

    def __call__(self, data: bytes) -> None:
        with contextlib.suppress(BlockingIOError):
            self._line.send(data)
