"""The lab's own driver in a scenario for any driver: it does unasked what every driver does that is connected."""

from __future__ import annotations

from collections.abc import Sequence

from wsklab.orchestrator.play.driver_steps import DriverSteps
from wsklab.orchestrator.scenario import steps, verbs

RECEIVES = 4
"""More than there are ends and pieces of data in these scenarios."""


class ByItself(DriverSteps):
    """Once connected it listens for events, reads, and says something."""

    def connect(self, step: steps.DriverStep, args: verbs.Connect) -> Sequence[int]:
        """All four, as one step."""
        return [
            *super().connect(step, args),
            *self.enable(step, verbs.Events(events=["disconnect"])),
            *self.receive(step, verbs.Receive(count=RECEIVES)),
            *self.send(step, verbs.Send(length=self._context.greeting)),
        ]
