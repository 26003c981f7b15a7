"""The context of one scenario: its connections, its deadlines, and the waits that its actors share."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from wsklab.drivers.protocol import Command, Op
from wsklab.orchestrator.errors import StepError, TimedOut
from wsklab.orchestrator.lab.lab import Lab
from wsklab.orchestrator.lab.peer import NotInTime, PeerProcess
from wsklab.orchestrator.liveness.quiescence import Quiescence
from wsklab.orchestrator.observe.base import Observation
from wsklab.orchestrator.observe.driver_lines import Addresses, Call, CommandRefused, Completion, DriverLine
from wsklab.orchestrator.observe.journal import Matches, NotYet
from wsklab.orchestrator.observe.lab_notes import Barrier, CanaryNote, LabNote, Opened, PortsKnown
from wsklab.orchestrator.observe.peer_replies import PeerReply
from wsklab.orchestrator.play.connection import Connection
from wsklab.orchestrator.scenario.scenario import Scenario
from wsklab.qemu.errors import DeadlinePassed

SETTLE = 5.0
"""Seconds for the canary line, and for the wire's barrier."""

PATIENCE = 10.0
"""Seconds that a step may take unless it says `within`; a step that needs longer is about time and says so."""

IN_VAIN = 3.0
"""Seconds for a step of a scenario in which the driver cannot do what it is asked to."""

LULL = 0.5
"""Seconds in which nothing has come, before it is asked whether anything still can; then twice as long, and so on."""

LONGEST_LULL = 8.0

FIRST_COOKIE = 0xC0010000

GREETING = 4
"""Bytes of the lab's own driver, where it does unasked what any driver may do."""

NO_CALL = "; the driver made no such call"

IN_TIME = "within the time allowed"

EndOfOperation = TypeVar("EndOfOperation", bound=Call | Completion | Addresses)
"""What the end of an operation is told by."""

LISTENER = -1
"""The number of the driver's listening socket, which is no connection of the scenario."""


class NothingComes(TimedOut):
    """What is waited for cannot come any more; the message says why."""


def port_of(answer: PeerReply) -> int:
    """Return the port that an answer tells. Raises StepError."""
    if answer.port is None:
        raise StepError(f"the peer's answer to {answer.do} tells no port")
    return answer.port


class PlayContext:
    """What the actors of one scenario share."""

    def __init__(self, lab: Lab, scenario: Scenario, peer: PeerProcess, draw: random.Random) -> None:
        """`draw` is where everything random in this scenario comes from, so that the same seed gives the same again."""
        self.lab = lab
        self.scenario = scenario
        self.peer = peer
        self.draw = draw
        self.began = lab.journal.mark
        self.connections: dict[int, Connection] = {}
        self.undo: list[Callable[[], object]] = []
        self.first_line = 1  # number of the driver's first line in this scenario
        self._listener: Connection | None = None
        self._peer_listener: int | None = None
        self._quiescence = Quiescence(lab, peer, self._await_provider, scenario.socket.pend is not None)
        self._used: Counter[tuple[str, int]] = Counter()

    # --- connections ----------------------------------------------------------------------------------------------

    def connection(self, number: int) -> Connection:
        """Return the scenario's connection `number`, made on first mention."""
        if number not in self.connections:
            raw = self.lab.target.connection(number)
            connection = Connection(number, raw, FIRST_COOKIE + raw, str(number))
            self.connections[number] = connection
            self.note(Opened(t=time.time_ns(), conn=number, id=raw, cookie=connection.cookie))
        return self.connections[number]

    def chosen(self, conn: int | str) -> list[Connection]:
        """Return the connections that a step names: one, or all of the scenario's."""
        numbers = range(self.scenario.connections) if conn == "all" else [int(conn)]
        return [self.connection(number) for number in numbers]

    def open_listener(self) -> Connection:
        """Return the driver's listening socket, under a number of its own."""
        if self._listener is None:
            raw = self.lab.target.connection(LISTENER)
            self._listener = Connection(LISTENER, raw, FIRST_COOKIE + raw, "")
        return self._listener

    @property
    def greeting(self) -> int:
        """Bytes that the driver sends unasked when it is connected."""
        return GREETING if self.lab.foreign is None else self.lab.foreign.foreign.provoke.greeting

    def flow_known(self, connection: Connection) -> None:
        """Tell the judge which ports are this connection's."""
        self.note(
            PortsKnown(
                t=time.time_ns(),
                conn=connection.number,
                target_port=connection.target_port,
                peer_port=connection.peer_port,
            )
        )

    def ports(self, number: int, deadline: float) -> dict[str, int]:
        """Return the ports of connection `number`, as far as known: both once it is open, its listener's before."""
        connection = self.connections.get(number)
        if connection is not None and (connection.target_port or connection.peer_port):
            known = {"target_port": connection.target_port, "peer_port": connection.peer_port}
            return {name: port for name, port in known.items() if port}
        provoke = self.lab.foreign.foreign.provoke if self.lab.foreign else None
        if provoke is not None and provoke.by == "peer":
            return {"target_port": provoke.port}
        if self.scenario.driver_listens:
            if self._listener is None or not self._listener.target_port:
                raise StepError("the driver does not listen yet; put this step behind `driver: listen`")
            return {"target_port": self._listener.target_port}
        return {"peer_port": self.listen(deadline, provoke.port if provoke else None)}

    def pair(self, connection: Connection | None, peer_port: int) -> None:
        """Note that the driver was given the peer's end with this port as `connection`.

        Whose end it was meant to be gets its.
        """
        other = next((c for c in self.connections.values() if c.peer_port == peer_port), None)
        if connection is None or other is None or other is connection:
            return
        connection.sock, other.sock = other.sock, connection.sock
        connection.peer_port, other.peer_port = other.peer_port, connection.peer_port
        self.flow_known(connection)
        self.flow_known(other)

    def listen(self, deadline: float, port: int | None = None) -> int:
        """Return the port of the peer's listener, opened on first use; `port` is for a certain one."""
        if self._peer_listener is None:
            backlog = max(8, self.scenario.connections)
            answer = self.peer.ask(
                "listen",
                deadline,
                sock="listener",
                family=self.scenario.socket.family,
                port=port or self.lab.fresh_port(),
                backlog=backlog,
            )
            self._peer_listener = port_of(answer)
        return self._peer_listener

    # --- notes ----------------------------------------------------------------------------------------------------

    def note(self, note: LabNote) -> None:
        """Add an observation of the lab itself."""
        self.lab.journal.add(note)

    def canary(self, when: str) -> int | None:
        """Note whether a token of ours comes through on the debug line; the number of its line if it does."""
        number = self.lab.target.canary(self.deadline(SETTLE))
        self.note(CanaryNote(t=time.time_ns(), when=when, seen=number is not None))
        return number

    def settle(self, told: bool = False) -> None:
        """Everything sent before now is recorded, everything printed before now is read.

        The barrier pings both machines over the wire: their queues are first in, first out, so an answer proves that
        all earlier frames have passed. The canary does the same for the debug line. `told`: between the two the
        provider tells what it was in the middle of.
        """
        try:
            self.lab.wire.barrier(self.deadline(SETTLE), self.lab.reachable)
            self.note(Barrier(t=time.time_ns(), complete=True))
        except DeadlinePassed as error:
            self.note(Barrier(t=time.time_ns(), complete=False, detail=str(error)))
        if told:
            self._await_provider()
        self.canary("after")

    def _await_provider(self) -> None:
        """Have the provider answer one more call on every open connection.

        For a scenario that expects nothing in particular: a disconnect may be told a moment after the last thing that
        a step has waited for.
        """
        if asked := list(self.connections.values()):
            numbers = self.lab.target.operations(len(asked))
            self.lab.target.command(
                *(
                    Command(Op.ADDRESSES, id=number, conn=connection.raw)
                    for number, connection in zip(numbers, asked, strict=True)
                )
            )

    # --- waits ----------------------------------------------------------------------------------------------------

    def deadline(self, within: float | None) -> float:
        """On the monotonic clock, slower machines given more; little where what is waited for need not come."""
        if within is None and self.scenario.socket.survival:
            within = IN_VAIN
        return time.monotonic() + (within if within is not None else PATIENCE) * self.lab.slowness

    def await_line(self, what: str, matches: Callable[[DriverLine], bool], deadline: float) -> None:
        """Wait for a line of the driver in this scenario that `matches`. Raises StepError at the deadline."""
        try:
            self.wait(lambda o: isinstance(o, DriverLine) and matches(o), deadline, self.began)
        except NothingComes as why:
            raise StepError(f"{what}, {why}") from None
        except TimeoutError:
            raise StepError(f"{what} {IN_TIME}") from None

    def wait(self, matches: Matches, deadline: float, after: int) -> Observation:
        """Return the first observation from position `after` on that `matches`.

        Raises NothingComes once nothing is under way any more that could bring it, TimeoutError at the deadline.
        """
        lulls = self._lulls(deadline)
        while True:
            until = next(lulls)
            try:
                return self.lab.journal.wait(matches, until, after)[0]
            except NotYet as not_yet:
                if until == deadline:
                    raise
                after = not_yet.position
            if why := self._quiescence.reached():
                try:
                    return self.lab.journal.wait(matches, 0, after)[0]  # it may have come while everybody was asked
                except NotYet:
                    raise NothingComes(why) from None

    def answer(self, number: int, deadline: float) -> PeerReply:
        """Return the peer program's answer to a request that waits for something.

        The program is told once nothing is under way any more that could end its wait. Raises StepError; TimeoutError
        at the deadline.
        """
        lulls = self._lulls(deadline)
        while True:
            until = next(lulls)
            try:
                return self.peer.answer(number, until)
            except TimedOut:
                if until == deadline:
                    raise
            if why := self._quiescence.reached(waiting=1):
                return self._hurried(number, deadline, why)

    def _lulls(self, deadline: float) -> Iterator[float]:
        """Yield until when to wait before it is asked whether anything can still come, the deadline at the latest."""
        lull = LULL
        while True:
            yield min(deadline, time.monotonic() + lull * self.lab.slowness)
            lull = min(2 * lull, LONGEST_LULL)

    def _hurried(self, number: int, deadline: float, why: str) -> PeerReply:
        try:
            return self.peer.hurry(number, deadline)
        except NotInTime as error:
            raise StepError(f"{error}, {why}") from None

    def await_operations(
        self, numbers: Iterable[int], what: str, deadline: float, kind: type[EndOfOperation]
    ) -> dict[int, EndOfOperation | CommandRefused]:
        """Return what tells of the end of operations, by number: every IRP comes back (R86).

        Raises StepError if one does not. A Call is the return of the functions themselves. What the driver refuses is
        over with that.
        """
        pending, done = set(numbers), dict[int, EndOfOperation | CommandRefused]()

        def matches(o: DriverLine) -> bool:
            if isinstance(o, (kind, CommandRefused)) and o.id in pending:
                pending.discard(o.id)
                done[o.id] = o
            return not pending

        if pending:
            verb = {"done": "complete", "call": "return"}.get(kind.kind, "end")
            try:
                self.await_line(f"{what} did not {verb}", matches, deadline)
            except StepError as error:
                raise StepError(f"{error}{'' if self._called(pending) else NO_CALL}") from None
        return done

    def _called(self, operations: Iterable[int]) -> bool:
        """Whether any of these operations was seen to be begun."""
        wanted = set(operations)
        return any(isinstance(o, (Call, Completion)) and o.id in wanted for o in self.lab.journal.since(self.began))

    def await_next(
        self,
        what: str,
        matches: Callable[[DriverLine], bool],
        connections: Sequence[Connection],
        count: int,
        deadline: float,
    ) -> None:
        """On each connection, `count` more lines than earlier waits for `what` have used up. Raises StepError."""
        wanted = {c.number: self._used[what, c.number] + count for c in connections}
        try:
            self._await_counts(matches, dict(wanted), deadline)
        except NothingComes as why:
            raise StepError(f"{what} was not reported, {why}") from None
        except TimeoutError:
            raise StepError(f"{what} was not reported {IN_TIME}") from None
        for number, total in wanted.items():
            self._used[what, number] = total

    def await_total(
        self, matches: Callable[[DriverLine], bool], count: int, connections: Iterable[Connection], deadline: float
    ) -> None:
        """On each connection, `count` such lines since the scenario began. Raises TimeoutError."""
        self._await_counts(matches, {c.number: count for c in connections}, deadline)

    def _await_counts(self, matches: Callable[[DriverLine], bool], missing: dict[int, int], deadline: float) -> None:
        """One pass over the journal, however many connections: `missing` counts down by connection."""
        missing = {number: count for number, count in missing.items() if count > 0}

        def complete(o: Observation) -> bool:
            if isinstance(o, DriverLine) and o.conn in missing and matches(o):
                missing[o.conn] -= 1
                if missing[o.conn] == 0:
                    del missing[o.conn]
            return not missing

        if missing:
            self.wait(complete, deadline, self.began)
