"""The Linux guest at the other end of every connection, and its peer program: one process per scenario, over SSH."""

from __future__ import annotations

import contextlib
import errno
import socket
import threading
import time
from concurrent.futures import Future
from pathlib import Path

from pydantic import JsonValue

from wsklab.common import json_line
from wsklab.images import Image
from wsklab.orchestrator.errors import StepError, TimedOut
from wsklab.orchestrator.guest.guest import READY
from wsklab.orchestrator.guest.ssh import Ssh
from wsklab.orchestrator.lab.machines import Machines
from wsklab.orchestrator.lab.peer_clock import check_pace
from wsklab.orchestrator.lab.snapshots import TAG, Kept
from wsklab.orchestrator.observe.base import made
from wsklab.orchestrator.observe.journal import Journal, MachineLost
from wsklab.orchestrator.observe.lab_notes import PeerGone, Unread
from wsklab.orchestrator.observe.peer_replies import PeerExited, PeerReply
from wsklab.qemu.machine import Machine
from wsklab.qemu.profile import ImageFiles, load_profile

PEER_PROFILE = "peer"

BOOT = 90.0
"""Seconds the peer may take to boot; on a slow host they are stretched by `slowness`."""

PROGRAM = "/usr/local/bin/peer"

HANG_UP = 1.0
"""Seconds for the transport to come to its end, after its channels have."""

NEWS = 0.3
"""Seconds in which the news of its machine's end follows that of the connection's."""


class NotInTime(StepError):
    """The peer program has waited in vain."""


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
        """Tell, unless it becomes known in a moment that its whole machine went away."""
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
        message = json_line.decode(line)
        if message is None:
            return
        if "hello" in message and isinstance(message.get("pid"), int):
            self.pid = message["pid"]
        elif isinstance(message.get("id"), int):
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
        request = json_line.encode({"id": number, "do": do, **words}) + b"\n"
        try:
            self._channel.sendall(request)
        except OSError:
            raise StepError(f"the peer program is gone, it cannot {do}") from None
        return number

    @property
    def unanswered(self) -> int:
        """The number of requests that the program still works on."""
        with self._changed:
            return 0 if self.gone else len(self._asked) - len(self._answers)

    def answer(self, number: int, deadline: float) -> PeerReply:
        """Wait for the answer to request `number`. Raises TimedOut, StepError when it failed, MachineLost."""
        with self._changed:
            while number not in self._answers:
                self._journal.check()
                if self.gone:
                    raise StepError(f"the peer program ended (status {self.exit_status})")
                left = deadline - time.monotonic()
                if left <= 0:
                    what = self._asked[number][0]
                    raise TimedOut(f"the peer program did not answer '{what}' within the time allowed")
                self._changed.wait(left)
            reply = self._answers[number]
        if not reply.ok:
            failure = NotInTime if reply.errno == errno.ETIMEDOUT else StepError
            raise failure(f"the peer could not {self._asked[number][0]}: {reply.error or 'refused'}")
        return reply

    def ask(self, do: str, deadline: float, conn: int | None = None, **words: JsonValue) -> PeerReply:
        """`tell`, then `answer`."""
        return self.answer(self.tell(do, conn, **words), deadline)

    def hurry(self, number: int, deadline: float) -> PeerReply:
        """Have request `number` end its wait, which nothing can end any more, and return its answer.

        What is there already is still taken. Raises as `answer`.
        """
        if self.pid is not None:
            self._ssh.run(f"kill -USR1 {self.pid} || true")
        return self.answer(number, deadline)

    def await_gone(self, deadline: float) -> None:
        """Wait until the program has ended. Raises TimedOut, MachineLost."""
        with self._changed:
            while not self.gone:
                self._journal.check()
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimedOut("the peer program did not end within the time allowed")
                self._changed.wait(left)

    def end(self) -> None:
        """Close the program's standard input, at which it ends; its sockets go with it."""
        self._dismissed = True
        with contextlib.suppress(OSError, EOFError):
            self._channel.shutdown_write()


class Peer:
    """The Linux machine at the other end; starts peer programs over one SSH transport."""

    def __init__(self, machines: Machines, image: Image, journal: Journal, slowness: float) -> None:
        self._machines = machines
        self.image = image
        self._journal = journal
        self._slowness = slowness
        self._ssh: Ssh | None = None
        self.newest: PeerProcess | None = None

    @property
    def machine(self) -> Machine:
        """The machine; there is one once it has been started."""
        return self._machines["peer"]

    @property
    def ssh(self) -> Ssh:
        """The way in; there is one once it has booted."""
        assert self._ssh is not None, "the peer has not booted"
        return self._ssh

    def process(self) -> PeerProcess:
        """Return a fresh peer program. Raises StepError."""
        self.newest = PeerProcess(self.ssh, self._journal)
        return self.newest

    def start(self, wire_end: socket.socket, snapshot: str | None = None) -> None:
        """Start the machine. Raises LabError, MachineError."""
        files = ImageFiles(self.image.disk, self.image.kernel, self.image.initrd, self.image.kernel_args)
        self._machines.start("peer", load_profile(PEER_PROFILE), files, wire_end, snapshot)

    def await_ready(self, deadline: float, keep: Path | None = None) -> None:
        """Wait until it has booted and answers over SSH; into the folder `keep` goes a copy of it as it is then.

        Raises LabError, MachineError.
        """
        self.machine.console.expect(READY, deadline)
        self._connect()
        check_pace(self.ssh.run, time.monotonic)
        if keep is not None:
            self.ssh.run("true")  # what a login needs is in memory now
            self.ssh.close()
            self._machines.keep("peer", keep)
            self._connect()

    def resume(self, kept: Kept, wire_end: socket.socket, wired: Future[None]) -> None:
        """Start the machine from a kept snapshot, once there is a wire. Raises LabError, MachineError."""
        self._machines.copy(kept, "peer")
        wired.result()
        self.start(wire_end, TAG)

    def wake(self, started: Future[None]) -> None:
        """Make one from a snapshot fit, once it runs: it has an old clock, and no connection survives it.

        Raises LabError.
        """
        started.result()
        self._connect()
        self.ssh.run(f"date -s @{int(time.time())}")

    def reset(self) -> None:
        """Press the reset button: it boots anew and knows of no connection. Raises LabError, MachineError."""
        self.ssh.hung_up = True  # the connection ends with the machine; before it, peer programs would end in order
        with self.machine.console.watch() as console:
            self.machine.reset()
            self.ssh.close()
            console.expect(READY, time.monotonic() + BOOT * self._slowness)
        self._connect()
        check_pace(self.ssh.run, time.monotonic)

    def cut_power(self) -> None:
        """Pull the plug: it vanishes without a word."""
        self.ssh.hung_up = True  # the connection ends with the machine
        self.machine.cut_power()
        self.ssh.close()

    def boot(self) -> None:
        """Boot it again after `cut_power`. Raises LabError, MachineError."""
        self._machines.power_on(self.machine)
        self.await_ready(time.monotonic() + BOOT * self._slowness)

    def hang_up(self) -> None:
        """Close the connection, if there is one."""
        if self._ssh is not None:
            self._ssh.close()

    def interrupt(self, for_good: bool) -> None:
        """End every wait for an answer of it; `for_good` when it is lost itself."""
        if self._ssh is not None:
            (self._ssh.give_up if for_good else self._ssh.interrupt)()

    def _connect(self) -> None:
        self._ssh = Ssh("peer", self.machine.ssh_port, self.image.ssh_key, self.image.known_hosts)
