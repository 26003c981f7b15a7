"""What the scenario's `lab:` steps do: machines as a whole, and time."""

from __future__ import annotations

import time

from wsklab.orchestrator import steps
from wsklab.orchestrator.stage import Stage


class LabSteps:
    """The lab as an actor; a method for each verb of `steps.LabStep`."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._lab = stage.lab

    def settle(self, step: steps.LabStep, args: steps.Nothing) -> None:
        """Everything sent so far has arrived, everything printed so far is read."""
        self._stage.settle()

    def wait(self, step: steps.LabStep, args: steps.Wait) -> None:
        """Let time pass, but notice at once when a machine goes."""
        deadline = time.monotonic() + args.seconds
        try:
            self._lab.journal.wait(lambda _: False, deadline, self._lab.journal.mark)
        except TimeoutError:
            return

    def pause(self, step: steps.LabStep, args: steps.MachineStep) -> None:
        """Stop a machine's CPUs."""
        self._lab.machine(args.machine).pause()

    def resume(self, step: steps.LabStep, args: steps.MachineStep) -> None:
        """Let them run again."""
        self._lab.machine(args.machine).resume()
