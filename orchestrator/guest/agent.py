"""The agent's control line (COM2): one JSON object a line each way. It needs no network and survives snapshots."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from wsklab.drivers import dense
from wsklab.orchestrator.errors import LabError
from wsklab.orchestrator.guest.service_control import Action, explain
from wsklab.qemu.serial import SerialLine

PATIENCE = 20.0
"""Seconds for an answer; a driver that keeps a call longer than that hangs, on the slowest host too."""

CHUNK = 24 * 1024
"""Bytes of a file per request: a line stays far below the agent's limit and the UART's patience."""


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


class Agent:
    """Requests to `wskagent.exe`, one at a time; answers come back by number on the reader thread of the line."""

    def __init__(self, line: SerialLine, check: Callable[[], None]) -> None:
        """`check` raises when the machine is gone; every wait asks it whenever it is woken."""
        self._line = line
        self._check = check
        self._answers: dict[int, dict[str, Any]] = {}
        self._changed = threading.Condition()
        self._next = 1
        self._writing = threading.Lock()
        self._waiters = 0
        self.hello: dict[str, Any] | None = None
        line.on_line(self._on_line, look_back=True)  # its greeting may have come already

    def _on_line(self, t: int, text: str) -> None:
        try:
            message = json.loads(text)
        except ValueError:
            return  # boot noise on the line; answers are whole JSON objects
        if not isinstance(message, dict):
            return
        with self._changed:
            if "hello" in message:
                self.hello = message["hello"]
            elif isinstance(message.get("id"), int):
                self._answers[message["id"]] = message
            self._changed.notify_all()

    def await_hello(self, deadline: float) -> dict[str, Any]:
        """The agent's first words after boot. Raises AgentSilent, or what `check` raises."""
        with self._changed:
            self._wait(lambda: self.hello is not None, deadline, "say hello on COM2")
            assert self.hello is not None
            return self.hello

    def wake(self) -> None:
        """Make every waiter look again: something has happened to the machine."""
        with self._changed:
            self._changed.notify_all()

    def ask(self, op: str, timeout: float = PATIENCE, **words: Any) -> dict[str, Any]:
        """Send one request and wait for its answer. Raises AgentError (refused) and AgentSilent (no answer)."""
        deadline = time.monotonic() + timeout
        with self._waiting():
            number = self.begin(op, **words)
            with self._changed:
                self._wait(lambda: number in self._answers, deadline, f"answer '{op}'")
                answer = self._answers.pop(number)
        if not answer.get("ok"):
            code = int(answer.get("code", 0))
            raise AgentError(f"{op}: {answer.get('error', 'refused')} (Win32 error {code})", code)
        return answer

    def begin(self, op: str, **words: Any) -> int:
        """Send one request and return its number; `answered` tells what became of it."""
        with self._changed:
            number, self._next = self._next, self._next + 1
        request = json.dumps({"id": number, "op": op, **words}, separators=(",", ":"))
        with self._writing:
            self._line.write(request.encode("ascii") + b"\n")
        return number

    def answered(self, number: int) -> bool:
        """Whether the answer to a request of `begin` has come; it is thrown away."""
        with self._changed:
            return self._answers.pop(number, None) is not None

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
