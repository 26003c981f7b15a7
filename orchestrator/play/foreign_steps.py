"""The two things that any driver can be told in a scenario: connect, by provoking it, and wait for what it reports."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from pydantic import JsonValue

from wsklab.orchestrator.errors import StepError
from wsklab.orchestrator.guest.agent import AgentError
from wsklab.orchestrator.judge.reading import TOLD_OF_END, tells_of
from wsklab.orchestrator.lab.installed_foreign import InstalledForeign
from wsklab.orchestrator.observe.foreign_lines import ForeignLoad, ForeignOpen
from wsklab.orchestrator.observe.lab_notes import ForeignStarted
from wsklab.orchestrator.play.context import Connection, PlayContext, port_of
from wsklab.orchestrator.play.peer_steps import ANSWER, TARGET
from wsklab.orchestrator.scenario import steps, verbs


class ForeignSteps:
    """A driver that cannot be steered as an actor; `fitting` lets no scenario with other verbs come this far."""

    def __init__(self, context: PlayContext, foreign: InstalledForeign) -> None:
        self._context = context
        self._foreign = foreign
        self._profile = foreign.foreign.profile

    def connect(self, step: steps.DriverStep, args: verbs.Connect) -> Sequence[int]:
        """Start the driver and have a connection made, as its profile says; over when it says that it has it."""
        context, provoke = self._context, self._foreign.foreign.provoke
        connection, deadline = context.connection(0), context.deadline(step.within)
        if provoke.by == "peer":
            self._start()
            if self._foreign.foreign.tells("load"):
                context.await_line(
                    "the driver did not say that it listens", lambda o: isinstance(o, ForeignLoad), deadline
                )
            self._peer("connect", connection, deadline, host=TARGET[context.scenario.socket.family], port=provoke.port)
        else:
            context.listen(deadline, provoke.port)
            self._start()
            if provoke.by == "command":
                self._try("the command that makes it connect failed", lambda: self._foreign.run(provoke.command))
            self._peer("accept", connection, deadline, **{"from": "listener"})
        if self._foreign.foreign.tells("open"):
            context.await_line(
                "the driver did not say that it is connected",
                lambda o: isinstance(o, ForeignOpen) and o.conn == connection.number,
                deadline,
            )
        return ()

    def await_(self, step: steps.DriverStep, args: verbs.DriverAwait) -> None:
        """Wait for what the driver reports: its event, or that it has closed the socket, after which none can come."""
        self._context.await_next(
            args.what,
            lambda o: isinstance(o, TOLD_OF_END) if args.what == "disconnect" else tells_of(o, args.what),
            [self._context.connection(0)],
            args.count,
            self._context.deadline(step.within),
        )

    def _start(self) -> None:
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
