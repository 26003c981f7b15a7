"""What the scenario's `driver:` steps do. Each verb starts WSK calls in the driver and returns their numbers."""

from __future__ import annotations

from typing import Any

from wsklab.drivers.protocol import (
    Command,
    Event,
    Kind,
    Op,
    Option,
    sockaddr,
)
from wsklab.orchestrator import steps
from wsklab.orchestrator.errors import StepError
from wsklab.orchestrator.observation import Observation
from wsklab.orchestrator.stage import Connection, Stage
from wsklab.qemu.wire.frames import ADDRESSES

EVENTS = {"disconnect": Event.DISCONNECT, "receive": Event.RECEIVE, "accept": Event.ACCEPT}
RECEIVE_FLAGS = {"waitall": 0x2, "drain": 0x4}  # WSK_FLAG_WAITALL, WSK_FLAG_DRAIN
WSK_FLAG_ABORTIVE = 0x1
CLOSED_PORT = 9  # discard: nothing listens there in the peer image
PEER = {"ipv4": ADDRESSES["peer"], "ipv6": "fd77::20"}
ANY = {"ipv4": "0.0.0.0", "ipv6": "::"}
NOBODY = {"ipv4": "10.77.0.99", "ipv6": "fd77::99"}  # an address of the segment that no machine has

AWAITED = {
    "disconnect": ("disc", None),
    "indication": ("recv", None),
    "accept": ("accept", None),
    "receive": ("done", "receive"),
    "send": ("done", "send"),
    "connect": ("done", "connect"),
    "close": ("done", "close"),
    "local-disconnect": ("done", "disconnect"),
}


class DriverSteps:
    """The driver as an actor; a method for each verb of `steps.DriverStep`."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._target = stage.lab.target

    def connect(self, step: steps.DriverStep, args: steps.Connect) -> range:
        """Open a socket and connect it to the peer, whose accept runs meanwhile."""
        stage, connection = self._stage, self._stage.connection(step.conn)
        family = stage.scenario.socket.family
        accepting = None
        host, port = PEER[family], CLOSED_PORT
        if args.to == "peer":
            port = stage.listen(stage.deadline(step.within))
            if args.accept:
                accepting = stage.peer.tell("accept", sock=step.conn, **{"from": "listener"})
        elif args.to == "nowhere":
            host = NOBODY[family]
        connection.peer_port = port
        stage.flow_known(connection)
        operation = self._target.operations()
        op = Op.OPEN if stage.scenario.socket.create == "connect" else Op.SOCKET_CONNECT
        self._target.command(Command(
            op, id=operation[0], conn=connection.raw, cookie=connection.cookie, kind=Kind.CONNECTION,
            local=sockaddr(ANY[family], 0), remote=sockaddr(host, port)))
        if not args.wait:
            return operation
        deadline = stage.deadline(step.within)
        done = self._connected(operation[0], deadline)
        if args.to == "peer" and done.data["status"] != 0 and step.expect is None:
            raise StepError(f"the connect completed with {done.data['status']:08x}")
        if done.data.get("lport"):
            self._learn_port(connection, done)
        if accepting is not None and done.data["status"] == 0:
            stage.peer.answer(accepting, deadline)
        return operation

    def _connected(self, operation: int, deadline: float) -> Observation:
        return self._stage.await_line(
            "the connect did not complete",
            lambda o: o.kind == "done" and o.data["id"] == operation
            and (o.data["op"] in ("connect", "socket_connect") or o.data["status"] != 0),
            deadline)

    def _learn_port(self, connection: Connection, done: Observation) -> None:
        connection.target_port = int(done.data["lport"])
        self._stage.flow_known(connection)

    def enable(self, step: steps.DriverStep, args: steps.Events) -> range:
        """Switch event callbacks on (R23, R27)."""
        return self._events(Op.ENABLE, step, args)

    def disable(self, step: steps.DriverStep, args: steps.Events) -> range:
        """Switch event callbacks off (R28-R31)."""
        return self._events(Op.DISABLE, step, args)

    def _events(self, op: Op, step: steps.DriverStep, args: steps.Events) -> range:
        options = Option.IRP if args.irp else Option.NONE
        if args.guid == "wrong":
            options |= Option.WRONG_NPI
        mask = 0
        for name in args.events:
            mask |= EVENTS[name]
        operation = self._start(op, step, mask=mask, options=options)
        self._stage.await_line(
            "the control call did not return", lambda o: o.kind == "call" and o.data["id"] == operation[0],
            self._stage.deadline(step.within))
        return operation

    def receive(self, step: steps.DriverStep, args: steps.Receive) -> range:
        """Post receives; they complete when they do."""
        flags = sum(RECEIVE_FLAGS[flag] for flag in args.flags)
        return self._start(Op.RECEIVE, step, args.count, length=args.length, count=args.count, flags=flags)

    def send(self, step: steps.DriverStep, args: steps.Send) -> range:
        """Send, and wait until the IRPs are back unless told otherwise."""
        operations = self._start(Op.SEND, step, args.count, length=args.length, count=args.count)
        return self._finish(operations, "the send", step, args.wait)

    def disconnect(self, step: steps.DriverStep, args: steps.Disconnect) -> range:
        """WskDisconnect (R60-R66)."""
        flags = WSK_FLAG_ABORTIVE if args.how == "abortive" else 0
        return self._finish(self._start(Op.DISCONNECT, step, flags=flags, length=args.length),
                            "WskDisconnect", step, args.wait)

    def close(self, step: steps.DriverStep, args: steps.Close) -> range:
        """WskCloseSocket (R68-R74)."""
        return self._finish(self._start(Op.CLOSE, step), "WskCloseSocket", step, args.wait)

    def _start(self, op: Op, step: steps.DriverStep, numbers: int = 1, **words: Any) -> range:
        operations = self._target.operations(numbers)
        self._target.command(Command(op, id=operations[0], conn=self._stage.connection(step.conn).raw, **words))
        return operations

    def _finish(self, operations: range, what: str, step: steps.DriverStep, wait: bool) -> range:
        if wait:
            self._stage.await_operations(operations, what, self._stage.deadline(step.within))
        return operations

    def await_(self, step: steps.DriverStep, args: steps.DriverAwait) -> range:
        """Wait for what the driver reports."""
        kind, op = AWAITED[args.what]
        self._stage.await_next(
            args.what, lambda o: o.kind == kind and (op is None or o.data["op"] == op), step.conn, args.count,
            self._stage.deadline(step.within))
        return range(0)
