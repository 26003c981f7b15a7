"""The machines of one lab: started, saved, and stopped for good together."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from wsklab.orchestrator.errors import LabError
from wsklab.orchestrator.lab.snapshots import DISKS, MACHINES, TAG, Kept, Unfit, copy, kept_name
from wsklab.qemu.errors import MachineError
from wsklab.qemu.machine import Machine
from wsklab.qemu.machine_events import MachineEvent
from wsklab.qemu.profile import Accelerator, ImageFiles, Profile
from wsklab.qemu.recording import Mode


class Machines:
    """`target` and `peer`, each in a folder of that name; `on_event` hears what happens to them as a whole."""

    def __init__(self, folder: Path, accelerator: Accelerator, on_event: Callable[[str, MachineEvent], None]) -> None:
        self._folder = folder
        self._accelerator = accelerator
        self._on_event = on_event
        self._machines: dict[str, Machine] = {}
        self._forbidden = False
        self._stopping = threading.Lock()

    def __getitem__(self, name: str) -> Machine:
        return self._machines[name]

    def start(
        self,
        name: str,
        profile: Profile,
        files: ImageFiles,
        wire_end: socket.socket,
        snapshot: str | None,
        rr: Mode | None = None,
    ) -> Machine:
        """Start one machine; what happens to it is heard from its first instruction on.

        Raises LabError, MachineError.
        """
        machine = Machine(name, profile, files, self._folder / name, self._accelerator, wire_end, rr)
        machine.on_event(lambda event: self._on_event(name, event))
        self._machines[name] = machine
        self.power_on(machine, snapshot)
        return machine

    def power_on(self, machine: Machine, snapshot: str | None = None) -> None:
        """Start a machine, unless that is forbidden. Raises LabError then; the machine does not run."""
        self._require_allowed()
        machine.start(snapshot)
        if self._forbidden:
            machine.stop()
            self._require_allowed()

    def forbid(self) -> None:
        """Have no machine started from now on: another thread that is about to meets an error."""
        self._forbidden = True

    def stop(self, before: Callable[[], None], after: Callable[[], None]) -> None:
        """Stop all, and remove their disks, which are no evidence and with a snapshot in them large."""
        with self._stopping:
            before()
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(lambda machine: machine.stop(), list(self._machines.values())))
            after()
            for name in MACHINES:
                for disk in DISKS:
                    (self._folder / name / disk).unlink(missing_ok=True)

    def interrupt(self, why: str) -> None:
        """End every wait for text on any of their lines, as it cannot come any more."""
        for machine in self._machines.values():
            machine.interrupt(why)

    # --- snapshots ------------------------------------------------------------------------------------------------

    def keep(self, name: str, folder: Path) -> None:
        """Save a machine and copy its disks; it stands still meanwhile, so that the copy is of one moment.

        Raises LabError, MachineError.
        """
        machine = self._machines[name]
        machine.pause()
        savevm(machine)
        with suppress(Unfit):  # a disk that is full costs the snapshot, not the run: what is not whole is not published
            for disk in machine.disks:
                copy(disk, folder / kept_name(name, disk.name))
        machine.resume()

    def copy(self, kept: Kept, name: str) -> None:
        """Give a machine its disks from a kept snapshot. Raises LabError."""
        (self._folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        self._require_allowed()
        kept.copy(name, self._folder / name)

    def _require_allowed(self) -> None:
        if self._forbidden:
            raise LabError("the lab was stopped")


def savevm(machine: Machine, tag: str = TAG) -> None:
    """Save a machine. Raises LabError, which names the way to do without, or MachineError for one that is gone."""
    try:
        machine.save(tag)
    except MachineError as error:
        if not machine.running:
            raise
        raise LabError(f"{error}; `--cold --shared` does without snapshots") from None
