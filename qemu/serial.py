"""A serial line of a machine: drained for ever by a thread of its own, heard as whole lines of text."""

from __future__ import annotations

import contextlib
import re
import select
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from wsklab.qemu.errors import DeadlinePassed, GuestDied
from wsklab.qemu.logfile import LogFile

if TYPE_CHECKING:
    from wsklab.qemu.watch import Watch

MAX_LINE = 4096  # bytes of debug and console text; of a longer line the beginning and the end are heard
MAX_ANSWER = 1 << 20  # bytes of one answer of the agent, a whole JSON object
REMEMBERED = 200  # lines that `expect` looks back on
WRITE_PATIENCE = 10  # seconds for a guest to read what we write
LineSubscriber = Callable[[int, str], None]
Reads = Callable[[str], bool]

_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")  # ECMA-48: CSI, OSC, C1
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


class LineSplitter:
    """Bytes in, whole lines of clean text out; pure. Memory is bounded by `longest`, in bytes.

    A line that is longer comes as two: its beginning as soon as that is there, and its end, with the number of bytes
    between them that were left out.
    """

    def __init__(self, longest: int = MAX_LINE) -> None:
        self._longest = longest
        self._rest = b""
        self._begun = False  # the beginning of this line has been handed on
        self._left_out = 0

    def feed(self, data: bytes) -> list[str]:
        """Return the lines that these bytes complete, without escape sequences and control characters."""
        *whole, rest = data.split(b"\n")
        lines: list[str] = []
        for piece in whole:
            self._add(piece, lines)
            if self._rest or not self._begun:
                lines.append(self._line())
            self._begun, self._rest = False, b""
        self._add(rest, lines)
        return lines

    def flush(self) -> list[str]:
        """Return the unfinished line, if there is one: nothing more will come for it."""
        lines = [self._line()] if self._rest else []
        self._begun, self._rest = False, b""
        return lines

    def _add(self, piece: bytes, lines: list[str]) -> None:
        rest = self._rest + piece
        if len(rest) > self._longest and not self._begun:
            lines.append(clean(rest[: self._longest]))
            self._begun, rest = True, rest[self._longest :]
        self._left_out += max(0, len(rest) - self._longest)
        self._rest = rest[-self._longest :]

    def _line(self) -> str:
        left_out, self._left_out = self._left_out, 0
        return (f"[{left_out} bytes of this line are left out] " if left_out else "") + clean(self._rest)


def clean(line: bytes) -> str:
    """Decode, late: what is not UTF-8 becomes U+FFFD; terminal escapes and carriage returns go.

    Any other control character is shown as its code: it is no part of what a driver means to say, and who reads the
    line has to see that it is there.
    """
    text = _ESCAPE.sub("", line.decode(errors="replace")).replace("\r", "")
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


def unread(end: socket.socket) -> bool:
    """Whether a socket holds bytes that nobody has taken."""
    try:
        return bool(end.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except OSError:
        return False


class _Hearer:
    """One subscriber and the lines that it has not heard yet, in order. Only its line appends to `waiting`."""

    def __init__(self, subscriber: LineSubscriber, waiting: Iterable[tuple[int, str]] = ()) -> None:
        self._subscriber = subscriber
        self.waiting = deque(waiting)
        self._calling = threading.Lock()  # taken without waiting, as a mark: a thread is handing lines on

    def hear(self) -> None:
        """Hand on what waits, unless a thread does so already, which then hands this on, too."""
        while self.waiting and self._calling.acquire(blocking=False):
            try:
                while (line := self._next()) is not None:
                    self._subscriber(*line)
            finally:
                self._calling.release()

    def leave(self) -> None:
        """Hear nothing more; what is being handed on at this moment is the last."""
        self.waiting.clear()

    def _next(self) -> tuple[int, str] | None:
        try:
            return self.waiting.popleft()
        except IndexError:  # also when it has just left
            return None


class SerialLine:
    """One end of a serial line: `log` keeps the raw bytes, subscribers hear them as lines.

    No subscriber is called with a lock of the line held, so that it may take locks of its own and call the line; each
    hears the lines in their order, one at a time. Only `cut` and `all_dealt_with` wait for what is being handed on:
    whoever calls them holds no lock that a subscriber takes.
    """

    def __init__(self, name: str, ours: socket.socket, log: LogFile | None = None) -> None:
        self.name = name
        self._log = log
        self.last_heard = time.monotonic()
        self.pace = 0.0
        """Seconds between two bytes into the guest, where nothing else keeps them from being lost."""
        self._socket = ours
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", WRITE_PATIENCE, 0))  # struct timeval
        self._splitter = LineSplitter(MAX_ANSWER if name == "agent" else MAX_LINE)
        self._lock = threading.Lock()  # the order of lines, and the lists of those who hear them
        self._intake = threading.Condition()  # guards `_taker`
        self._taker: int | None = None  # the thread which deals with bytes that it has taken off the socket
        self._hearers: list[_Hearer] = []
        self._watches: list[Watch] = []
        self._recent: deque[str] = deque(maxlen=REMEMBERED)
        self._reads: list[Reads] = []
        self._raw: Callable[[bytes], None] | None = None
        self._ended = False
        self._thread = threading.Thread(target=self._drain, name=f"serial-{name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def on_line(
        self, subscriber: LineSubscriber, look_back: bool = False, reads: Reads | None = None
    ) -> Callable[[], None]:
        """Call `subscriber(t_ns, text)` for every line from now on, in the drain thread; returns how to stop it.

        A subscriber must be quick: the guest waits while nobody drains. With `look_back` it first hears, here and now,
        the last lines said: a guest may be quicker than who waits for it. `reads` says whether a text means something
        to it, so that a line is found behind what somebody else left unfinished; it must be as quick.
        """
        if reads is not None:
            self._reads.append(reads)
        with self._lock:
            now = time.time_ns()
            hearer = _Hearer(subscriber, [(now, text) for text in self._recent] if look_back else ())
            self._hearers.append(hearer)
        hearer.hear()
        return lambda: self._forget(hearer)

    def known(self, text: str) -> bool:
        """Whether a text means something to one of those who hear the line."""
        return any(reads(text) for reads in self._reads)

    def holds_more(self) -> bool:
        """Whether bytes are there that nobody has taken yet."""
        return unread(self._socket)

    def all_dealt_with(self) -> bool:
        """Whether nothing is left of what has come; for a machine that stands still. A subscriber gets False."""
        if self._taker == threading.get_ident():
            return False
        with self._taking():
            return not unread(self._socket)

    def last(self, count: int) -> list[str]:
        """Return the last lines said."""
        with self._lock:
            return list(self._recent)[-count:]

    def on_bytes(self, receiver: Callable[[bytes], None]) -> None:
        """Give the raw bytes to `receiver` (a KD session) instead of splitting lines; it calls `say` with its text.

        Before `start`. At the end of the line it gets b"", and has said everything when it returns.
        """
        self._raw = receiver

    def say(self, lines: list[str], t_ns: int | None = None) -> None:
        """Hand lines to all subscribers and watches; `t_ns` is when they came, if not now.

        Where another thread is at it for a subscriber, that one hands these on, too.
        """
        t_ns = t_ns or time.time_ns()
        with self._lock:
            for text in lines:
                self._recent.append(text[:MAX_LINE])
                for watch in self._watches:
                    watch.hear(t_ns, text)
            hearers = list(self._hearers)
            for hearer in hearers:
                hearer.waiting.extend((t_ns, text) for text in lines)
        for hearer in hearers:
            hearer.hear()

    def write(self, data: bytes) -> None:
        """Send bytes into the guest. Raises GuestDied when the line is gone, DeadlinePassed when nobody reads."""
        try:
            if self.pace:
                for byte in data:
                    self._socket.sendall(bytes([byte]))
                    time.sleep(self.pace)
            else:
                self._socket.sendall(data)
        except BlockingIOError:
            raise DeadlinePassed(f"nobody reads the {self.name} line in the guest") from None
        except OSError as error:
            raise GuestDied(f"the {self.name} line is gone: {error}") from error

    def offer(self, data: bytes) -> None:
        """Send what fits without waiting and drop the rest, for a protocol that repeats what was lost."""
        with contextlib.suppress(OSError):
            self._socket.send(data, socket.MSG_DONTWAIT)

    @contextlib.contextmanager
    def watch(self) -> Iterator[Watch]:
        """Keep what the line says from now on, for `expect`: begin the watch, cause the text, then expect it."""
        from wsklab.qemu.watch import (
            Watch,  # and pexpect: nothing is expected of a machine that comes out of a snapshot
        )

        watch = Watch(self.name)
        with self._lock:
            self._watches.append(watch)
            if self._ended:
                watch.end()
        try:
            yield watch
        finally:
            with self._lock:
                self._watches.remove(watch)
            watch.close()

    def expect(self, pattern: str, deadline: float) -> re.Match[str]:
        """Return the first match in the last lines said or in one yet to come.

        A guest may be quicker than who waits for it. See `watch` for text that only our own action causes. Raises
        DeadlinePassed, or GuestDied.
        """
        with self.watch() as watch:
            with self._lock:
                recent = list(self._recent)
            for text in recent:
                if match := re.search(pattern, text):
                    return match
            return watch.expect(pattern, deadline)

    def interrupt(self, why: str) -> None:
        """End every `expect` under way: what is waited for cannot come any more."""
        with self._lock:
            for watch in self._watches:
                watch.end(why)

    def cut(self) -> None:
        """End an unfinished line: what comes next comes from another time (a snapshot was restored).

        Raw bytes that nobody has read yet are thrown away: the machine must stand still meanwhile.
        """
        with self._taking():
            if self._raw:
                with contextlib.suppress(OSError):
                    while data := self._socket.recv(65536, socket.MSG_DONTWAIT):
                        self._keep(data)
            self.say(self._splitter.flush())

    def close(self) -> None:
        """End the line and its thread."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()
        if self._log:
            self._log.close()

    def _drain(self) -> None:
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        while self._take(poll):
            pass
        if self._raw:
            self._raw(b"")
        self.say(self._splitter.flush())
        with self._lock:
            self._ended = True
            for watch in self._watches:
                watch.end()

    def _take(self, poll: select.poll) -> bool:
        """Wait for bytes and deal with them; False at the end of the line."""
        poll.poll()
        with self._taking():
            try:
                data = self._socket.recv(65536, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return True  # the line was cut
            except OSError:
                return False
            if data:
                self.last_heard = time.monotonic()
                if self._raw:
                    self._raw(data)  # first: the guest waits for the answer, and a disk may be slow
                    self._keep(data)
                else:
                    self._keep(data)
                    self.say(self._splitter.feed(data))
            return bool(data)

    @contextlib.contextmanager
    def _taking(self) -> Iterator[None]:
        """Be the one who takes bytes off the socket until they are dealt with; waits for who is. No lock is held."""
        assert self._taker != threading.get_ident(), "a subscriber of a line cannot cut it"
        with self._intake:
            self._intake.wait_for(lambda: self._taker is None)
            self._taker = threading.get_ident()
        try:
            yield
        finally:
            with self._intake:
                self._taker = None
                self._intake.notify_all()

    def _keep(self, data: bytes) -> None:
        if self._log:
            self._log.write(data)

    def _forget(self, hearer: _Hearer) -> None:
        with self._lock:
            self._hearers.remove(hearer)
            hearer.leave()
