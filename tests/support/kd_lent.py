"""A line of ours that is lent to another debugger, with a simulated target at its end."""

from __future__ import annotations

import queue
import socket
import threading
from pathlib import Path

from support.kd_target import Target, serve

from wsklab.qemu.kd.line import KdLine, Told
from wsklab.qemu.logfile import LogFile
from wsklab.qemu.serial import SerialLine

WAIT = 20.0


class Lent:
    """A line of ours with a target at its end, which runs all the time, and a port for another debugger."""

    def __init__(self, folder: Path) -> None:
        ours, self.guest = socket.socketpair()
        self.line, self.told, self.lines = SerialLine("debug", ours), list[Told](), queue.Queue[str]()
        self.kd = KdLine(self.line, LogFile(folder / "kd.jsonl"), lambda _t, what: self.told.append(what))
        self.line.on_line(lambda _t, text: self.lines.put(text))
        self.line.start()
        self.port = self.kd.lend(0)
        self.target = Target(self.guest.sendall, endless=True)
        self.target.debugger_data()

    def until(self, last: str) -> list[str]:
        heard = [self.lines.get(timeout=WAIT)]
        while heard[-1] != last:
            heard.append(self.lines.get(timeout=WAIT))
        return heard

    def idle(self) -> None:
        serve(self.target, self.guest, [self.target.idle(0.01) for _ in range(20)])

    def close(self) -> None:
        self.kd.let_go()
        self.line.close()
        self.guest.close()


def handed_over(lent: Lent, there: bool) -> None:
    """Wait until the other debugger has the line, or no longer has it."""
    done = threading.Event()
    while lent.kd._pump.lent != there:
        done.wait(0.001)
