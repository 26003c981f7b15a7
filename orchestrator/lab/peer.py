"""The peer program: the Linux guest's end of every connection, one process per scenario, started over SSH."""

from __future__ import annotations

import contextlib
import json
import threading
import time

from pydantic import JsonValue

from wsklab.orchestrator.errors import StepError
from wsklab.orchestrator.guest.ssh import Ssh
from wsklab.orchestrator.observe.base import made
from wsklab.orchestrator.observe.journal import Journal, MachineLost
from wsklab.orchestrator.observe.lab_notes import PeerGone, Unread
from wsklab.orchestrator.observe.peer_replies import PeerExited, PeerReply

PROGRAM = "/usr/local/bin/peer"

HANG_UP = 1.0
"""Seconds for the transport to come to its end, after its channels have."""

NEWS = 0.3
"""Seconds in which the news of its machine's end follows that of the connection's."""


class PeerProcess:
    """One run of the peer program: a role in a scenario, spoken to in lines of JSON."""

    def __init__(self, ssh: Ssh, journal: Journal) -> None:
        import paramiko

        self._ssh = ssh
        self._journal = journal
        self._answers: dict[int, PeerReply] = {}
        self._asked: dict[int, tuple[str, int | None]] = {}
        self._changed = journal.changed
        self._next = 1
        self.pid: int | None = None
        self.exit_status: int | None = None
        self.gone = False
        self._dismissed = False
        try:
            self._channel = ssh.transport.open_session(timeout=20)
            self._channel.exec_command(PROGRAM)
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise StepError(f"the peer program could not be started: {error or 'its SSH server hung up'}") from None
        threading.Thread(target=self._read, name="peer", daemon=True).start()

    def _read(self) -> None:
        """Collect answers until the program is gone."""
        pending = b""
        while True:
            try:
                data = self._channel.recv(65536)
            except (TimeoutError, OSError):
                data = b""
            if not data:
                break
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                self._on_line(line)
        status = self._channel.recv_exit_status()
        killed = status < 0 and not self._dismissed  # by a signal, or with its SSH server
        if killed and self._ssh.broken():
            self._tell_of_server()
        with self._changed:
            self.gone, self.exit_status = True, status
            self._changed.notify_all()
        if not self._dismissed:  # at the end of a scenario its going is no observation
            self._journal.add(PeerExited(t=time.time_ns(), status=status))
        if killed and self._ssh.broken(HANG_UP):
            self._tell_of_server()

    def _tell_of_server(self) -> None:
        """Unless it becomes known in a moment that its whole machine went away."""
        with contextlib.suppress(MachineLost):
            self._journal.pass_time(NEWS)
        self._journal.give_up(
            PeerGone(
                t=time.time_ns(),
                machine="peer",
                detail="its SSH server closed the connection, and nobody here did that",
            )
        )

    def _on_line(self, line: bytes) -> None:
        try:
            message = json.loads(line)
        except ValueError:
            return
        if isinstance(message, dict) and "hello" in message and isinstance(message.get("pid"), int):
            self.pid = message["pid"]
        elif isinstance(message, dict) and isinstance(message.get("id"), int):
            with self._changed:
                do, conn = self._asked.get(message["id"], ("?", None))
            now = time.time_ns()
            try:
                reply = made(PeerReply, now, conn, {"do": do, **message})
            except ValueError:
                self._journal.add(Unread(t=now, text=line.decode(errors="replace")))
                error = "its answer is not understood"
                reply = PeerReply(t=now, conn=conn, do=do, id=message["id"], ok=False, error=error)
            with self._changed:
                self._answers[reply.id] = reply
                self._changed.notify_all()
            self._journal.add(reply)

    def tell(self, do: str, conn: int | None = None, **words: JsonValue) -> int:
        """Send one request (about connection `conn` of the scenario) without waiting; returns its number."""
        with self._changed:
            number, self._next = self._next, self._next + 1
            self._asked[number] = (do, conn)
        request = json.dumps({"id": number, "do": do, **words}, separators=(",", ":")) + "\n"
        try:
            self._channel.sendall(request.encode())
        except OSError:
            raise StepError(f"the peer program is gone, it cannot {do}") from None
        return number

    @property
    def unanswered(self) -> bool:
        """Whether the program still works on a request."""
        with self._changed:
            return not self.gone and len(self._asked) > len(self._answers)

    def answer(self, number: int, deadline: float) -> PeerReply:
        """Wait for the answer to request `number`. Raises TimeoutError, StepError when it failed, MachineLost."""
        with self._changed:
            while number not in self._answers:
                self._journal.check()
                if self.gone:
                    raise StepError(f"the peer program ended (status {self.exit_status})")
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                self._changed.wait(left)
            reply = self._answers[number]
        if not reply.ok:
            raise StepError(f"the peer could not {self._asked[number][0]}: {reply.error or 'refused'}")
        return reply

    def ask(self, do: str, deadline: float, conn: int | None = None, **words: JsonValue) -> PeerReply:
        """`tell`, then `answer`."""
        return self.answer(self.tell(do, conn, **words), deadline)

    def await_gone(self, deadline: float) -> None:
        """Wait until the program has ended. Raises TimeoutError, MachineLost."""
        with self._changed:
            while not self.gone:
                self._journal.check()
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                self._changed.wait(left)

    def end(self) -> None:
        """Close the program's standard input, at which it ends; its sockets go with it."""
        self._dismissed = True
        with contextlib.suppress(OSError, EOFError):
            self._channel.shutdown_write()
