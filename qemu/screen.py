"""The screens of the machines that run now, each with its keyboard and mouse, for whoever may look.

QEMU's VNC server has neither a port nor a path: it is handed one end of a socket pair for every viewer. So nobody on
the host gets to a screen but through this process.
"""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol
from weakref import WeakSet

from wsklab.qemu.monitor import Qmp

_numbers = itertools.count(1)


class Shown(Protocol):
    """A machine that can be looked at."""

    folder: Path

    @property
    def has_screen(self) -> bool:
        """Without one it has a console, whose text is in `console.log`."""

    def view(self) -> socket.socket:
        """Return a connection to its screen (RFC 6143). Raises MachineError."""


class _Running:
    """The machines of this process that run now."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._machines: WeakSet[Shown] = WeakSet()

    def add(self, machine: Shown) -> None:
        with self._lock:
            self._machines.add(machine)

    def discard(self, machine: Shown) -> None:
        with self._lock:
            self._machines.discard(machine)

    def __iter__(self) -> Iterator[Shown]:
        with self._lock:
            return iter(list(self._machines))


RUNNING = _Running()


def named() -> dict[str, Shown]:
    """Return the machines that run, by the last two parts of their folder: `lab-1/target`."""
    return dict(sorted(("/".join(machine.folder.parts[-2:]), machine) for machine in RUNNING))


def connect(qmp: Qmp) -> socket.socket:
    """Return a connection to a machine's VNC server (RFC 6143), which is let in without a password.

    Raises MachineError.
    """
    ours, theirs = socket.socketpair()
    try:
        name = f"viewer-{next(_numbers)}"
        qmp.give(name, theirs.fileno(), "add_client", protocol="vnc", fdname=name, skipauth=True)
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return ours
