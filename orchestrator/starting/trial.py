"""The trial run on the stand-in: the driver is loaded, connected, and ended by FIN and then by RST, and heard.

Nobody knows yet what its lines mean; so what counts as a line's moment is what the peer was doing, and a silence ends
a phase.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from wsklab.orchestrator.errors import LabError, StepError
from wsklab.orchestrator.guest.agent import AgentError
from wsklab.orchestrator.lab.installed_foreign import InstalledForeign
from wsklab.orchestrator.lab.lab import Lab
from wsklab.orchestrator.lab.peer import PeerProcess
from wsklab.orchestrator.liveness.watchdog_link import phase
from wsklab.orchestrator.observe.lab_notes import Unread
from wsklab.orchestrator.starting.course import Course, Lines, Way
from wsklab.qemu.errors import MachineError
from wsklab.qemu.network import MACHINES
from wsklab.qemu.wire.control import read_recording
from wsklab.qemu.wire.frames import ACK, SYN, Frame

SILENCE = 0.5
"""Seconds in which nothing is printed, after which a phase is taken to be over; a driver may be impatient, too."""

PATIENCE = 20.0
"""Seconds for each thing that the peer does."""

LIMIT = 600.0
"""Seconds for the whole trial."""

LENGTH = 16
"""Bytes that the peer sends."""

_LISTENS = re.compile(r"^\s*\d+: [0-9A-F]+:([0-9A-F]{4}) \S+ 0A ", re.MULTILINE)
"""A listening socket in /proc/net/tcp and tcp6 (proc_pid_net(5))."""


def run(lab: Lab, folder: Path) -> Course:
    """Try the driver that is installed in `lab`; `folder` gets the recordings. Raises LabError, MachineError."""
    assert lab.foreign is not None, "a driver is on trial"
    with phase("the trial run", LIMIT * lab.slowness, folder):
        trial = _Trial(lab, lab.foreign, folder)
        found = trial.scout()
        if found.by == "none":
            return found
        try:
            fin = trial.live("fin", found.by, found.port, None)
            rst = trial.live("rst", found.by, found.port, 0)
        except (StepError, TimeoutError) as error:
            return replace(found, why=f"no connection came about at port {found.port}: {error}")
    return replace(fin, rst=rst.fin)


class _Trial:
    """A driver that is loaded and unloaded again and again."""

    def __init__(self, lab: Lab, foreign: InstalledForeign, folder: Path) -> None:
        self._lab = lab
        self._foreign = foreign
        self._folder = folder
        self._recording = folder
        self._mark = lab.journal.mark

    @contextmanager
    def _loaded(self, name: str, listen: int = 0) -> Iterator[PeerProcess]:
        """Load the driver, record the wire, and yield a peer program, which listens where that is asked for."""
        self._recording = self._folder / f"trial-{name}.pcapng"
        self._mark = self._lab.journal.mark
        self._lab.wire.record(self._recording)
        peer = self._lab.peer.process()
        try:
            if listen:
                self._ask(peer, "listen", sock="listener", family="ipv4", port=listen, backlog=8)
            self._foreign.start()
            try:
                yield peer
            finally:
                self._foreign.stop()
        finally:
            self._lab.wire.stop_recording()
            peer.end()

    def scout(self) -> Course:
        """Find out whether it listens or connects, and where."""
        before = self._listening()
        try:
            with self._loaded("load"):
                lines = Lines(load=self._lines())
                new = sorted(self._listening() - before)
                syn = next((f for f in self._frames() if f.flags & SYN and not f.flags & ACK), None)
        except AgentError as error:
            return Course("none", why=f"the driver does not load: {error}", fin=Lines(load=self._lines()))
        if new:
            return Course("peer", new[0], fin=lines)
        if syn is not None:
            return Course("start", syn.dst_port, fin=lines)
        return Course("none", why=NEITHER, fin=lines)

    def live(self, name: str, by: Way, port: int, linger: int | None) -> Course:
        """One connection from its beginning to its end. Raises StepError, TimeoutError when there is none."""
        load: list[str] = []
        with self._loaded(name, port if by == "start" else 0) as peer:
            if by == "peer":
                load = self._lines()
                self._ask(peer, "connect", host=MACHINES["target"].addresses["ipv4"], port=port)
            else:
                self._ask(peer, "accept", **{"from": "listener"})
                self._ask(peer, "close", sock="listener")  # a client that comes again is of no interest
            opened = self._lines()
            greeting = self._sent()
            self._ask(peer, "send", bytes=LENGTH)
            opened += self._lines()
            total = self._sent()
            if total:
                self._ask(peer, "receive", bytes=total)  # a close with bytes unread would be a RST
            self._ask(peer, "close", **({} if linger is None else {"linger": linger}))
            end = self._lines()
        lines = Lines(load, opened, end, self._lines())
        return Course(by, port, greeting, total > greeting, lines)

    def _ask(self, peer: PeerProcess, do: str, **words: str | int) -> None:
        if do in ("connect", "accept", "send", "receive"):
            words["timeout_ms"] = round(1000 * PATIENCE)
        peer.ask(do, time.monotonic() + (PATIENCE + 5) * self._lab.slowness, 0, **({"sock": "0"} | words))

    def _lines(self) -> list[str]:
        """Return what the driver has printed since the last time, once it is silent."""
        journal, texts = self._lab.journal, list[str]()
        while True:
            journal.pass_time(SILENCE * self._lab.slowness)
            new = journal.since(self._mark)
            self._mark += len(new)
            mine = [o.text for o in new if isinstance(o, Unread)]
            if not mine:
                return texts
            texts += mine

    def _frames(self) -> list[Frame]:
        return [f for f in read_recording(self._recording) if f.kind == "tcp" and f.sender == "target"]

    def _sent(self) -> int:
        """Return the bytes that the driver has sent, each counted once."""
        starts = {f.seq: f.payload for f in self._frames() if f.payload}
        return sum(starts.values())

    def _listening(self) -> set[int]:
        """Return the ports on which somebody listens in the target."""
        try:
            text = self._lab.shell("target", "cat /proc/net/tcp /proc/net/tcp6")
        except (LabError, MachineError):
            return set()
        return {int(port, 16) for port in _LISTENS.findall(text)}


NEITHER = (
    "it neither listened nor sent a SYN. It may need settings (--parameter NAME=VALUE; the peer is "
    f"{MACHINES['peer'].addresses['ipv4']}), or a program that makes it connect (`provoke: by: command`)"
)
