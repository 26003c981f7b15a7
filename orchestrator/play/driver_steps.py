"""What the scenario's `driver:` steps do. Each verb starts WSK calls in the driver and returns their numbers."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import JsonValue

from wsklab.drivers.protocol import Action, Control, Event, Flag, Kind, Op, Option, Take, sockaddr
from wsklab.orchestrator.errors import StepError
from wsklab.orchestrator.judge.reading import FEW, PENDING, tells_of
from wsklab.orchestrator.observe.driver_lines import Addresses, Call, CommandRefused, Completion, DriverLine, as_hex
from wsklab.orchestrator.observe.peer_replies import PeerReply
from wsklab.orchestrator.play import malformed, unloading
from wsklab.orchestrator.play.connection import Connection
from wsklab.orchestrator.play.listening import ANY, Listening, mask_of
from wsklab.orchestrator.scenario import steps, verbs
from wsklab.qemu import network

FLAGS = {"waitall": Flag.WAITALL, "drain": Flag.DRAIN}
CLOSED_PORT = 9  # discard: nothing listens there in the peer image
PEER, NOBODY = network.MACHINES["peer"].addresses, network.NOBODY.addresses

# Socket options and controls, as (level, code); values of wsk.md section 2 and the Windows headers.
SOL_SOCKET, IPPROTO_TCP = 0xFFFF, 6
SO_KEEPALIVE = (SOL_SOCKET, 0x0008)
TCP_KEEPIDLE, TCP_MAXRT, TCP_KEEPCNT, TCP_KEEPINTVL = ((IPPROTO_TCP, code) for code in (3, 5, 16, 17))
SIO_WSK_SET_TCP_SILENT_MODE = (0, 0x2F000007)  # R87

ACTIONS = {
    None: (Action.NONE, 0),
    "receive": (Action.RECEIVE, 0),
    "send": (Action.SEND, 0),
    "disconnect": (Action.DISCONNECT, 0),
    "abort": (Action.DISCONNECT, Flag.ABORTIVE),
    "close": (Action.CLOSE, 0),
}

NO_FAMILY = (0x4D).to_bytes(2, "little") + bytes(26)
"""A socket address of a family that no system has."""

TAKES = {"accept": Take.ALL, "part": Take.PART, "refuse": Take.REFUSE, "retain": Take.RETAIN}


class DriverSteps(Listening):
    """The driver as an actor; a method for each verb of `steps.DriverStep`."""

    # --- opening --------------------------------------------------------------------------------------------------

    def socket(self, step: steps.DriverStep, args: verbs.MakeSocket) -> Sequence[int]:
        """WskSocket and WskBind, and no connection yet."""
        connections, family = self._context.chosen(step.conn), self._context.scenario.socket.family
        port = 0 if args.port_of is None else self._context.connection(args.port_of).target_port or 0
        made = self._start(Op.SOCKET, connections, "socket", kind=Kind.CONNECTION, local=sockaddr(ANY[family], 0))
        ended = self._context.await_operations(made, "WskSocket", self._context.deadline(step.within), Completion)
        if failed := [done for done in ended.values() if done.status != 0]:
            raise StepError(f"WskSocket ended with {failed[0].status:08x}")
        bound = self._start(Op.BIND, connections, "bind", local=sockaddr(ANY[family], port))
        return self._finish(bound, "WskBind", step)

    def connect(self, step: steps.DriverStep, args: verbs.Connect) -> Sequence[int]:
        """Open sockets and connect them to the peer, whose accepts run meanwhile."""
        context, connections = self._context, self._context.chosen(step.conn)
        family = context.scenario.socket.family
        host, port = NOBODY[family] if args.to == "nowhere" else PEER[family], CLOSED_PORT
        accepting = None
        if args.to == "peer":
            port = context.listen(context.deadline(step.within))
            if args.accept:
                accepting = self._peer_accepts(connections, step)
        local = 0 if args.port_of is None else context.connection(args.port_of).target_port or 0
        op = Op.SOCKET_CONNECT if context.scenario.socket.create == "socket-connect" else Op.OPEN
        if all("socket" in connection.operations for connection in connections):
            op = Op.CONNECT
        numbers = self._connected_by(
            op,
            connections,
            "connect",
            args,
            kind=Kind.CONNECTION,
            local=NO_FAMILY if args.to == "no-family" else sockaddr(ANY[family], local),
            remote=sockaddr(host, port),
        )
        for connection in connections:
            connection.peer_port = port
            context.flow_known(connection)
        self._not_refused(numbers, "the connect", step)
        if not args.wait:
            return [*numbers, *self._following(numbers, args)]
        deadline = context.deadline(step.within)
        connected = self._connected(numbers, connections, deadline)
        failed = [o for o in connected if o.status != 0]
        if failed and step.expect is None:
            raise StepError(f"the connect completed with {failed[0].status:08x}")
        if accepting is not None and not failed:
            self._match_ends(connections, context.peer.answer(accepting, deadline))
        if failed:
            return numbers
        self._await_followed(numbers, args, deadline)
        return [*numbers, *self._following(numbers, args)]

    def _peer_accepts(self, connections: Sequence[Connection], step: steps.DriverStep) -> int:
        """Have the peer program take the connections as they come; returns the request's number."""
        timeout = round(1000 * max(1.0, self._context.deadline(step.within) - self._context.deadline(0)))
        words: dict[str, JsonValue] = {"from": "listener", "timeout_ms": timeout}
        if len(connections) == 1:
            return self._context.peer.tell("accept", None, sock=connections[0].sock, **words)
        return self._context.peer.tell("accept_many", None, into="", count=len(connections), **words)

    def _connected(
        self, numbers: Sequence[int], connections: Sequence[Connection], deadline: float
    ) -> list[Completion | CommandRefused]:
        """Return the completions of the connects (or of what failed before them).

        The local ports are learnt from them.
        """
        pending, found = set(numbers), dict[int, Completion | CommandRefused]()
        ports: dict[int, int] = {}

        def matches(o: DriverLine) -> bool:
            if isinstance(o, (Completion, Addresses)) and o.id in pending:
                ports[o.id] = o.lport or ports.get(o.id, 0)
            if not isinstance(o, (Completion, CommandRefused)) or o.id not in pending:
                return False
            if o.op in ("connect", "socket_connect") or o.status != 0:
                pending.discard(o.id)
                found[o.id] = o
            return not pending

        self._context.await_line("the connect did not complete", matches, deadline)
        for number, connection in zip(numbers, connections, strict=True):
            if found[number].status == 0:
                connection.target_port = ports[number] or self._local_port(connection, deadline)
                self._context.flow_known(connection)
        return [found[number] for number in numbers]

    def _match_ends(self, connections: Sequence[Connection], accepted: PeerReply) -> None:
        """Many were accepted in whatever order: the ports tell which of the peer's sockets belongs to which."""
        by_port = {port: str(index) for index, port in enumerate(accepted.ports or ())}
        for connection in connections:
            if connection.target_port is not None:
                connection.sock = by_port.get(connection.target_port, connection.sock)

    # --- events ---------------------------------------------------------------------------------------------------

    def enable(self, step: steps.DriverStep, args: verbs.Events) -> Sequence[int]:
        """Switch event callbacks on (R23, R27)."""
        return self._events(Op.ENABLE, step, args)

    def disable(self, step: steps.DriverStep, args: verbs.Events) -> Sequence[int]:
        """Switch event callbacks off (R28-R31)."""
        return self._events(Op.DISABLE, step, args)

    def _events(self, op: Op, step: steps.DriverStep, args: verbs.Events) -> Sequence[int]:
        options = Option.IRP if args.irp else Option.NONE
        if args.guid == "wrong":
            options |= Option.WRONG_NPI
        connections = self._context.chosen(step.conn)
        numbers = self._start(op, connections, "control", mask=mask_of(args.events), options=options)
        if len(connections) > FEW:
            self._not_refused(numbers, "WskControlSocket", step)
            return ()  # only a failure is printed, and the driver has returned from all of them
        return self._finish(numbers, "WskControlSocket", step, kind=Call)

    def callback(self, step: steps.DriverStep, args: verbs.Callback) -> Sequence[int]:
        """Program what the connection's callbacks do; what they start has the numbers of these commands."""
        connections, numbers = self._context.chosen(step.conn), list[int]()
        if args.disconnect is not None:
            action, flags = ACTIONS[args.disconnect.then]
            numbers += self._start(
                Op.CALLBACK,
                connections,
                "callback",
                mask=Event.DISCONNECT,
                action=action,
                flags=flags,
                hold_us=args.disconnect.hold_us,
                length=4,
                count=1,
            )
        if args.receive is not None:
            numbers += self._start(
                Op.CALLBACK,
                connections,
                "callback",
                mask=Event.RECEIVE,
                take=TAKES[args.receive.answer],
                take_length=args.receive.part,
                hold_us=args.receive.hold_us,
            )
        self._not_refused(numbers, "the program of the callback", step)
        return numbers

    # --- transfer and end -----------------------------------------------------------------------------------------

    def receive(self, step: steps.DriverStep, args: verbs.Receive) -> Sequence[int]:
        """Post receives; they complete when they do."""
        flags = sum({FLAGS[flag] for flag in args.flags})
        numbers = self._start(
            Op.RECEIVE, self._context.chosen(step.conn), "receive", length=args.length, count=args.count, flags=flags
        )
        return self._finish(numbers, "WskReceive", step, wait=False)

    def send(self, step: steps.DriverStep, args: verbs.Send) -> Sequence[int]:
        """Send, and wait until the IRPs are back unless told otherwise."""
        numbers = self._start(Op.SEND, self._context.chosen(step.conn), "send", length=args.length, count=args.count)
        return self._finish(numbers, "WskSend", step, args.wait)

    def disconnect(self, step: steps.DriverStep, args: verbs.Disconnect) -> Sequence[int]:
        """WskDisconnect (R60-R66)."""
        flags = Flag.ABORTIVE if args.how == "abortive" else 0
        numbers = self._start(
            Op.DISCONNECT, self._context.chosen(step.conn), "disconnect", flags=flags, length=args.length
        )
        return self._finish(numbers, "WskDisconnect", step, args.wait)

    def close(self, step: steps.DriverStep, args: verbs.Close) -> Sequence[int]:
        """WskCloseSocket (R68-R74)."""
        numbers = self._start(Op.CLOSE, self._context.chosen(step.conn), "close")
        return self._finish(numbers, "WskCloseSocket", step, args.wait)

    def unload(self, step: steps.DriverStep, args: verbs.Nothing) -> None:
        """Stop the driver's service; the driver itself has to close what is open (R80, R82)."""
        unloading.in_story(self._context)

    def reload(self, step: steps.DriverStep, args: verbs.Nothing) -> None:
        """Stop the driver's service and start it again, so that DriverEntry runs in this scenario (R76-R78)."""
        unloading.and_loaded_again(self._context)

    def cancel(self, step: steps.DriverStep, args: verbs.Cancel) -> None:
        """IoCancelIrp; an IRP that is already back takes no notice."""
        for connection in self._context.chosen(step.conn):
            for number in connection.operations.get(args.what, ()):
                self._start(Op.CANCEL, [connection], "cancel", target=number)

    def release(self, step: steps.DriverStep, args: verbs.Nothing) -> Sequence[int]:
        """Give retained indications back (R54)."""
        numbers = self._start(Op.RELEASE, self._context.chosen(step.conn), "release")
        return self._finish(numbers, "the release", step, kind=Call)

    def malformed(self, step: steps.DriverStep, args: verbs.Nothing) -> None:
        """Send the lab's own driver requests that no right program sends; none may be carried out."""
        malformed.send_all(self._context, self._context.chosen(step.conn)[0])

    # --- options --------------------------------------------------------------------------------------------------

    def keepalive(self, step: steps.DriverStep, args: verbs.Keepalive) -> None:
        """SO_KEEPALIVE with its timers."""
        for option, value in (
            (TCP_KEEPIDLE, args.idle),
            (TCP_KEEPINTVL, args.interval),
            (TCP_KEEPCNT, args.count),
            (SO_KEEPALIVE, 1),
        ):
            self._set(step, option, value, args.read_back)

    def max_retransmit(self, step: steps.DriverStep, args: verbs.MaxRetransmit) -> None:
        """TCP_MAXRT."""
        self._set(step, TCP_MAXRT, args.seconds, args.read_back)

    def _set(self, step: steps.DriverStep, option: tuple[int, int], value: int, read_back: bool) -> None:
        self._control(step, Control.SET_OPTION, option, value.to_bytes(4, "little"))
        for number in self._control(step, Control.GET_OPTION, option, count=4) if read_back else ():
            deadline = self._context.deadline(step.within)
            done = self._context.await_operations([number], "WskControlSocket", deadline, Completion)[number]
            said = as_hex(done.out or "") if isinstance(done, Completion) else "refused"
            if said != value.to_bytes(4, "little").hex():
                raise StepError(f"option {option[1]:#x} of level {option[0]:#x} was set to {value}, and is {said}")

    def silent(self, step: steps.DriverStep, args: verbs.Nothing) -> None:
        """SIO_WSK_SET_TCP_SILENT_MODE (R87)."""
        self._control(step, Control.IOCTL, SIO_WSK_SET_TCP_SILENT_MODE)

    def _control(
        self, step: steps.DriverStep, kind: Control, code: tuple[int, int], data: bytes = b"", count: int = 0
    ) -> list[int]:
        """Have WskControlSocket called with `data`, to give `count` bytes at the most. Raises StepError if it fails."""
        numbers = self._start(
            Op.CONTROL,
            self._context.chosen(step.conn),
            "control",
            kind=kind,
            level=code[0],
            code=code[1],
            data=data,
            length=len(data),
            count=count,
        )
        deadline = self._context.deadline(step.within)
        self._not_refused(numbers, "WskControlSocket", step)
        returned = self._context.await_operations(numbers, "WskControlSocket", deadline, Call)
        for number in numbers:
            line = returned[number]
            status = line.status if isinstance(line, CommandRefused) else line.ret
            if status == PENDING:
                status = self._context.await_operations([number], "WskControlSocket", deadline, Completion)[
                    number
                ].status
            if status != 0:
                raise StepError(f"WskControlSocket ended with {status:08x}")
        return numbers

    # --- waiting --------------------------------------------------------------------------------------------------

    def await_(self, step: steps.DriverStep, args: verbs.DriverAwait) -> None:
        """Wait for what the driver reports."""
        self._context.await_next(
            args.what,
            lambda o: tells_of(o, args.what),
            [self._context.open_listener()] if args.what == "accept" else self._context.chosen(step.conn),
            args.count,
            self._context.deadline(step.within),
        )
        if args.what in ("accept", "accepted"):
            self._pair()

    def _finish(
        self,
        numbers: Sequence[int],
        what: str,
        step: steps.DriverStep,
        wait: bool = True,
        kind: type[Call] | type[Completion] = Completion,
    ) -> Sequence[int]:
        """Wait for the end of the operations where the step does; one that is refused is over at once."""
        self._not_refused(numbers, what, step)
        if wait:
            self._context.await_operations(numbers, what, self._context.deadline(step.within), kind)
        return numbers
