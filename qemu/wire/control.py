"""The orchestrator's handle on the wire."""

import itertools
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from wsklab.common import json_line
from wsklab.qemu.deadline import left, within
from wsklab.qemu.errors import DeadlinePassed, WireError
from wsklab.qemu.process import Child
from wsklab.qemu.wire import pcapng
from wsklab.qemu.wire.frames import SIDES, Frame, decode

PATIENCE = 5.0  # seconds for the wire's process to answer
BUFFER = 4 << 20  # bytes; the kernel gives what net.core.wmem_max allows


class Traffic(NamedTuple):
    """What the wire has seen, and what it has yet to deliver."""

    segments: int
    waiting: int


class Wire:
    """A cable between two machines; its process runs from `start` to `stop`. A context manager.

    `target_end` and `peer_end` are the sockets which the machines are given; they outlive restarts of the machines.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.target_end, self._target_cable = _cable_pair()
        self.peer_end, self._peer_cable = _cable_pair()
        self._ids = itertools.count(1)
        self._lock = threading.Lock()
        self._stopping = False
        self._pending: dict[int, Future[dict[str, Any]]] = {}
        self._child: Child | None = None
        self._given_up: str | None = None

    def start(self, on_exit: Callable[[str], None] = lambda _words: None) -> None:
        """Let frames pass from now on. Raises WireError.

        `on_exit` is told, in a thread of its own, when the process ends before `stop`, and what it said last.
        """
        fds = [self._target_cable.fileno(), self._peer_cable.fileno()]
        command = [sys.executable, "-m", "wsklab.qemu.wire.cable", *map(str, fds)]
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._child = Child(
            command,
            self.folder / "wire.stderr",
            pass_fds=fds,
            pipes=True,
            on_exit=lambda code: self._ended(code, on_exit),
        )
        self._target_cable.close()
        self._peer_cable.close()
        threading.Thread(target=self._listen, args=(self._child,), name="wire", daemon=True).start()
        self.counters()

    def stop(self) -> None:
        """End the wire's process; a recording is complete then."""
        if self._child is None:
            return
        self._stopping = True
        with suppress(OSError):
            self._child.stdin.close()
        if self._child.wait(within(1.0)) is None:
            self._child.kill()
            self._child.wait(within(5.0))
        self.target_end.close()
        self.peer_end.close()
        self._child = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # -- recording ----------------------------------------------------------------------------------------------

    def record(self, path: Path) -> None:
        """Record every frame from now on as pcapng; ends an earlier recording."""
        self._ask("record", path=str(path.resolve()))

    def stop_recording(self) -> None:
        """End the recording; the file is complete then."""
        self._ask("stop_recording")

    def mark(self, text: str) -> None:
        """Name a place in the recording; `await_frame` looks at frames after the newest mark."""
        self._ask("mark", text=text)

    def barrier(self, deadline: float, sides: Iterable[str] = SIDES) -> None:
        """Ping the machines from the wire itself: when they have answered, all that they sent before is recorded.

        Raises DeadlinePassed which names the sides that did not answer.
        """
        number, future = self._send("barrier", sides=sorted(sides))
        if self._wait(future, deadline) is None:
            missing = self._ask("forget", of=number)["missing"]
            if missing:
                raise DeadlinePassed(f"no answer to the ping of the wire from: {', '.join(missing)}")

    def ping_by_ipv6(self, *sides: str) -> None:
        """Have `barrier` ask these machines by IPv6, as they have no IPv4 address."""
        self._ask("ping_by_ipv6", sides=list(sides))

    def await_frame(self, match: Mapping[str, object], deadline: float) -> Frame:
        """Wait for the first frame that fits since the mark (keys: `faults.Match.parse`). Raises DeadlinePassed."""
        number, future = self._send("await", match=match)
        reply = self._wait(future, deadline)
        if reply is None:
            self._ask("forget", of=number)
            raise DeadlinePassed(f"no frame on the wire fits {dict(match)}")
        told = reply["frame"]
        return decode(bytes.fromhex(told["data"]), told["time"], told["sender"], told["receiver"], told["comment"])

    # -- faults -------------------------------------------------------------------------------------------------

    def fault(self, spec: Mapping[str, object]) -> int:
        """Arm a fault (keys: `faults.Fault.parse`) and return its id. Raises WireError which says what is wrong."""
        return int(self._ask("fault", spec=spec)["fault"])

    def play(self, spec: Mapping[str, object]) -> None:
        """Have the wire play the peer's TCP (keys: `exact.Exact`), until `clear`. Raises WireError."""
        self._ask("play", spec=spec)

    def release(self, fault: int) -> None:
        """End a fault; the frames it holds go out now."""
        self._ask("release", fault=fault)

    def clear(self) -> None:
        """End all faults; the frames they hold are lost."""
        self._ask("clear")

    def forge(self, port: int, by: Sequence[Mapping[str, object]], other: int = 0) -> None:
        """Forge segments (keys: `flows.Forgery.parse`), now.

        On the newest connection that uses `port`, and `other` at its other end unless that is 0.
        """
        self._ask("forge", port=port, by=by, other=other)

    def counters(self) -> dict[str, dict[str, int]]:
        """Per side: frames received from it, sent to it, kept by faults, made for it, lost, and queued for it."""
        counters: dict[str, dict[str, int]] = self._ask("counters")["counters"]
        return counters

    def traffic(self) -> Traffic:
        """How many TCP segments have passed or were made, and how many frames still wait for their time."""
        told = self._ask("traffic")
        return Traffic(told["segments"], told["waiting"])

    def struck(self) -> dict[int, int]:
        """How many frames each armed fault has hit."""
        return {int(fault): hits for fault, hits in self._ask("counters")["struck"].items()}

    # -- life ---------------------------------------------------------------------------------------------------

    @property
    def pid(self) -> int:
        """The process. Raises WireError when there is none."""
        if self._child is None or self._child.exit_code is not None:
            raise WireError("the wire is not running: start it first")
        return self._child.pid

    def ask(self, side: str | None = None) -> Callable[[], bool]:
        """Ask in the background whether the process lives, or with `side` whether that machine answers a ping.

        Returns what tells whether the answer has come. Raises WireError.
        """
        _, future = self._send("counters") if side is None else self._send("barrier", sides=[side])
        return future.done

    def interrupt(self, why: str) -> None:
        """End every wait for an answer: whoever waits gets a WireError that says why."""
        with self._lock:
            for future in self._pending.values():
                future.set_exception(WireError(why))
            self._pending.clear()

    def give_up(self, why: str) -> None:
        """Nothing more is asked of a process that no longer answers: whoever tries gets a WireError at once."""
        self._given_up = why
        self.interrupt(why)

    # -- inside -------------------------------------------------------------------------------------------------

    def _ask(self, do: str, **arguments: object) -> dict[str, Any]:
        _, future = self._send(do, **arguments)
        reply = self._wait(future, within(PATIENCE))
        if reply is None:
            raise WireError(f"the wire's process did not answer to {do!r} in {PATIENCE:g} s")
        return reply

    def _send(self, do: str, **arguments: object) -> tuple[int, Future[dict[str, Any]]]:
        if self._child is None:
            raise WireError("the wire is not running: start it first")
        if self._given_up is not None:
            raise WireError(self._given_up)
        number, future = next(self._ids), Future[dict[str, Any]]()
        line = json_line.encode({"id": number, "do": do, **arguments}) + b"\n"
        with self._lock:
            self._pending[number] = future
            try:
                self._child.stdin.write(line)
                self._child.stdin.flush()
            except OSError:
                raise self._gone(self._child) from None
        return number, future

    def _wait(self, future: "Future[dict[str, Any]]", deadline: float) -> dict[str, Any] | None:
        """Wait for the reply; None when it did not come in time. Raises WireError when the wire refused."""
        try:
            reply = future.result(left(deadline))
        except FutureTimeout:
            return None
        if not reply["ok"]:
            raise WireError(reply["error"])
        return reply

    def _listen(self, child: Child) -> None:
        for line in child.stdout:
            reply = json_line.decode(line)
            with self._lock:
                future = self._pending.pop(reply["id"], None) if reply else None
            if reply and future:
                future.set_result(reply)
        child.wait(within(1.0))
        with self._lock:
            for future in self._pending.values():
                future.set_exception(self._gone(child))
            self._pending.clear()

    def _ended(self, code: int, tell: Callable[[str], None]) -> None:
        if not self._stopping and self._child is not None:
            tell(f"code {code}: {self._child.stderr_tail().strip() or 'it said nothing'}")

    def _gone(self, child: Child) -> WireError:
        return WireError(f"the wire's process is gone (code {child.exit_code}): {child.stderr_tail().strip()}")


def read_recording(path: Path) -> list[Frame]:
    """Return the frames and marks of a recording, in order; it may be unfinished."""
    return pcapng.read(path.read_bytes())


def _cable_pair() -> tuple[socket.socket, socket.socket]:
    """Return (the machine's end, the cable's end), connected to each other: a full buffer makes the sender wait."""
    ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    for end in ends:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
    return ends
