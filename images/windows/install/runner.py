"""Runs one installation: hands to `stages.Setup` what the machine says, and does what it asks for."""

import contextlib
import hashlib
import queue
import time
from collections.abc import Callable
from pathlib import Path

from wsklab.images.errors import ImageError
from wsklab.images.packages import Progress
from wsklab.images.windows.install.stages import PRESSES, STAGES, Ended, Entered, Note, Press, Restart, Setup
from wsklab.qemu.errors import MachineError
from wsklab.qemu.machine import Machine

LOOK_EVERY = 5.0
PRESS_EVERY = 0.4
KEY = "up"
"""It starts the disc's loader, and does nothing in any dialog that it may reach."""
DISK = "disk"
FLUSH_PATIENCE = 120.0
SCREEN, SCREEN_BEFORE = "screen.png", "screen-before.png"


class SetupFailed(ImageError):
    """Windows was not installed; `stage` says how far it came."""

    def __init__(self, stage: str, reason: str) -> None:
        self.stage = stage
        super().__init__(reason)


def install(machine: Machine, setup: Setup, progress: Progress, clock: Callable[[], float] = time.monotonic) -> None:
    """Start the machine and see set-up through; the machine is off afterwards, its disk complete. Raises SetupFailed.

    The last two screens that differed are `screen.png` and `screen-before.png` in the machine's folder.
    """
    seen: queue.Queue[tuple[str, str]] = queue.Queue()
    machine.on_event(lambda event: seen.put((event.kind, event.detail)))
    began = clock()
    try:
        machine.start()
        machine.agent.on_line(lambda _, text: seen.put(("line", text)))
        _Run(machine, setup, progress, clock).follow(seen, began)
    except MachineError as error:
        raise SetupFailed(setup.stage, str(error)) from error
    finally:
        machine.stop(FLUSH_PATIENCE)


class _Run:
    """The loop of an installation and what it must remember."""

    def __init__(self, machine: Machine, setup: Setup, progress: Progress, clock: Callable[[], float]) -> None:
        self._machine = machine
        self._setup = setup
        self._progress = progress
        self._clock = clock
        self._presses = 0
        self._screen = ""
        self._heard = 0  # bytes of the firmware's own log

    def follow(self, seen: "queue.Queue[tuple[str, str]]", began: float) -> None:
        next_look = began + LOOK_EVERY
        while True:
            wait = min(next_look - self._clock(), PRESS_EVERY if self._presses else LOOK_EVERY)
            actions = []
            with contextlib.suppress(queue.Empty):
                kind, text = seen.get(timeout=max(0.0, wait))
                now = self._clock()
                actions += self._setup.line(now, text) if kind == "line" else self._setup.event(now, kind, text)
            if self._clock() >= next_look:
                next_look = self._clock() + LOOK_EVERY
                actions += self._look()
            for action in actions:
                match action:
                    case Ended(failure=None):
                        return
                    case Ended(failure=str(reason)):
                        self._photograph()
                        raise SetupFailed(self._setup.stage, reason)
                    case Entered(stage=stage):
                        self._progress(f"{_elapsed(self._clock() - began)}  {STAGES[stage]}")
                    case Note(text=text):
                        self._progress(f"{_elapsed(self._clock() - began)}    {text}")
                    case Press():
                        self._presses = PRESSES
                    case Restart():
                        self._presses = 0
                        self._machine.reset()
            self._press()

    def _press(self) -> None:
        if self._presses:
            self._presses -= 1
            key = {"type": "qcode", "data": KEY}
            self._machine.qmp.execute("send-key", keys=[key])

    def _look(self) -> list[Press | Restart | Entered | Note | Ended]:
        if not self._machine.running:
            return []  # the event that says so is on its way
        actions = []
        for line in self._firmware_log():
            actions += self._setup.line(self._clock(), line)
        stats = self._machine.qmp.execute("query-blockstats")
        written = sum(one["stats"]["wr_bytes"] for one in stats if one.get("device") == DISK)
        return [*actions, *self._setup.look(self._clock(), self._photograph(), written)]

    def _photograph(self) -> str:
        """Keep the screen if it has changed; its digest."""
        folder = self._machine.folder
        fresh = folder / "screen.new"
        with contextlib.suppress(MachineError, OSError):
            self._machine.screenshot(fresh)
            digest = hashlib.sha256(fresh.read_bytes()).hexdigest()
            if digest != self._screen:
                self._screen = digest
                if (folder / SCREEN).exists():
                    (folder / SCREEN).rename(folder / SCREEN_BEFORE)
                fresh.rename(folder / SCREEN)
            fresh.unlink(missing_ok=True)
        return self._screen

    def _firmware_log(self) -> list[str]:
        """Return what SeaBIOS has said since the last look; UEFI speaks on the serial lines."""
        log: Path = self._machine.folder / "firmware.log"
        with contextlib.suppress(OSError), log.open("rb") as file:
            file.seek(self._heard)
            new = file.read(1 << 20)
            whole, end, _ = new.rpartition(b"\n")
            self._heard += len(whole) + len(end)
            return whole.decode("ascii", "replace").splitlines()
        return []


def _elapsed(seconds: float) -> str:
    return f"{int(seconds) // 60:3}:{int(seconds) % 60:02}"
