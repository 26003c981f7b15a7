"""QMP, QEMU's control protocol, made synchronous: `qemu.qmp` runs in one background thread for all machines."""

import asyncio
import contextlib
import functools
import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import TimeoutError as FutureTimeout
from pathlib import Path
from typing import Any, TypeVar

from qemu.qmp import ExecInterruptedError, ExecuteError, QMPClient, QMPError
from qemu.qmp.protocol import StateError
from wsklab.qemu.deadline import left, within
from wsklab.qemu.errors import DeadlinePassed, GuestDied, MachineError, QmpError
from wsklab.qemu.logfile import LogFile

T = TypeVar("T")
Event = Mapping[str, Any]
_SILENT = logging.Logger("quiet", logging.CRITICAL)  # errors are raised to our caller, who knows more
PATIENCE = 10.0  # seconds for a command, when the caller names no deadline


MONITOR = "monitor.sock"
"""In a machine's folder: QMP for everybody who may open it, which is the lab's user."""


def listening(folder: Path) -> socket.socket | None:
    """Make the socket MONITOR for QEMU to accept at; its mode is set before it has a name (unix(7)).

    None where a file system has no sockets, or no room: a machine runs without it, too.
    """
    end = socket.socket(socket.AF_UNIX)
    os.fchmod(end.fileno(), 0o600)
    try:
        (folder / MONITOR).unlink(missing_ok=True)
        way = os.open(folder, os.O_PATH | os.O_DIRECTORY)  # the name of a socket is short, that of a folder need not be
        try:
            end.bind(f"/proc/self/fd/{way}/{MONITOR}")
        finally:
            os.close(way)
    except OSError:
        end.close()
        return None
    end.listen()
    return end


@functools.cache
def _loop_of(_pid: int) -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(_unretrieved)
    threading.Thread(target=loop.run_forever, name="qmp", daemon=True).start()
    return loop


def _unretrieved(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Say nothing of a connection that broke in a task nobody awaits: whoever uses the machine is told.

    `qemu.qmp` leaves such tasks behind when QEMU is killed. Everything else is a mistake, and asyncio logs it.
    """
    if not isinstance(context.get("exception"), QMPError | EOFError | OSError):
        loop.default_exception_handler(context)


_ONE_LOOP = threading.Lock()


def _loop() -> asyncio.AbstractEventLoop:
    """Return the event loop of this process (keyed by pid since threads do not survive os.fork)."""
    with _ONE_LOOP:
        return _loop_of(os.getpid())


class Qmp:
    """One QMP connection. Events go to `on_event` in the QMP thread: it must neither block nor execute commands."""

    def __init__(self, name: str, ours: socket.socket, log: LogFile, on_event: Callable[[Event], None]) -> None:
        self._name = name
        self._socket = ours
        self._on_event = on_event
        self._log = log
        self._client = QMPClient(name)
        self._client.logger = _SILENT
        self._task: asyncio.Task[None] | None = None
        self._giving = threading.Lock()

    def connect(self, deadline: float) -> None:
        """Connect. Raises MachineError when QEMU does not greet."""
        try:
            self._run(self._connect(), deadline, "the QMP greeting")
        except (QMPError, EOFError, OSError) as error:
            raise MachineError(f"{self._name}: no QMP greeting: {error}") from error

    def execute(self, command: str, /, deadline: float | None = None, **arguments: object) -> Any:
        """Run a QMP command and return its result. Raises QmpError, GuestDied or DeadlinePassed."""
        self._write_log({"execute": command, "arguments": arguments})
        try:
            with self._broken(f"{command} was not done"):
                reply = self._run(self._client.execute(command, arguments), deadline or within(PATIENCE), command)
        except ExecuteError as error:
            self._write_log({"error": str(error)})
            raise QmpError(f"{self._name}: {command}: {error}") from error
        self._write_log({"return": reply})
        return reply

    def look(self, command: str) -> Any:
        """Run a QMP command that changes nothing, and write nothing of it into the log. Raises as `execute` does."""
        try:
            with self._broken(f"{command} was not done"):
                return self._run(self._client.execute(command), within(PATIENCE), command)
        except ExecuteError as error:
            raise QmpError(f"{self._name}: {command}: {error}") from error

    @contextlib.contextmanager
    def _broken(self, what: str) -> Iterator[None]:
        """Say of a connection that broke that QEMU is gone, and nothing of one on which no answer comes."""
        try:
            yield
        except DeadlinePassed:  # a TimeoutError and so an OSError, too; QEMU is there
            raise
        except (ExecInterruptedError, StateError, EOFError, OSError) as error:
            raise GuestDied(f"{self._name}: QEMU is gone, {what}") from error

    def hmp(self, command: str, deadline: float | None = None) -> str:
        """Run a command of the human monitor and return its text: errors come as text, too."""
        return str(self.execute("human-monitor-command", deadline, **{"command-line": command}))

    def give(self, name: str, fd: int, then: str, **arguments: object) -> None:
        """Hand QEMU a file descriptor under `name`, and run a command that takes it. Raises as `execute` does."""
        with self._giving:  # the descriptor is that of the next `getfd`, whoever asks for it
            with self._broken(f"{then} was not done"):
                self._run(self._send(fd), within(PATIENCE), "getfd")
            self.execute("getfd", fdname=name)
        self.execute(then, None, **arguments)

    def close(self) -> None:
        with contextlib.suppress(Exception):  # whatever broke the connection is already known from the machine
            self._run(self._disconnect(), within(1.0), "the end of QMP")
        self._socket.close()
        self._log.close()

    async def _connect(self) -> None:
        await self._client.connect(self._socket)
        self._task = asyncio.create_task(self._listen())

    async def _send(self, fd: int) -> None:
        self._client.send_fd_scm(fd)

    async def _disconnect(self) -> None:
        if self._task:
            self._task.cancel()
            await asyncio.wait([self._task])  # a task that is still ending when the process ends is complained of
        await self._client.disconnect()

    async def _listen(self) -> None:
        async for event in self._client.events:
            self._write_log(dict(event))
            self._on_event(event)

    def _run(self, coroutine: Coroutine[Any, Any, T], deadline: float, what: str) -> T:
        future = asyncio.run_coroutine_threadsafe(coroutine, _loop())
        try:
            return future.result(left(deadline))
        except FutureTimeout:
            future.cancel()
            raise DeadlinePassed(f"{self._name}: QEMU did not answer in time: {what}") from None

    def _write_log(self, entry: Mapping[str, object]) -> None:
        self._log.write(json.dumps({"t_ns": time.time_ns(), **entry}).encode() + b"\n")
