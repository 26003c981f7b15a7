"""The two things that any driver can be told in a scenario: connect, by provoking it, and wait for what it reports."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from pydantic import JsonValue

from wsklab.orchestrator.errors import StepError
from wsklab.orchestrator.guest.agent import AgentError
from wsklab.orchestrator.judge.reading import TOLD_OF_END, tells_of
from wsklab.orchestrator.lab.installed_foreign import InstalledForeign
from wsklab.orchestrator.lab.wsk_words import LOCAL_PORT, REMOTE_PORT
from wsklab.orchestrator.observe.foreign_lines import ForeignLoad, ForeignOpen
from wsklab.orchestrator.observe.lab_notes import ForeignStarted
from wsklab.orchestrator.play.connection import Connection
from wsklab.orchestrator.play.context import PlayContext, port_of
from wsklab.orchestrator.play.peer_steps import ANSWER, TARGET
from wsklab.orchestrator.scenario import steps, verbs


class ForeignSteps:
    """A driver that cannot be steered as an actor; `fitting` lets no scenario with other verbs come this far."""

    def __init__(self, context: PlayContext, foreign: InstalledForeign) -> None:
        self._context = context
        self._foreign = foreign
        self._profile = foreign.foreign.profile
        self._started = False

    def connect(self, step: steps.DriverStep, args: verbs.Connect) -> Sequence[int]:
        """Start the driver and have connections made, as its profile says; over when it says that it has them."""
        context, provoke = self._context, self._foreign.foreign.provoke
        connections = context.chosen(step.conn)
        if provoke.by != "peer":
            context.listen(context.deadline(step.within), provoke.port)
        self._start()
        deadline = context.deadline(step.within)  # the start had a limit of its own
        if provoke.by == "peer":
            if self._foreign.foreign.tells("load"):
                context.await_line(
                    "the driver did not say that it listens", lambda o: isinstance(o, ForeignLoad), deadline
                )
            for connection in connections:  # one after the other, as the driver numbers them
                host = TARGET[context.scenario.socket.family]
                self._peer("connect", connection, deadline, host=host, port=provoke.port)
                self._await_open(connection, deadline)
            return ()
        for connection in connections:
            if provoke.by == "command":
                self._try("the command that makes it connect failed", lambda: self._foreign.run(provoke.command))
            self._peer("accept", connection, deadline, **{"from": "listener"})
        for connection in connections:
            self._await_open(connection, deadline)
        self._pair(connections)
        return ()

    def _await_open(self, connection: Connection, deadline: float) -> None:
        """Wait until the driver says that it has the connection, where it can be known."""
        if self._foreign.foreign.tells("open"):
            where = "" if self._context.scenario.connections == 1 else f" (connection {connection.number})"
            self._context.await_line(
                f"the driver did not say that it is connected{where}",
                lambda o: isinstance(o, ForeignOpen) and o.conn == connection.number,
                deadline,
            )

    def _pair(self, connections: Sequence[Connection]) -> None:
        """Give each connection the end that the driver has of it, as the provider tells its ports.

        A driver that opens several at once may have them in another order than the peer.
        """
        context = self._context
        told = {
            o.conn: (int(o.more[LOCAL_PORT]), int(o.more[REMOTE_PORT]))
            for o in context.lab.journal.since(context.began)
            if isinstance(o, ForeignOpen) and REMOTE_PORT in o.more
        }
        socks = {(c.target_port, c.peer_port): c.sock for c in connections}
        mine = [told[c.number] for c in connections if c.number in told]
        if set(mine) != set(socks):  # of some it is not told
            return
        for connection, ports in zip(connections, mine, strict=True):
            connection.sock, (connection.target_port, connection.peer_port) = socks[ports], ports
            context.flow_known(connection)

    def await_(self, step: steps.DriverStep, args: verbs.DriverAwait) -> None:
        """Wait for what the driver reports: its event, or that it has closed the socket, after which none can come."""
        self._context.await_next(
            args.what,
            lambda o: isinstance(o, TOLD_OF_END) if args.what == "disconnect" else tells_of(o, args.what),
            self._context.chosen(step.conn),
            args.count,
            self._context.deadline(step.within),
        )

    def _start(self) -> None:
        if self._started:
            return
        self._started = True
        self._try("the driver does not load", self._foreign.start)
        self._context.note(ForeignStarted(t=time.time_ns(), name=self._profile.name))  # from now on it must be heard

    @staticmethod
    def _try(what: str, do: Callable[[], None]) -> None:
        try:
            do()
        except AgentError as error:
            raise StepError(f"{what}: {error}") from None

    def _peer(self, do: str, connection: Connection, deadline: float, **words: JsonValue) -> None:
        """Play the peer's part in the handshake; the connection's ports are known then."""
        context, port = self._context, self._foreign.foreign.provoke.port
        words |= {"sock": connection.sock, "timeout_ms": max(1, round(1000 * (deadline - time.monotonic())))}
        try:
            answer = context.peer.ask(do, deadline + ANSWER, connection.number, **words)
        except TimeoutError:
            raise StepError(f"the peer's {do} did not finish within the time allowed") from None
        theirs = port_of(answer)  # the end whose port was not known before
        ours, peers = (port, theirs) if do == "connect" else (theirs, port)
        connection.target_port, connection.peer_port = ours, peers
        context.flow_known(connection)
        if do == "accept":
            context.undo.append(lambda: self._bury(ours))

    def _bury(self, port: int) -> None:
        """Have the peer forget the connection, TIME_WAIT included.

        A driver that connects always uses the port of its configuration, and a target that goes back to its snapshot
        takes the same port of its own again, with sequence numbers from the past. The peer has to know nothing of the
        connection then; a RST ends TIME_WAIT in Linux (net.ipv4.tcp_rfc1337 = 0). The story is over, nobody judges it.
        """
        self._context.lab.wire.forge(port, [{"segment": "rst", "as": "target"}])
