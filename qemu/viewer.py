"""The screens of the machines that run, in a browser on this host: noVNC over one port of 127.0.0.1.

Who does not know the random token in the address gets nothing: not the page, not a name, not a screen. Any user of the
host may connect to a port of 127.0.0.1, so the port itself protects nothing. A page of another site is refused by the
`Host` and `Origin` that its browser sends.
"""

from __future__ import annotations

import http
import json
import logging
import secrets
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import Server, ServerConnection, serve

from wsklab.qemu import screen
from wsklab.qemu.errors import MachineError
from wsklab.qemu.screen import Shown

NOVNC = Path("/usr/share/novnc")
"""Where Debian's and Fedora's package `novnc` puts its files."""

CONSOLE = 64 << 10
"""Bytes of a console that are shown, from its end."""

_PAGES = {"": "viewer.html", "viewer.html": "viewer.html", "viewer.js": "viewer.js"}
_TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
_POLICY = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; img-src data:"
_QUIET = logging.Logger("quiet", logging.CRITICAL)  # whoever is refused has been told


class Viewer:
    """Serves the page until `close`. `machines` tells by name what runs now."""

    def __init__(self, machines: Callable[[], Mapping[str, Shown]] = screen.named) -> None:
        """Look for noVNC. Raises MachineError when it is not installed."""
        if not (NOVNC / "core" / "rfb.js").exists():
            raise MachineError("no screen can be shown without noVNC: install the package novnc")
        self._machines = machines
        self._token = secrets.token_urlsafe(24)
        self._server: Server = serve(
            self._watch, "127.0.0.1", 0, process_request=self._answer, compression=None, logger=_QUIET, max_size=1 << 20
        )
        self.port = int(self._server.socket.getsockname()[1])
        self._thread = threading.Thread(target=self._server.serve_forever, name="viewer", daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """The page's address, for the user's eyes alone: it is the key, too."""
        return f"http://127.0.0.1:{self.port}/{self._token}/"

    def close(self) -> None:
        """End the server; who watches loses the screen with its machine."""
        self._server.shutdown()
        self._thread.join()

    # --- what is asked for

    def _answer(self, connection: ServerConnection, request: Request) -> Response | None:
        """Return the answer to a request; None for a screen, which goes on as a WebSocket."""
        path = self._path(request)
        if path is None:
            return _answer(http.HTTPStatus.FORBIDDEN, "Use the whole address that wsklab has printed.\n")
        kind, _, name = path.partition("/")
        if kind == "screen" and name in self._machines():
            return None
        if path == "guests.json":
            listed = [{"name": name, "screen": one.has_screen} for name, one in self._machines().items()]
            return _answer(http.HTTPStatus.OK, json.dumps(listed), "application/json")
        if kind == "console" and (machine := self._machines().get(name)):
            return _answer(http.HTTPStatus.OK, tail(machine.folder / "console.log"))
        if path in _PAGES:
            return _file(Path(__file__).with_name(_PAGES[path]))
        if kind == "novnc" and (NOVNC / name).resolve().is_relative_to(NOVNC.resolve()):
            return _file(NOVNC / name)
        return _answer(http.HTTPStatus.NOT_FOUND, "There is no such page.\n")

    def _path(self, request: Request) -> str | None:
        """Return what is asked for behind the token; None for whoever does not know it, or comes from another site."""
        hosts = [f"{name}:{self.port}" for name in ("127.0.0.1", "localhost")]
        origins = request.headers.get_all("Origin")
        if request.headers.get_all("Host") not in [[host] for host in hosts]:
            return None
        if any(origin not in [f"http://{host}" for host in hosts] for origin in origins):
            return None
        token, _, path = unquote(urlsplit(request.path).path).removeprefix("/").partition("/")
        return path if secrets.compare_digest(token.encode(), self._token.encode()) else None

    def _watch(self, connection: ServerConnection) -> None:
        """Pass on what browser and screen say to each other, until one of them ends."""
        assert connection.request is not None
        path = self._path(connection.request) or ""
        machine = self._machines().get(path.partition("/")[2])
        if machine is None:
            return
        try:
            line = machine.view()
        except MachineError as error:
            connection.close(1011, str(error)[:100])
            return
        with line:
            threading.Thread(target=_to_browser, args=(line, connection), name="viewer-screen", daemon=True).start()
            with suppress(OSError, ConnectionClosed):
                for message in connection:
                    line.sendall(message if isinstance(message, bytes) else message.encode())
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)


def _to_browser(line: socket.socket, connection: ServerConnection) -> None:
    with suppress(OSError, ConnectionClosed):
        while data := line.recv(65536):
            connection.send(data)
    with suppress(OSError, ConnectionClosed):
        connection.close()


def tail(path: Path) -> str:
    """Return the end of a console's text."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - CONSOLE))
            return file.read(CONSOLE).decode(errors="replace")
    except OSError:
        return ""


def _file(path: Path) -> Response:
    try:
        return _answer(http.HTTPStatus.OK, path.read_bytes(), _TYPES.get(path.suffix, "application/octet-stream"))
    except OSError:
        return _answer(http.HTTPStatus.NOT_FOUND, "There is no such page.\n")


def _answer(status: http.HTTPStatus, body: str | bytes, kind: str = "text/plain; charset=utf-8") -> Response:
    data = body.encode() if isinstance(body, str) else body
    headers = Headers(
        {
            "Content-Type": kind,
            "Content-Length": str(len(data)),
            "Content-Security-Policy": _POLICY,
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-store",
            "Connection": "close",
        }
    )
    return Response(status.value, status.phrase, headers, data)
