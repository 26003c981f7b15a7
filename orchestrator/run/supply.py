"""The supply of labs: one at a time, made fit for what comes next, and replaced when it cannot be.

Runs, twins, mutants and the bench all get their labs here; what becomes of a scenario on them is collected elsewhere.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from wsklab.orchestrator.errors import LabError
from wsklab.orchestrator.lab.lab import Lab
from wsklab.orchestrator.liveness import limits
from wsklab.orchestrator.liveness.watchdog_link import phase
from wsklab.orchestrator.observe.observation import describe_loss
from wsklab.orchestrator.run.stopping import Stop
from wsklab.qemu.errors import MachineError

SLOWEST = 12.0
"""The slowness of a lab that is not known yet: of the slowest kind of target."""

GONE = (LabError, MachineError, TimeoutError)
"""What ends the use of a lab, whatever it was asked."""


def unfit(lab: Lab, ask: bool = True) -> str | None:
    """Return why no later verdict may rest on a lab with the driver that is loaded in it; None if it is fit.

    With `ask` the driver must answer: one that hangs would be blamed on the next scenario.
    """
    if lab.doubt:
        return lab.doubt
    if lab.journal.lost:
        return describe_loss(lab.journal.lost)
    if ask:
        try:
            lab.target.state()
        except (LabError, MachineError) as error:
            return str(error)
    return None


class Supply(Protocol):
    """What a worker needs of a `LabSupply`."""

    def next(self, suspect: bool = False) -> Lab:
        """Return a lab that is fit."""

    def retire(self) -> None:
        """Stop the lab."""


class LabSupply:
    """One lab after another for one worker; `boot` gives each with the correct driver loaded.

    With `isolate` the target goes back to its snapshot for each scenario. `folder` is where evidence of a hang goes,
    `tell` hears why a lab is replaced, and `booted` sees each new one.
    """

    def __init__(
        self,
        boot: Callable[[], Lab],
        folder: Path,
        isolate: bool = False,
        stop: Stop | None = None,
        tell: Callable[[str], None] = lambda reason: None,
        booted: Callable[[Lab], None] = lambda lab: None,
    ) -> None:
        self._boot = boot
        self._folder = folder
        self._isolate = isolate
        self._stop = stop or Stop()
        self._tell = tell
        self._booted = booted
        self.lab: Lab | None = None
        self._spoilt = False

    def next(self, suspect: bool = False) -> Lab:
        """Return the lab made fit for its next scenario, or another; `suspect` after anything but a pass.

        Raises LabError, MachineError, TimeoutError; there is no lab then.
        """
        return self._next(suspect)

    def _next(self, suspect: bool = False, empty: bool = False) -> Lab:
        lab = self.lab
        with phase("making a lab ready", limits.LAB * (lab.slowness if lab else SLOWEST), self._folder):
            if lab is not None:
                reason = self._restored(lab, empty) if self._isolate or self._spoilt else unfit(lab, suspect)
                self._spoilt = False
                if reason is None:
                    return lab
                if not self._stop.requested:
                    self._tell(reason)
                self.retire()
            return self._fresh()

    def bare(self) -> Lab:
        """Return the lab with no driver loaded. A shared one that is there has none: its user has unloaded it.

        Raises LabError, MachineError, TimeoutError.
        """
        if self.lab is not None and not self._isolate and not self._spoilt:
            return self.lab
        for _ in range(2):
            lab = self._next(empty=True)
            try:
                if lab.loaded:
                    lab.empty()
                return lab
            except GONE:
                self.retire()
        raise LabError("the correct driver does not unload in a lab that has just booted.")

    def fit(self) -> bool:
        """Return whether the lab can go on with the driver that is loaded; if not, it is spoilt."""
        if self.lab is not None and unfit(self.lab) is None:
            return True
        self.spoil()
        return False

    def spoil(self) -> None:
        """Have the lab go back to its snapshot before it is used again; one that has none is retired."""
        if self.lab is not None and self.lab.saved:
            self._spoilt = True
        else:
            self.retire()

    def retire(self) -> None:
        """Stop the lab, if there is one; the next is another."""
        lab, self.lab, self._spoilt = self.lab, None, False
        if lab is not None:
            lab.stop()

    def _restored(self, lab: Lab, empty: bool) -> str | None:
        """Take a lab back to its snapshot, to one with no driver if it may be `empty`; returns why that cannot be."""
        try:
            lab.restore(empty and lab.emptied)
        except GONE as error:
            return f"the lab could not be restored ({error})"
        return None

    def _fresh(self) -> Lab:
        self.lab = self._boot()
        try:
            self._booted(self.lab)
            if self._isolate:
                self.lab.save()
        except BaseException:
            self.retire()
            raise
        return self.lab
