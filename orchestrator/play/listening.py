"""The driver as the one who is connected to: its listening socket, and the two ways to take connections from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wsklab.drivers.protocol import Command, Event, Kind, Op, Option, sockaddr
from wsklab.orchestrator.errors import StepError
from wsklab.orchestrator.judge.reading import FEW, outcome_matches, succeeded
from wsklab.orchestrator.observe.driver_lines import (
    AcceptEvent,
    Addresses,
    Call,
    CommandRefused,
    Completion,
    DriverLine,
)
from wsklab.orchestrator.play.connection import Connection
from wsklab.orchestrator.play.context import PATIENCE, PlayContext
from wsklab.orchestrator.scenario import steps, verbs

ANY = {"ipv4": "0.0.0.0", "ipv6": "::"}
EVENTS = {"disconnect": Event.DISCONNECT, "receive": Event.RECEIVE, "accept": Event.ACCEPT}

LENGTH = 2048
"""Bytes of the buffer of a receive that follows a connection."""


def mask_of(events: Sequence[verbs.Event]) -> int:
    """Return WSK's mask of events."""
    return sum({EVENTS[event] for event in events})


class Listening:
    """`listen` and `accept`, and how any command is started; the rest of the driver's verbs build on it."""

    def __init__(self, context: PlayContext) -> None:
        self._context = context
        self._target = context.lab.target
        self._refusals: dict[int, int] = {}

    def _start(self, op: Op, connections: Sequence[Connection], name: str, **words: Any) -> list[int]:
        """One command for each connection, all in one call, of `count` operations each. Returns all their numbers."""
        many = 1 if op == Op.CONTROL else words.get("count") or 1  # a control's is of bytes
        rows = [self._target.operations(many) for _ in connections]
        for connection, mine in zip(connections, rows, strict=True):
            connection.operations.setdefault(name, []).extend(mine)
        self._command(op, connections, rows, **words)
        return [number for mine in rows for number in mine]

    def _command(
        self,
        op: Op,
        connections: Sequence[Connection],
        rows: Sequence[Sequence[int]],
        listener: Connection | None = None,
        **words: Any,
    ) -> None:
        """Hand the commands over; `rows` has the numbers of each. With `listener` they go to it, for these."""
        if len(connections) > FEW:
            # Hundreds of lines take seconds under emulation; a success is then told by its result alone.
            words["options"] = words.get("options", Option.NONE) | Option.BRIEF
        commands = []
        for mine, connection in zip(rows, connections, strict=True):
            place: dict[str, Any] = (
                {"conn": listener.raw, "target": connection.raw} if listener else {"conn": connection.raw}
            )
            commands.append(Command(op, id=mine[0], cookie=connection.cookie, **place, **words))
        for mine, status in zip(rows, self._target.command(*commands), strict=True):
            if not succeeded(status):
                self._refused(mine)

    def _connected_by(
        self, op: Op, connections: Sequence[Connection], name: str, args: verbs.AtOnce, **words: Any
    ) -> list[int]:
        """Start what makes connections, and what is to follow it in the driver's worker; returns the former's numbers.

        The receives that follow have the numbers behind.
        """
        rows = [self._target.operations(1 + args.receive) for _ in connections]
        for connection, mine in zip(connections, rows, strict=True):
            connection.operations.setdefault(name, []).append(mine[0])
            if args.receive:
                connection.operations.setdefault("receive", []).extend(mine[1:])
        words |= {"mask": mask_of(args.enable), "count": args.receive, "length": LENGTH if args.receive else 0}
        self._command(op, connections, [mine[:1] for mine in rows], **words)
        return [mine[0] for mine in rows]

    @staticmethod
    def _following(numbers: Sequence[int], args: verbs.AtOnce) -> list[int]:
        """Return the numbers of the receives that follow."""
        return [number + nth for number in numbers for nth in range(1, 1 + args.receive)]

    def _await_followed(self, numbers: Sequence[int], args: verbs.AtOnce, deadline: float) -> None:
        """Wait until the driver has started what was to follow; of many it tells only what fails."""
        if len(numbers) > FEW:
            return
        wanted = {("receive", number) for number in self._following(numbers, args)}
        wanted |= {("enable", number) for number in (numbers if args.enable else ())}

        def matches(o: DriverLine) -> bool:
            if isinstance(o, (Call, CommandRefused)):
                wanted.discard((o.op, o.id))
            return not wanted

        if wanted:
            self._context.await_line("the driver did not start what was to follow the connection", matches, deadline)

    def _refused(self, numbers: Sequence[int]) -> None:
        """Note which operations of a command that was answered by an error were refused before any WSK call.

        The driver's line says so; the answer says that there is such a line, or that of a call that failed.
        """
        told = self._context.await_operations(numbers[-1:], "the command", self._context.deadline(PATIENCE), Call)
        line = told[numbers[-1]]
        if isinstance(line, CommandRefused):
            self._refusals[line.id] = line.status

    def _not_refused(self, numbers: Sequence[int], what: str, step: steps.DriverStep) -> None:
        """Raise StepError when one of the operations was refused and the step does not expect it."""
        for number in numbers:
            status = self._refusals.get(number)
            if status is not None and not (step.expect and outcome_matches(step.expect, status)):
                raise StepError(f"{what} was refused with {status:08x} before any call")

    def listen(self, step: steps.DriverStep, args: verbs.Listen) -> list[int]:
        """Open a listening socket. With `create: accept-event` its events are on, also for what it accepts (R38)."""
        context, deadline = self._context, self._context.deadline(step.within)
        family, by_event = context.scenario.socket.family, context.scenario.socket.create == "accept-event"
        # WskAcceptEvent gives out numbers in a row, so all connections get theirs before the listener gets his.
        connections = context.chosen("all")
        listener = context.open_listener()
        mask = Event.ACCEPT if by_event else 0
        if by_event and context.scenario.socket.events == "per-socket":
            mask |= Event.DISCONNECT
        (number,) = self._start(
            Op.OPEN, [listener], "listen", kind=Kind.LISTEN, mask=mask, local=sockaddr(ANY[family], 0)
        )
        self._not_refused([number], "WskSocket", step)
        context.await_line(
            "the listening socket was not opened",
            lambda o: isinstance(o, Completion) and o.id == number and o.op == "local",
            deadline,
        )
        listener.target_port = self._local_port(listener, deadline)
        if by_event:
            self._target.command(
                Command(
                    Op.ACCEPT_EVENTS,
                    id=self._target.operations()[0],
                    conn=listener.raw,
                    target=connections[0].raw,
                    cookie=connections[0].cookie,
                    count=args.reject_every,
                )
            )
        return [number]

    def accept(self, step: steps.DriverStep, args: verbs.Accept) -> list[int]:
        """WskAccept: take the next connections from the listener."""
        connections, listener = self._context.chosen(step.conn), self._context.open_listener()
        numbers = self._connected_by(Op.ACCEPT, connections, "accept", args, listener=listener)
        self._not_refused(numbers, "WskAccept", step)
        if args.wait:
            deadline = self._context.deadline(step.within)
            self._context.await_operations(numbers, "WskAccept", deadline, Completion)
            self._await_followed(numbers, args, deadline)
            self._pair()
        return [*numbers, *self._following(numbers, args)]

    def _pair(self) -> None:
        """Learn which of the peer's ends the driver was given as which connection: they are accepted in any order."""
        context = self._context
        by_raw = {connection.raw: connection for connection in context.connections.values()}
        for o in context.lab.journal.since(context.began):
            if isinstance(o, AcceptEvent):
                context.pair(by_raw.get(o.new), o.rport)
            elif isinstance(o, Completion) and o.op == "accept" and o.rport is not None:
                context.pair(context.connections.get(-1 if o.conn is None else o.conn), o.rport)

    def _local_port(self, connection: Connection, deadline: float) -> int:
        """Ask for the port of a socket whose creation did not tell it."""
        (number,) = self._start(Op.ADDRESSES, [connection], "addresses")
        line = self._context.await_operations([number], "the question for the address", deadline, Addresses)[number]
        if isinstance(line, CommandRefused):
            raise StepError(f"the driver has no such socket any more ({line.status:08x})")
        return line.lport
