"""The peer: the Linux guest at the other end, reached over SSH; one peer process per connection role."""

from __future__ import annotations

import base64
import contextlib
import json
import threading
import time
from pathlib import Path
from typing import Any

import paramiko

from wsklab.orchestrator.errors import LabError, StepError
from wsklab.orchestrator.observe.journal import Journal, MachineLost
from wsklab.orchestrator.observe.observation import Observation

PROGRAM = "/usr/local/bin/peer"

HANG_UP = 1.0
"""Seconds for the transport to come to its end, after its channels have."""

NEWS = 0.3
"""Seconds in which the news of its machine's end follows that of the connection's."""
MOST_SAID = 16 << 20
"""Bytes that a command in a guest may print: the guest is not trusted with our memory."""


class Ssh:
    """One SSH connection to a guest: host key pinned, key file of the image, nothing else accepted."""

    def __init__(self, name: str, port: int, key: Path, known_hosts: Path, user: str = "root") -> None:
        self._name = name
        self._open: set[paramiko.Channel] = set()
        self.hung_up = False
        self.client = paramiko.SSHClient()
        self.client.set_missing_host_key_policy(paramiko.RejectPolicy())
        host_key = known_hosts.read_text(encoding="ascii").split()
        self.client.get_host_keys().add(
            f"[127.0.0.1]:{port}", host_key[1], paramiko.Ed25519Key(data=base64.b64decode(host_key[2])))
        try:
            self.client.connect(
                "127.0.0.1", port, user, pkey=paramiko.Ed25519Key.from_private_key_file(str(key)),
                allow_agent=False, look_for_keys=False, timeout=10, banner_timeout=20, auth_timeout=20,
                channel_timeout=20)
        except (OSError, paramiko.SSHException) as error:
            raise LabError(f"SSH to the {name} failed: {error}; its console.log tells how far it came.") from None

    @property
    def transport(self) -> paramiko.Transport:
        """The transport under every channel."""
        transport = self.client.get_transport()
        if transport is None or not transport.is_active():
            raise LabError(f"the SSH connection to the {self._name} is gone.")
        return transport

    def put(self, path: str, content: bytes) -> None:
        """Write a file in the guest (SFTP). Raises LabError."""
        try:
            with self.client.open_sftp() as sftp, sftp.open(path, "wb") as file:
                file.write(content)
        except (OSError, paramiko.SSHException) as error:
            raise LabError(f"{path} could not be written in the {self._name} over SFTP: {error}") from None

    def run(self, command: str, timeout: float = 30.0) -> str:
        """Run a command to its end; returns what it said. Raises LabError when it failed."""
        status, raw = self.call(command, timeout)
        said = raw.decode(errors="replace")
        if status:
            raise LabError(f"'{command}' failed in the {self._name} (status {status}): {said}")
        return said

    def call(self, command: str, timeout: float = 30.0) -> tuple[int, bytes]:
        """Run a command to its end: its status, and what it printed. Raises LabError when it does not end."""
        said, channel = b"", None
        try:
            channel = self.transport.open_session(timeout=timeout)
            self._open.add(channel)
            channel.settimeout(timeout)
            channel.set_combine_stderr(True)
            channel.exec_command(command)
            while data := channel.recv(65536):
                said += data
                if len(said) > MOST_SAID:
                    channel.close()
                    raise LabError(f"'{command}' said more than {MOST_SAID >> 20} MiB in the {self._name}.")
        except (paramiko.SSHException, EOFError) as error:
            raise LabError(f"'{command}' could not be run in the {self._name}: {error or 'it hung up'}") from None
        except OSError:
            raise LabError(f"'{command}' did not end within {timeout:g} s in the {self._name}.") from None
        finally:
            self._open.discard(channel) if channel else None
        if not channel.status_event.wait(timeout):
            raise LabError(f"'{command}' did not tell within {timeout:g} s in the {self._name} how it ended.")
        return channel.recv_exit_status(), said

    def interrupt(self) -> None:
        """End whatever runs: nobody waits for it any more. Returns at once."""
        for channel in list(self._open):
            threading.Thread(target=channel.close, name="hang-up", daemon=True).start()

    def give_up(self) -> None:
        """Hang up on a server that no longer answers; returns at once, and whoever waits for it wakes up."""
        self.hung_up = True
        threading.Thread(target=self.client.close, name="hang-up", daemon=True).start()

    def close(self) -> None:
        """Hang up."""
        self.hung_up = True
        self.client.close()

    def broken(self, wait: float = 0.0) -> bool:
        """Whether the other side has closed the connection, `wait` seconds from now at the latest."""
        transport = self.client.get_transport()
        if transport is not None and wait:
            transport.join(wait)
        lost = transport is None or not transport.is_active() or transport.saved_exception is not None
        return lost and not self.hung_up


class PeerProcess:
    """One run of the peer program: a role in a scenario, spoken to in lines of JSON."""

    def __init__(self, ssh: Ssh, journal: Journal) -> None:
        self._ssh = ssh
        self._journal = journal
        self._answers: dict[int, dict[str, Any]] = {}
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
            self._journal.add(Observation(time.time_ns(), "peer", "exited", None, {"status": status}))
        if killed and self._ssh.broken(HANG_UP):
            self._tell_of_server()

    def _tell_of_server(self) -> None:
        """Unless it becomes known in a moment that its whole machine went away."""
        with contextlib.suppress(MachineLost):
            self._journal.pass_time(NEWS)
        self._journal.give_up(Observation(time.time_ns(), "lab", "peer-gone", None, {
            "machine": "peer", "detail": "its SSH server closed the connection, and nobody here did that"}))

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
                self._answers[message["id"]] = message
                self._changed.notify_all()
            self._journal.add(Observation(time.time_ns(), "peer", "reply", conn, {"do": do, **message}))

    def tell(self, do: str, conn: int | None = None, **words: Any) -> int:
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

    def answer(self, number: int, deadline: float) -> dict[str, Any]:
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
            message = self._answers[number]
        if not message.get("ok"):
            raise StepError(f"the peer could not {self._asked[number][0]}: {message.get('error', 'refused')}")
        return message

    def ask(self, do: str, deadline: float, conn: int | None = None, **words: Any) -> dict[str, Any]:
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
