"""Another debugger at the target's line: WinDbg on a TCP port of this host, one at a time.

While it is there the line is its own, and this end only listens. It is found as a debugger finds a machine that was
just switched on: the numbers of both sides begin anew, and a target that stands in a stop says it once more.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Protocol

from wsklab.qemu.errors import MachineError


class Lender(Protocol):
    """Whose line it is."""

    def hand_over(self, to: Callable[[bytes], None]) -> None:
        """Give the target's bytes to `to`, and say nothing until `take_back`."""

    def take_back(self) -> None:
        """Speak again."""

    def pass_on(self, data: bytes) -> None:
        """Pass on bytes of the other debugger for the target."""


class Relay:
    """Listens on 127.0.0.1; 0 is any free port. For WinDbg: `com:ipport=PORT,port=127.0.0.1`."""

    def __init__(self, lender: Lender, port: int) -> None:
        """Listen at the port. Raises MachineError when it is taken."""
        self._lender = lender
        try:
            self._listener = socket.create_server(("127.0.0.1", port))
        except OSError as error:
            raise MachineError(f"port {port} on 127.0.0.1 is not free for a debugger: {error.strerror}") from None
        self.port = int(self._listener.getsockname()[1])
        self._client: socket.socket | None = None
        self._thread = threading.Thread(target=self._serve, name="kd-relay", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the port, and the connection to who is there."""
        for one in (self._listener, self._client):
            if one is not None:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with client:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._client = client
                self._lender.hand_over(lambda data, to=client: _offer(to, data))  # type: ignore[misc]
                with contextlib.suppress(OSError):
                    while data := client.recv(65536):
                        self._lender.pass_on(data)
                self._client = None
                self._lender.take_back()


def _offer(client: socket.socket, data: bytes) -> None:
    """Send what fits: the target must not wait for a debugger that does not read, and repeats what is lost."""
    with contextlib.suppress(OSError):
        client.send(data, socket.MSG_DONTWAIT)
