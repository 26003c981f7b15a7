"""The stage of one scenario: its connections, its deadlines, and the record of what each step came to."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

from wsklab.orchestrator.errors import StepError
from wsklab.orchestrator.journal import Matches
from wsklab.orchestrator.lab import Lab
from wsklab.orchestrator.observation import Observation
from wsklab.orchestrator.peer import PeerProcess
from wsklab.orchestrator.scenario import Scenario
from wsklab.qemu.errors import DeadlinePassed

SETTLE = 5.0
"""Seconds for the canary line, and for the wire's barrier."""

PATIENCE = 10.0
"""Seconds that a step may take unless it says `within`; a step that needs longer is about time and says so."""

FIRST_COOKIE = 0xC0010000


@dataclass
class Connection:
    """One connection of the scenario: the driver's number for it, its context cookie, and its ports once known."""

    number: int
    raw: int
    cookie: int
    target_port: int | None = None
    peer_port: int | None = None


def completion(number: int) -> Matches:
    """The line that tells that the IRP of operation `number` is back."""
    return lambda o: o.kind == "done" and o.data["id"] == number


class Stage:
    """What the actors of one scenario share."""

    def __init__(self, lab: Lab, scenario: Scenario, peer: PeerProcess) -> None:
        self.lab = lab
        self.scenario = scenario
        self.peer = peer
        self.began = lab.journal.mark
        self.listeners: dict[str, int] = {}
        self.connections: dict[int, Connection] = {}
        self._seen: dict[tuple[str, int], int] = {}

    def connection(self, number: int) -> Connection:
        """The scenario's connection `number`, made on first mention."""
        if number not in self.connections:
            raw = self.lab.target.connection(number)
            connection = Connection(number, raw, FIRST_COOKIE + raw)
            self.connections[number] = connection
            self.note("opened", number, id=raw, cookie=connection.cookie)
        return self.connections[number]

    def flow_known(self, connection: Connection) -> None:
        """Tell judge and wire which ports are this connection's."""
        self.note("flow", connection.number, target_port=connection.target_port, peer_port=connection.peer_port)

    def note(self, kind: str, conn: int | None = None, **data: object) -> None:
        """An observation of the lab itself."""
        self.lab.journal.add(Observation(time.time_ns(), "lab", kind, conn, data))

    def deadline(self, within: float | None) -> float:
        """On the monotonic clock, slower machines given more."""
        return time.monotonic() + (within if within is not None else PATIENCE) * self.lab.slowness

    def await_line(self, what: str, matches: Matches, deadline: float) -> Observation:
        """The first line of the driver in this scenario that `matches`. Raises StepError at the deadline."""
        try:
            found, _ = self.lab.journal.wait(lambda o: o.source == "driver" and matches(o), deadline, self.began)
        except TimeoutError:
            raise StepError(f"{what} within the time allowed") from None
        return found

    def await_operations(self, operations: Iterable[int], what: str, deadline: float) -> list[Observation]:
        """The completions of `operations`: every IRP comes back (R86). Raises StepError when one does not."""
        return [self.await_line(f"{what} did not complete", completion(number), deadline) for number in operations]

    def await_next(self, what: str, matches: Matches, conn: int, count: int,
                   deadline: float) -> None:
        """`count` more lines on connection `conn` than earlier waits for `what` have used up."""
        key = (what, conn)
        position = self._seen.get(key, self.began)
        for number in range(count):
            try:
                _, position = self.lab.journal.wait(
                    lambda o: o.source == "driver" and o.conn == conn and matches(o), deadline, position)
            except TimeoutError:
                missing = f" (got {number} of {count})" if count > 1 else ""
                raise StepError(f"no {what} was reported within the time allowed{missing}") from None
            self._seen[key] = position

    def await_lines(self, kind: str, conn: int, count: int, deadline: float, op: str | None = None) -> None:
        """Wait until `count` such lines of connection `conn` are there in all. Raises TimeoutError."""
        position = self.began
        for _ in range(count):
            _, position = self.lab.journal.wait(
                lambda o: o.source == "driver" and o.kind == kind and o.conn == conn
                and (op is None or o.data["op"] == op), deadline, position)

    def listen(self, deadline: float) -> int:
        """The port of the peer's listener, opened on first use."""
        if "listener" not in self.listeners:
            answer = self.peer.ask("listen", deadline, sock="listener", family=self.scenario.socket.family, port=0)
            self.listeners["listener"] = answer["port"]
        return self.listeners["listener"]

    def settle(self) -> None:
        """Everything sent before now is recorded, everything printed before now is read.

        The barrier pings both machines over the wire: their queues are first in, first out, so an answer proves that
        all earlier frames have passed. The canary does the same for the debug line.
        """
        try:
            self.lab.wire.barrier(self.deadline(SETTLE))
            self.note("barrier", complete=True)
        except DeadlinePassed as error:
            self.note("barrier", complete=False, detail=str(error))
        self.canary("after")

    def canary(self, when: str) -> None:
        """Note whether a token of ours comes through on the debug line, before or after the scenario."""
        self.note("canary", when=when, seen=self.lab.target.canary(self.deadline(SETTLE)))
