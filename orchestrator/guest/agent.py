"""The agent's control line (COM2): one JSON object a line each way. It needs no network and survives snapshots.

Bytes may be lost on the way to the guest, whose serial driver has a buffer with an end. So a request carries a
checksum, a long one goes in pieces that are confirmed, and one that was lost is sent once more: the agent does a
request once, however often it comes (drivers/agent/frame.h).
"""

from __future__ import annotations

import secrets
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from wsklab.common import json_line
from wsklab.drivers import dense
from wsklab.orchestrator.errors import LabError
from wsklab.orchestrator.guest.service_control import Action, explain
from wsklab.qemu.serial import SerialLine

PATIENCE = 20.0
"""Seconds for an answer; a driver that keeps a call longer than that hangs, on the slowest host too."""

CHUNK = 24 * 1024
"""Bytes of a file per request: a line stays far below the agent's limit and the UART's patience."""


PIECE = 2000
"""Bytes of a request that go at once: two pieces fit into the 4096 of serial.sys."""

UNCHECKED = 1
"""The last version of the agent that knew no checksums."""


class Refused(LabError):
    """Windows (or Wine) would not do what was asked, whoever asked it."""

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code
        """The Win32 error code, 0 where there is none."""


class AgentError(Refused):
    """The agent answered that it could not do what was asked."""


class AgentSilent(LabError):
    """The agent did not answer in time: it, or the call into the driver that it makes, hangs."""


class LineLost(LabError):
    """A request was lost twice on the way to the agent, which is alive: the line is bad, no driver is to blame."""


class Agent:
    """Requests to `wskagent.exe`, one at a time; answers come back by number on the reader thread of the line."""

    def __init__(self, line: SerialLine, check: Callable[[], None]) -> None:
        """`check` raises when the machine is gone; every wait asks it whenever it is woken."""
        self._line = line
        self._check = check
        self._answers: dict[int, dict[str, Any]] = {}
        self._changed = threading.Condition()
        self._next = secrets.randbelow(1 << 30) + 1  # an agent from a snapshot knows the last request of another lab
        self._damaged = 0  # how often the agent has read something that was no request
        self._more = 0  # bytes of a long request that it has confirmed
        self._background: dict[int, tuple[bytes, int]] = {}
        """Requests of `begin` that wait for their answer, with the count of damage when they were sent."""
        self._writing = threading.Lock()
        self._waiters = 0
        self.hello: dict[str, Any] | None = None
        line.on_line(self._on_line, look_back=True)  # its greeting may have come already

    def _on_line(self, t: int, text: str) -> None:
        message = json_line.decode(text)
        if message is None:
            return  # boot noise on the line; answers are whole JSON objects
        with self._changed:
            if "hello" in message:
                self.hello = message["hello"]
            elif "damaged" in message:
                self._damaged += 1
            elif isinstance(message.get("more"), int):
                self._more = message["more"]
            elif isinstance(message.get("id"), int):
                self._answers[message["id"]] = message
            self._changed.notify_all()

    def await_hello(self, deadline: float) -> dict[str, Any]:
        """Return the agent's first words after boot. Raises AgentSilent, or what `check` raises."""
        with self._changed:
            self._wait(lambda: self.hello is not None, deadline, "say hello on COM2")
            assert self.hello is not None
            return self.hello

    def wake(self) -> None:
        """Make every waiter look again: something has happened to the machine."""
        with self._changed:
            self._changed.notify_all()

    def ask(self, op: str, timeout: float = PATIENCE, **words: Any) -> dict[str, Any]:
        """Send one request and wait for its answer.

        A line that is written to slowly is written to more slowly when it loses something. Raises AgentError (refused),
        AgentSilent (no answer), and LineLost (the request did not arrive, twice; four times on a slow line).
        """
        number, request = self._compose(op, words)
        with self._waiting():
            attempts = 4 if self._line.pace else 2
            for _ in range(attempts):
                if self._exchange(number, request, op, timeout):
                    break
                self._line.pace *= 2
            else:
                raise LineLost(
                    f"the agent lives, but its line lost '{op}' {'twice' if attempts == 2 else 'four times'}: see "
                    "agent.log; the host may be too busy, or the port of the guest has too small a buffer"
                )
            with self._changed:
                answer = self._answers.pop(number)
        if not answer.get("ok"):
            code = int(answer.get("code", 0))
            raise AgentError(f"{op}: {answer.get('error', 'refused')} (Win32 error {code})", code)
        return answer

    def begin(self, op: str, **words: Any) -> int:
        """Send one short request and return its number; `answered` tells what became of it."""
        number, request = self._compose(op, words)
        with self._changed:
            self._background[number] = request, self._damaged
        self._write(*self._lines(request))
        return number

    def answered(self, number: int) -> bool:
        """Whether the answer to a request of `begin` has come; it is thrown away. One that was lost is sent again."""
        with self._changed:
            there = self._answers.pop(number, None) is not None
            request, damaged = self._background.pop(number, (b"", self._damaged))
            if not there and request:
                self._background[number] = request, self._damaged
        if not there and damaged != self._damaged:
            self._write(*self._lines(request))
        return there

    # --- the line ---------------------------------------------------------------------------------------------------

    def _compose(self, op: str, words: dict[str, Any]) -> tuple[int, bytes]:
        with self._changed:
            number, self._next = self._next, self._next + 1
        return number, json_line.encode({"id": number, "op": op, **words})

    def _lines(self, request: bytes) -> list[bytes]:
        """Return a request as the lines that the agent reads: pieces to confirm, and the last with the checksum."""
        if (self.hello or {}).get("agent", UNCHECKED + 1) <= UNCHECKED:
            return [request]
        last = max(0, len(request) - 1) // PIECE * PIECE
        pieces = [b"+%d %b" % (at, request[at : at + PIECE]) for at in range(0, last, PIECE)]
        return [*pieces, b"#%08x %b" % (zlib.crc32(request), request[last:])]

    def _write(self, *lines: bytes) -> None:
        """Write with an empty line before the first: it ends what is left of a line whose end was lost."""
        with self._writing:
            self._line.write(b"\n" + b"".join(line + b"\n" for line in lines))

    def _exchange(self, number: int, request: bytes, op: str, timeout: float) -> bool:
        """Send a request and wait for its answer; False when it did not arrive. Raises AgentSilent.

        The agent serves in order. So in the middle of the time something else is asked: when that is answered and the
        request is not, the request was lost; when neither is, the agent, or the driver that it calls, hangs.
        """
        deadline, damaged = time.monotonic() + timeout + 2 * self._line.pace * len(request), self._damaged
        *pieces, last = self._lines(request)
        sent = 0
        for piece in pieces:
            sent, self._more = sent + PIECE, 0
            self._write(piece)
            if not self._arrived(lambda: self._more > 0, op, deadline, damaged) or self._more != sent:
                return number in self._answers
        self._write(last)
        return self._arrived(lambda: number in self._answers, op, deadline, damaged)

    def _arrived(self, there: Callable[[], bool], op: str, deadline: float, damaged: int) -> bool:
        """Wait for what the agent says to a line; False when it did not receive the line. Raises AgentSilent."""
        what = f"answer '{op}'"
        with self._changed:
            try:
                self._wait(lambda: there() or self._damaged != damaged, (time.monotonic() + deadline) / 2, what)
                return there()
            except AgentSilent:
                pass
        probe = self.begin("ping")
        with self._changed:
            try:
                self._wait(lambda: there() or self._damaged != damaged or probe in self._answers, deadline, what)
            finally:
                self._answers.pop(probe, None)
                self._background.pop(probe, None)
            return there()

    @property
    def busy(self) -> bool:
        """Whether an answer is waited for: the agent serves one request at a time, so others come later."""
        return self._waiters > 0

    @contextmanager
    def _waiting(self) -> Iterator[None]:
        with self._changed:
            self._waiters += 1
        try:
            yield
        finally:
            with self._changed:
                self._waiters -= 1

    def _wait(self, there: Callable[[], bool], deadline: float, what: str) -> None:
        while not there():
            self._check()
            left = deadline - time.monotonic()
            if left <= 0:
                raise AgentSilent(f"the agent did not {what} within the time allowed")
            self._changed.wait(left)

    def ioctl(self, device: str, code: int, data: bytes, out: int, timeout: float = PATIENCE) -> bytes:
        """DeviceIoControl on `device` with `data`, room for `out` bytes of answer."""
        answer = self.ask("ioctl", timeout, device=device, code=code, out=out, **{"in": dense.encode(data)})
        return dense.decode(answer["out"])

    def put(self, path: str, content: bytes) -> None:
        """Write a file in the target, piece by piece."""
        for offset in range(0, max(len(content), 1), CHUNK):
            self.ask("put", 30, path=path, offset=offset, data=dense.encode(content[offset : offset + CHUNK]))

    def get(self, path: str, limit: int = 64 * 1024 * 1024) -> bytes:
        """Read a file of the target, at most `limit` bytes of it."""
        content = bytearray()
        while True:
            answer = self.ask("get", 30, path=path, offset=len(content), length=CHUNK)
            piece = dense.decode(answer["data"])
            content += piece
            if not piece or len(content) >= min(answer["size"], limit):
                return bytes(content[:limit])

    def service(self, action: Action, name: str, path: str | None = None, timeout: float = 60.0) -> dict[str, Any]:
        """create, start, stop, delete or query a kernel service. Raises AgentError, which explains Windows' code."""
        try:
            return self.ask("service", timeout, action=action, name=name, **({"path": path} if path else {}))
        except AgentError as error:
            if not error.code:
                raise
            raise AgentError(f"{action} {name}: {explain(error.code, action, str(error))}", error.code) from None
