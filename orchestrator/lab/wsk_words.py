"""What the provider has seen in place of a driver's own words, where the profile has no pattern for them.

A driver that prints nothing, or whose text nobody has described, is judged by what the stand-in's provider saw of it.
"""

from __future__ import annotations

from collections.abc import Callable

from wsklab.drivers.witness import SeenRecord
from wsklab.orchestrator.observe.driver_lines import DriverLine
from wsklab.orchestrator.observe.foreign_lines import ForeignClose, ForeignDisconnect, ForeignLoad, ForeignOpen
from wsklab.orchestrator.observe.wsk_lines import WskConnected, seen_line, words

KINDS = frozenset({"load", "open", "disc", "close"})
"""The kinds of lines that it can stand for: a bind is a listener's `load`."""

LOCAL_PORT, REMOTE_PORT = "local_port", "remote_port"
"""What the opening of a connection tells besides, where the provider has told it."""

CONNECTS = frozenset({"WskConnect", "WskSocketConnect", "WskAccept"})


class WskWords:
    """The connections of one driver, numbered from 0 in the order in which they came about."""

    def __init__(self, tells: Callable[[str], bool]) -> None:
        """`tells` says which kinds of lines the driver's own text has: for them nothing is needed."""
        self._tells = tells
        self._sockets: dict[int, int] = {}
        self._ports: dict[int, tuple[int, int]] = {}

    def line(self, t: int, seen: SeenRecord) -> DriverLine | None:
        """Return the line that the driver could have printed, None where it needs none."""
        made = self._line(t, seen)
        return None if made is None or self._tells(made.kind) else made

    def _line(self, t: int, seen: SeenRecord) -> DriverLine | None:
        told = seen_line(t, seen)
        text = words(told)
        if isinstance(told, WskConnected):
            self._ports[told.socket] = told.local_port, told.remote_port
            return None
        succeeded = seen.event == "done" and seen.status == 0
        if succeeded and seen.function == "WskBind":
            return ForeignLoad(t=t, text=text)
        if succeeded and seen.function in CONNECTS:
            return self._opened(t, seen.socket, text)
        if (seen.event, seen.function, seen.status) == ("back", "WskAcceptEvent", 0):
            return self._opened(t, seen.information, text)
        if seen.socket not in self._sockets:
            return None
        conn = self._sockets[seen.socket]
        if (seen.event, seen.function) == ("event", "WskDisconnectEvent"):
            return ForeignDisconnect(t=t, conn=conn, text=text, flags=seen.flags, irql=seen.irql)
        if succeeded and seen.function == "WskCloseSocket":
            return ForeignClose(t=t, conn=conn, text=text)
        return None

    def _opened(self, t: int, socket: int, text: str) -> ForeignOpen:
        conn = self._sockets.setdefault(socket, len(self._sockets))
        more = {}
        if socket in self._ports:
            more[LOCAL_PORT], more[REMOTE_PORT] = self._ports[socket]
        return ForeignOpen(t=t, conn=conn, text=text, more=more)
