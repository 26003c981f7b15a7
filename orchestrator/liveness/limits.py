"""How long things may take at the very most: nets under everything that has limits of its own. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from wsklab.orchestrator.scenario.scenario import Scenario
from wsklab.orchestrator.scenario.steps import LabStep

SCENARIO = 100.0
"""Seconds for canary, steps that wait for nothing, settling and cleaning up; every limit below is stretched alike."""

STEP = 2.0
"""Seconds more for each step."""

GRACE = 30.0
"""Seconds for a lab to name what ran out of time, and to keep the evidence, before the watchdog ends it."""

LAB = 400.0
"""Seconds for a lab to be restored, or stopped and booted anew."""

UNLOAD = 120.0
"""Seconds for the driver's unload."""


def of(scenario: Scenario, slowness: float) -> float:
    """Return the seconds for all of a scenario: what its steps ask for explicitly, and the rest."""
    limit = SCENARIO * slowness
    for action in scenario.steps:
        step = action.step
        limit += (STEP + (getattr(step, "within", None) or 0.0)) * slowness
        if isinstance(step, LabStep) and step.wait is not None:
            limit += step.wait.seconds
    return limit


def of_run(scenarios: Sequence[Scenario], repeat: int, slowness: float) -> float:
    """Return the seconds for a run of them, each tried twice, on labs of which ten are lost."""
    return 2 * repeat * sum(of(scenario, slowness) for scenario in scenarios) + (10 * LAB + UNLOAD) * slowness
