"""What the scenario's `lab:` steps do: machines as a whole, and time."""

from __future__ import annotations

from wsklab.orchestrator.play.context import PlayContext
from wsklab.orchestrator.scenario import steps, verbs


class LabSteps:
    """The lab as an actor; a method for each verb of `steps.LabStep`."""

    def __init__(self, context: PlayContext) -> None:
        self._context = context
        self._lab = context.lab

    def settle(self, step: steps.LabStep, args: verbs.Nothing) -> None:
        """Everything sent so far has arrived, everything printed so far is read."""
        self._context.settle()

    def wait(self, step: steps.LabStep, args: verbs.Wait) -> None:
        """Let time pass, but notice at once when a machine goes."""
        self._lab.journal.pass_time(args.seconds)

    def pause(self, step: steps.LabStep, args: verbs.MachineStep) -> None:
        """Stop a machine's CPUs; they run again at the latest when the scenario is over."""
        self._lab.excuse("peer")
        self._lab.peer.machine.pause()
        self._context.undo.append(self._resume)

    def resume(self, step: steps.LabStep, args: verbs.MachineStep) -> None:
        """Let them run again."""
        self._resume()

    def _resume(self) -> None:
        self._lab.peer.machine.resume()
        self._lab.excuse("peer", silent=False)

    def reset(self, step: steps.LabStep, args: verbs.MachineStep) -> None:
        """Press the reset button; the step is done when the peer is up again and knows of nothing."""
        self._lab.reset_peer()

    def power_off(self, step: steps.LabStep, args: verbs.MachineStep) -> None:
        """Pull the plug; the peer is booted again when the scenario is over."""
        self._lab.cut_peer()
        self._context.undo.append(self._lab.boot_peer)

    def address(self, step: steps.LabStep, args: verbs.Address) -> None:
        """Take the address on the wire from a machine, or give it back (at the latest when the scenario is over)."""
        present = args.state == "back"
        self._lab.address(args.machine, present)
        if not present:
            self._context.undo.append(lambda: self._lab.address(args.machine, True))
