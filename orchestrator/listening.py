"""The driver as the one who is connected to: its listening socket, and the two ways to take connections from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from wsklab.drivers.protocol import Command, Event, Kind, Op, Option, sockaddr
from wsklab.orchestrator import steps, verbs
from wsklab.orchestrator.stage import Connection, Stage

FEW = 8
"""Connections up to which every call that succeeds is printed too."""

ANY = {"ipv4": "0.0.0.0", "ipv6": "::"}


class Listening:
    """`listen` and `accept`, and how any command is started; the rest of the driver's verbs build on it."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._target = stage.lab.target

    def _start(self, op: Op, connections: Sequence[Connection], name: str, **words: Any) -> list[int]:
        """One command for each connection, all in one call, of `count` operations each. Returns all their numbers."""
        numbers: list[int] = []
        commands: list[Command] = []
        if len(connections) > FEW:
            # Hundreds of lines take seconds under emulation; a success is then told by its result alone.
            words["options"] = words.get("options", Option.NONE) | Option.BRIEF
        for connection in connections:
            mine = self._target.operations(words.get("count") or 1)
            connection.operations.setdefault(name, []).extend(mine)
            numbers += mine
            commands.append(Command(op, id=mine[0], conn=connection.raw, cookie=connection.cookie, **words))
        self._target.command(*commands)
        return numbers

    def listen(self, step: steps.DriverStep, args: verbs.Listen) -> list[int]:
        """Open a listening socket. With `create: accept-event` its events are on, also for what it accepts (R38)."""
        stage, deadline = self._stage, self._stage.deadline(step.within)
        family, by_event = stage.scenario.socket.family, stage.scenario.socket.create == "accept-event"
        # WskAcceptEvent gives out numbers in a row, so all connections get theirs before the listener gets his.
        connections = stage.chosen("all")
        listener = stage.open_listener()
        mask = Event.ACCEPT if by_event else 0
        if by_event and stage.scenario.socket.events == "per-socket":
            mask |= Event.DISCONNECT
        (number,) = self._start(Op.OPEN, [listener], "listen", kind=Kind.LISTEN, mask=mask,
                                local=sockaddr(ANY[family], 0))
        stage.await_line(
            "the listening socket was not opened",
            lambda o: o.kind == "done" and o.data["id"] == number and o.data["op"] == "local", deadline)
        listener.target_port = self._local_port(listener, deadline)
        if by_event:
            self._target.command(Command(
                Op.ACCEPT_EVENTS, id=self._target.operations()[0], conn=listener.raw, target=connections[0].raw,
                cookie=connections[0].cookie, count=args.reject_every))
        return [number]

    def accept(self, step: steps.DriverStep, args: verbs.Accept) -> list[int]:
        """WskAccept: take the next connections from the listener."""
        connections, listener = self._stage.chosen(step.conn), self._stage.open_listener()
        numbers = list(self._target.operations(len(connections)))
        for number, connection in zip(numbers, connections, strict=True):
            connection.operations.setdefault("accept", []).append(number)
        self._target.command(*(Command(Op.ACCEPT, id=number, conn=listener.raw, target=connection.raw,
                                       cookie=connection.cookie)
                               for number, connection in zip(numbers, connections, strict=True)))
        if args.wait:
            self._stage.await_operations(numbers, "WskAccept", self._stage.deadline(step.within))
            self._pair()
        return numbers

    def _pair(self) -> None:
        """Learn which of the peer's ends the driver was given as which connection: they are accepted in any order."""
        stage = self._stage
        by_raw = {connection.raw: connection for connection in stage.connections.values()}
        for o in stage.lab.journal.since(stage.began):
            if o.source == "driver" and o.kind == "accept":
                stage.pair(by_raw.get(o.data["new"]), o.data["rport"])
            elif o.source == "driver" and o.kind == "done" and o.data["op"] == "accept":
                stage.pair(stage.connections.get(-1 if o.conn is None else o.conn), o.data["rport"])

    def _local_port(self, connection: Connection, deadline: float) -> int:
        """Ask for the port of a socket whose creation did not tell it."""
        (number,) = self._start(Op.ADDRESSES, [connection], "addresses")
        line = self._stage.await_line(
            "the socket's address was not reported", lambda o: o.kind == "addr" and o.data["id"] == number, deadline)
        return int(line.data["lport"])
