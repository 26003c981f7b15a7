"""SSH to a guest: the host key pinned, the image's key file, nothing else accepted."""

from __future__ import annotations

import base64
import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from wsklab.orchestrator.errors import LabError

if TYPE_CHECKING:
    import paramiko  # loaded with the first connection: it takes longer than all of the lab's own modules

PATIENCE = 60.0
"""Seconds for each part of a login: a busy host took eleven for the key exchange of a guest under TCG."""

MOST_SAID = 16 << 20
"""Bytes that a command in a guest may print: the guest is not trusted with our memory."""


def load() -> None:
    """Import the library now, beside something that takes as long.

    What goes wrong in a connection is raised where it is used; the library's own thread would print a traceback of it,
    too, where nobody has asked for its log.
    """
    import paramiko  # noqa: F401

    log = logging.getLogger("paramiko")
    if not log.handlers:
        log.addHandler(logging.NullHandler())


class Ssh:
    """One SSH connection to a guest: host key pinned, key file of the image, nothing else accepted."""

    def __init__(
        self, name: str, port: int, key: Path, known_hosts: Path, user: str = "root", patience: float = PATIENCE
    ) -> None:
        load()
        import paramiko

        self._name = name
        self._open: set[paramiko.Channel] = set()
        self.hung_up = False
        self.client = paramiko.SSHClient()
        self.client.set_missing_host_key_policy(paramiko.RejectPolicy())
        host_key = known_hosts.read_text(encoding="ascii").split()
        self.client.get_host_keys().add(
            f"[127.0.0.1]:{port}", host_key[1], paramiko.Ed25519Key(data=base64.b64decode(host_key[2]))
        )
        try:
            self.client.connect(
                "127.0.0.1",
                port,
                user,
                pkey=paramiko.Ed25519Key.from_private_key_file(str(key)),
                allow_agent=False,
                look_for_keys=False,
                timeout=patience,
                banner_timeout=patience,
                auth_timeout=patience,
                channel_timeout=patience,
            )
        except (OSError, paramiko.SSHException):
            transport = self.client.get_transport()
            if transport is not None and transport.is_active() and not transport.initial_kex_done:
                # paramiko goes on without a key when the time is over, and then misses the session
                error = paramiko.SSHException(f"keys were not exchanged within {patience:g} s")
            self.client.close()
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
        import paramiko

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
        import paramiko

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
