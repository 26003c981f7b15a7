"""Whether anything can still come: a wait for what cannot come any more need not last its whole time.

Everything that may still cause a line of the driver is asked for: requests of the peer program, callbacks of the
driver, frames that the wire holds, and the TCP timers and unacknowledged bytes in both kernels. An IRP does not
complete by itself: what completes it is a segment, a timer, or what the target's kernel has received and nobody has
taken yet. Only what says so itself counts as quiet; whoever cannot be asked may still have something to say.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from wsklab.orchestrator.errors import LabError
from wsklab.orchestrator.guest.agent import AgentError
from wsklab.orchestrator.lab.lab import Lab
from wsklab.orchestrator.lab.peer import PeerProcess
from wsklab.orchestrator.observe.journal import MachineLost
from wsklab.qemu.errors import DeadlinePassed

SPAN = 0.5
"""Seconds between two looks that must show the same; a delayed acknowledgement takes at most 0.2."""

HELD = 2.0
"""Seconds for a callback to return, in which nothing else happens; no scenario holds one for more than one second."""

ANSWER = 3.0
"""Seconds for a party to say what it still has to do."""

NOTHING = "and nothing was under way any more"
CALLBACK = "and a callback of the driver does not return"
"""Why nothing can come any more."""

SSH_PORT = 22

TABLES = ("/proc/net/tcp", "/proc/net/tcp6")

TABLE_BYTES = 20_000
"""A table of this size may have been cut short by the agent's limit on an answer; it is not relied upon."""

COMING = frozenset({1, 2, 4})
"""Timers of a socket that make it act: retransmission, keepalive, zero window probe. 3 is TIME_WAIT, and silent."""


@dataclass(frozen=True)
class Socket:
    """A row of /proc/net/tcp: what the kernel still has to do for one socket."""

    port: int
    timer: int
    unacknowledged: int
    unread: int
    """Bytes, a FIN being one; connections, where it listens."""

    @property
    def active(self) -> bool:
        """Whether it may send something by itself."""
        return self.timer in COMING or self.unacknowledged > 0


@dataclass(frozen=True)
class Look:
    """What has happened so far, at a moment at which nothing is under way, or a callback keeps everything from it."""

    lines: int
    segments: int
    callback: bool


def sockets(table: str) -> Iterator[Socket]:
    """Yield the rows of /proc/net/tcp or tcp6. Raises ValueError when it is no such table."""
    heading, *rows = table.splitlines() or [""]
    if "tx_queue" not in heading:
        raise ValueError("no table of TCP sockets")
    for row in rows:
        try:
            _, local, _, _, queues, timer, *_ = row.split()
            unacknowledged, _, unread = queues.partition(":")
            yield Socket(
                int(local.rpartition(":")[2], 16),
                int(timer.partition(":")[0], 16),
                int(unacknowledged, 16),
                int(unread, 16),
            )
        except ValueError:
            raise ValueError(f"no row of a table of TCP sockets: {row!r}") from None


def active(table: str, received: bool = False) -> bool:
    """Whether a kernel still has something to do for a connection that is not the lab's own (SSH).

    With `received` also whether it still holds what has come: data, a FIN, or a connection. A table that is cut short,
    or is none, counts as active.
    """
    try:
        ours = [s for s in sockets(table) if s.port != SSH_PORT]
        return len(table) >= TABLE_BYTES or any(s.active or (received and s.unread) for s in ours)
    except ValueError:
        return True


class Quiescence:
    """Asks one lab, for one scenario. Only the stand-in and the lab's own driver can be asked all of it."""

    def __init__(self, lab: Lab, peer: PeerProcess, ask_provider: Callable[[], None], pending: bool = False) -> None:
        """`ask_provider` has the provider answer a call on every connection: what it had begun is told before.

        `pending`: the provider was told to let IRPs pend for a time of its own.
        """
        self._lab = lab
        self._peer = peer
        self._ask_provider = ask_provider
        self._pending = pending

    def reached(self, waiting: int = 0) -> str | None:
        """Why nothing can come any more; None when something can, or may.

        `waiting`: so many requests of the peer program are only waiting for it themselves.

        Nothing is under way, twice in a row, with both machines' queues empty. The provider has one thread: a callback
        that does not return keeps everything else from happening. Raises LabError and MachineError: a driver that no
        longer answers has crashed, or hangs.
        """
        if self._lab.guest.kind != "standin" or self._lab.foreign is not None:
            return None
        try:
            before = self._look(waiting)
            if before is None:
                return None
            if before.callback:
                return CALLBACK if self._unchanged(before, HELD, waiting) else None
            self._lab.wire.barrier(self._deadline())
            self._ask_provider()
            return NOTHING if self._unchanged(self._look(waiting), SPAN, waiting) else None
        except DeadlinePassed:
            return None

    def _unchanged(self, before: Look | None, seconds: float, waiting: int) -> bool:
        self._lab.journal.pass_time(seconds * self._lab.slowness)
        return before is not None and before == self._look(waiting)

    def _deadline(self) -> float:
        return time.monotonic() + ANSWER * self._lab.slowness

    def _look(self, waiting: int) -> Look | None:
        """None when something is under way, or when somebody cannot be asked."""
        if self._peer.unanswered > waiting or self._lab.excused("peer"):
            return None
        traffic = self._lab.wire.traffic()
        if traffic.waiting:
            return None
        state = self._lab.target.state()
        if state.irps and self._pending:
            return None
        awaited = state.irps > 0 and not state.callbacks  # a callback that runs keeps the provider from taking it
        if any(active(table, received=awaited) for table in self._tables_of_target()):
            return None
        if any(active(table) for table in self._tables_of_peer()):
            return None
        return Look(state.next_seq, traffic.segments, state.callbacks > 0)

    def _tables_of_target(self) -> Iterator[str]:
        for name in TABLES:
            try:
                raw = self._lab.target.agent.get(rf"\\?\unix{name.replace('/', chr(92))}")
            except AgentError:
                raw = b""  # it cannot be asked
            yield raw.decode("ascii", "replace")

    def _tables_of_peer(self) -> Iterator[str]:
        for name in TABLES:
            try:
                yield self._lab.peer.ssh.run(f"cat {name}", ANSWER * self._lab.slowness)
            except MachineLost:
                raise
            except LabError:
                yield ""  # it cannot be asked
