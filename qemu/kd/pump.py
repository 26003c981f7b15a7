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
from wsklab.qemu.kd.session import Session, Step

EventSubscriber = Callable[[int, Event], None]

_log = logging.getLogger(__name__)


class Pump:
    """A session with its clock, its line and its subscribers.

    `write` sends bytes to the target. It must not block for long; what it raises as OSError is taken for a lost line.
    Give it a socket with `attach`, or call `received` with what a line of another kind brings.
    """

    def __init__(self, write: Callable[[bytes], None] | None = None) -> None:
        self._session = Session()
        self._write = write
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
        """Calls `subscriber(t_ns, event)` for every event from now on, in order. Returns how to stop it.

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
        """Bytes from the target; the answer is written before this returns."""
        with self._changed:
            self._received(data)

    def ended(self) -> None:
        """A line that calls `received` has ended: what it left unfinished is told, and that it is gone."""
        with self._changed:
            self._write = None
            self._gone()

    def resync(self) -> None:
        """After `loadvm` or a reset, before the target runs on: what it said before is thrown away (kd.md 3.5).

        A socket is emptied here; a line that calls `received` must be empty itself.
        """
        with self._changed:
            while self._unread():
                pass
            self._session.resync()
            self._changed.notify_all()

    def break_in(self) -> None:
        """Make the target stop once and go on: it listens to us again if it had given us up (kd.md 1.5)."""
        with self._changed:
            self._send(self._session.break_in())

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
        """What the socket holds; None for nothing, b"" at its end."""
        if not self._socket:
            return None
        try:
            return self._socket.recv(65536)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def _received(self, data: bytes) -> None:
        self._do(self._session.feed(data, time.monotonic()))

    def _do(self, step: Step) -> None:
        self._send(step.send)
        t_ns = time.time_ns() if step.events else 0
        for event in step.events:
            self._events.put((t_ns, event))
        self._changed.notify_all()

    def _send(self, data: bytes) -> None:
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
                due = self._session.due
                left = None if due is None else due - time.monotonic()
                if left is None or left > 0:
                    self._changed.wait(left)
                elif data := self._unread():  # it was not the line that was silent, but we were late
                    self._received(data)
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
