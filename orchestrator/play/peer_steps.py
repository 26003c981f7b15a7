"""What the scenario's `peer:` steps do: requests to the peer program, in order."""

from __future__ import annotations

import time
from typing import Literal

from pydantic import JsonValue

from wsklab.orchestrator.errors import StepError
from wsklab.orchestrator.lab.peer import PeerProcess
from wsklab.orchestrator.observe.lab_notes import Drawn
from wsklab.orchestrator.observe.peer_replies import PeerReply
from wsklab.orchestrator.play.context import PlayContext, port_of
from wsklab.orchestrator.scenario import steps, verbs
from wsklab.qemu.network import MACHINES

TARGET = MACHINES["target"].addresses

FILL = 64 * 1024 * 1024
"""Bytes: more than any window and buffer hold."""

WAITS = frozenset({"accept", "connect", "connect_many", "send", "receive", "await"})
"""Requests that the peer program itself bounds in time, and answers with what it has by then."""

ANSWER = 5.0
"""Seconds that the answer may take on its way after the peer program's own limit."""


class PeerSteps:
    """The peer as an actor; a method for each verb of `steps.PeerStep`."""

    def __init__(self, context: PlayContext) -> None:
        self._context = context

    def _ask(self, step: steps.PeerStep, do: str, **words: JsonValue) -> PeerReply:
        """One request about the step's connection, or about all; a blocking one is bounded in the peer too."""
        deadline = self._context.deadline(step.within)
        if do in WAITS:
            words["timeout_ms"] = max(1, round((deadline - time.monotonic()) * 1000))
        conn = None if step.conn == "all" else step.conn
        if conn is not None:
            words["sock"] = self._sock(step)
        peer = self._context.peer
        try:
            if do in WAITS:
                return self._context.answer(peer.tell(do, conn, **words), deadline + ANSWER)
            return peer.ask(do, deadline + ANSWER, conn, **words)
        except TimeoutError:
            raise StepError(f"the peer's {do} did not finish within the time allowed") from None

    def _sock(self, step: steps.PeerStep) -> str:
        """Return the peer program's name for its end of the step's connection."""
        return self._context.connection(int(step.conn)).sock

    def connect(self, step: steps.PeerStep, args: verbs.PeerConnect) -> None:
        """Connect to the driver's listener; `conn: all` makes all connections, one right behind the other."""
        context, listener = self._context, self._context.open_listener()
        connections = context.chosen(step.conn)
        to = {"host": TARGET[context.scenario.socket.family], "port": listener.target_port}
        if step.conn == "all":
            answer = self._ask(step, "connect_many", into="", count=len(connections), **to)
        else:
            answer = self._ask(step, "connect", **to)
        for connection, port in zip(connections, answer.ports or (port_of(answer),), strict=True):
            connection.target_port, connection.peer_port = listener.target_port, port
            context.flow_known(connection)

    def accept(self, step: steps.PeerStep, args: verbs.Nothing) -> None:
        """Take a waiting connection from the listener."""
        self._ask(step, "accept", **{"from": "listener"})

    def send(self, step: steps.PeerStep, args: verbs.PeerSend) -> None:
        """Send bytes of the known pattern."""
        if args.cork:
            self._ask(step, "option", cork=1)
        if args.wait:
            self._ask(step, "send", bytes=args.length)
        else:
            self._context.peer.tell("send", int(step.conn), sock=self._sock(step), bytes=args.length)

    def fill(self, step: steps.PeerStep, args: verbs.Fill) -> None:
        """Send until nothing more fits."""
        self._ask(step, "send", bytes=FILL, full=True)

    def receive(self, step: steps.PeerStep, args: verbs.PeerReceive) -> None:
        """Read what the driver sent."""
        length = self._context.greeting if args.length == "greeting" else args.length
        if length == "all":
            self._ask(step, "receive", until="eof")
        elif length or args.length != "greeting":
            self._ask(step, "receive", bytes=length)

    def shutdown(self, step: steps.PeerStep, args: verbs.Shutdown) -> None:
        """shutdown(2)."""
        self._ask(step, "shutdown", how=args.how)

    def close(self, step: steps.PeerStep, args: verbs.PeerClose) -> None:
        """close(2), after SO_LINGER where asked."""
        self._ask(step, "close", **({"linger": args.linger} if args.linger is not None else {}))

    def close_all(self, step: steps.PeerStep, args: verbs.CloseAll) -> None:
        """Close every connection in an order drawn; what was drawn for each is noted for the judge."""
        context = self._context
        answer = context.peer.ask(
            "close_many",
            context.deadline(step.within) + ANSWER,
            None,
            into="",
            how=args.how,
            count=context.scenario.connections,
            seed=context.draw.randrange(1, 2**32),
        )
        resets = dict(zip(map(str, answer.order or ()), answer.resets or (), strict=True))
        for connection in context.connections.values():
            ending: Literal["fin", "rst"] = "rst" if resets.get(connection.sock) else "fin"
            context.note(Drawn(t=time.time_ns(), conn=connection.number, ending=ending))

    def close_listener(self, step: steps.PeerStep, args: verbs.Nothing) -> None:
        """Close the listening socket; what is in its accept queue is reset (C24)."""
        self._context.peer.ask("close", self._context.deadline(step.within), None, sock="listener")

    def option(self, step: steps.PeerStep, args: verbs.PeerOption) -> None:
        """Socket options."""
        words: dict[str, JsonValue] = {}
        if args.linger is not None:
            words["linger"] = args.linger
        if args.keepalive is not None:
            words |= {
                "keepalive": 1,
                "keepidle": args.keepalive.idle,
                "keepintvl": args.keepalive.interval,
                "keepcnt": args.keepalive.count,
            }
        if args.user_timeout_ms is not None:
            words["user_timeout_ms"] = args.user_timeout_ms
        if args.receive_buffer is not None:
            words["rcvbuf"] = args.receive_buffer
        if args.send_buffer is not None:
            words["sndbuf"] = args.send_buffer
        self._ask(step, "option", **words)

    def kill(self, step: steps.PeerStep, args: verbs.Nothing) -> None:
        """SIGKILL to the peer program: the kernel closes its sockets."""
        self._ends(step, "kill")

    def exit(self, step: steps.PeerStep, args: verbs.Nothing) -> None:
        """Have the peer program exit without closing anything."""
        self._ends(step, "exit")

    def _ends(self, step: steps.PeerStep, do: str) -> None:
        self._context.peer.tell(do)
        try:
            self._context.peer.await_gone(self._context.deadline(step.within))
        except TimeoutError:
            raise StepError(f"the peer program is still there after {do}") from None

    def destroy(self, step: steps.PeerStep, args: verbs.Nothing) -> None:
        """SOCK_DESTROY, as `ss -K` does (C19)."""
        self._ask(step, "destroy")

    def vanish(self, step: steps.PeerStep, args: verbs.Nothing) -> None:
        """Close under TCP_REPAIR: the kernel forgets the connection and says nothing (C33)."""
        self._ask(step, "repair_close")

    def freeze(self, step: steps.PeerStep, args: verbs.Nothing) -> None:
        """SIGSTOP: the program neither reads nor writes any more, its kernel goes on (C50)."""
        self._context.lab.excuse("peer program")
        self._context.peer.tell("stop")

    def sysctl(self, step: steps.PeerStep, args: verbs.Sysctl) -> None:
        """Change a setting of the peer's kernel, which is put back after the scenario."""
        was = self._setting(self._context.peer, step, args.name, args.value)
        self._context.undo.append(lambda: self._put_back(step, args.name, was))

    def _put_back(self, step: steps.PeerStep, name: str, value: int) -> None:
        """By a program of its own: the scenario's may have been killed, or be stopped."""
        process = self._context.lab.peer.process()
        self._setting(process, step, name, value)
        process.end()

    def _setting(self, process: PeerProcess, step: steps.PeerStep, name: str, value: int) -> int:
        answer = process.ask("sysctl", self._context.deadline(step.within), None, name=name, value=value)
        if answer.was is None:
            raise StepError(f"the peer does not tell what {name} was")
        return int(answer.was)

    def await_(self, step: steps.PeerStep, args: verbs.PeerAwait) -> None:
        """Wait for what the peer's kernel reports."""
        self._ask(step, "await", **{"for": args.what})
