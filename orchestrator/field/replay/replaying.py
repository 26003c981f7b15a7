"""A recording played again, with neither peer nor wire, and compared with what was recorded while it goes on."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from wsklab.images.store import Image
from wsklab.orchestrator.errors import LabError
from wsklab.orchestrator.field.replay import recorded
from wsklab.orchestrator.field.replay.recorded import LINES, Manifest
from wsklab.qemu import recording
from wsklab.qemu.errors import MachineError
from wsklab.qemu.machine import Machine
from wsklab.qemu.profile import ImageFiles
from wsklab.qemu.recording import Difference

LOOK = 0.5
"""Seconds between two looks at a replay."""

STALLED = 300.0
"""Seconds without an instruction after which a replay does not go on any more."""


@dataclass(frozen=True)
class Outcome:
    """How a replay ended: all played, stopped where it was to stop, or parted from the recording."""

    icount: int
    stopped: bool = False
    line: str = ""
    """The serial line that differs."""
    difference: Difference | None = None


class Replay:
    """One replay; a context manager that ends its machine. Nobody listens at the other end of its wire."""

    def __init__(self, folder: Path, manifest: Manifest, image: Image, place: Path) -> None:
        """`place` is a folder of ours for the machine's files."""
        self._recorded = {line: recorded.said(folder, line) for line in LINES}
        self._seen: dict[str, int] = {}
        self._ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._theirs = theirs
        files = ImageFiles(image.disk, image.kernel, image.initrd, manifest.image.kernel_args)
        self.machine = Machine("target", manifest.profile, files, place, "tcg", theirs, "replay")
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        shutil.copyfile(folder / recording.FILE, place / recording.FILE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.machine.stop()
        self._ours.close()
        self._theirs.close()

    def said(self, line: str) -> int:
        """Return how many bytes a serial line has said."""
        return self.machine.log(f"{line}.log").position

    def play(self, until: int | None, tell: Callable[[int], None]) -> Outcome:
        """Play to the end, or until so many instructions have been executed; `tell` hears how many have been.

        Raises MachineError, LabError.
        """
        self.machine.start()
        if until is not None:
            self.machine.qmp.execute("replay-break", icount=until)
        return self._followed(until, tell)

    def go_on(self, tell: Callable[[int], None]) -> Outcome:
        """Play to the end from where it has stopped. Raises MachineError, LabError."""
        self.machine.resume()
        return self._followed(None, tell)

    def _followed(self, until: int | None, tell: Callable[[int], None]) -> Outcome:
        count, moved = 0, time.monotonic()
        while True:
            try:
                status = str(self.machine.qmp.look("query-status")["status"])
                now = int(self.machine.qmp.look("query-replay")["icount"])
            except MachineError:
                if self.machine.running:
                    raise
                return self._compared(count, ended=True) or Outcome(count)
            if now != count:
                count, moved = now, time.monotonic()
                tell(count)
            if status in ("shutdown", "postmigrate"):
                return self._compared(count, ended=True) or Outcome(count)
            if status == "paused" and until is not None and count >= until:
                return self._compared(count, ended=False) or Outcome(count, stopped=True)
            if parted := self._parted(count, ended=False):
                return parted
            if time.monotonic() - moved > STALLED:
                raise LabError(
                    f"the replay stands still at instruction {count} and does not go on; QEMU's replay is known to "
                    "hang on a busy host: try it again."
                )
            time.sleep(LOOK)

    def _compared(self, count: int, ended: bool) -> Outcome | None:
        """Compare what a machine has said that stands still, or has ended."""
        for line in self._recorded:
            recording.deal_with_all(getattr(self.machine, line))
        return self._parted(count, ended)

    def _parted(self, count: int, ended: bool) -> Outcome | None:
        for line, before in self._recorded.items():
            log = self.machine.log(f"{line}.log")
            if not ended and log.position == self._seen.get(line):
                continue
            self._seen[line] = log.position
            now = log.path.read_bytes()
            if found := recording.first_difference(before, now, ended):
                return Outcome(count, line=line, difference=found)
        return None
