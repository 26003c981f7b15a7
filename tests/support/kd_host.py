"""A second KD host, as WinDbg would be: on a TCP port that the lab lends its line to."""

from __future__ import annotations

import queue
import socket

from wsklab.qemu.kd.events import Event
from wsklab.qemu.kd.pump import Pump

WAIT = 20.0


class OtherHost:
    """Connected from its construction to `close`."""

    def __init__(self, port: int) -> None:
        self._events: queue.Queue[Event] = queue.Queue()
        self._pump = Pump()
        self._pump.subscribe(lambda _t, event: self._events.put(event))
        self._pump.attach(socket.create_connection(("127.0.0.1", port)))

    def until(self, kind: type, text: str = "") -> list[Event]:
        """Return what it hears up to the first event of a kind (with this text). Raises queue.Empty."""
        heard = [self._events.get(timeout=WAIT)]
        while not isinstance(heard[-1], kind) or (text and getattr(heard[-1], "text", "") != text):
            heard.append(self._events.get(timeout=WAIT))
        return heard

    def break_in(self) -> None:
        """Have the target stop and speak."""
        self._pump.break_in()

    def close(self) -> None:
        """Hang up."""
        self._pump.close()
