"""Every allocation of a scenario fails once, each in a trial of its own (`wsklab run --scarcity`). Pure.

How many there are is not known before: the trials of a scenario end with the first in which nothing failed any more.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from wsklab.orchestrator.judge.survival import FAILED
from wsklab.orchestrator.results.results import ScenarioResult
from wsklab.orchestrator.scenario.scenario import Expect, Scenario

OWN = ("smallest", "driver-load")
"""What is tried when nothing is named: the smallest set of endings, and the driver's load."""

FOREIGN = ("any-close", "any-linger-zero")
"""The same for a driver that cannot be steered."""

PROVIDERS = ("late", "absent", "refuses", "leaves")
"""What else than WSK a driver may find when it is loaded."""

MOST = 1000
"""Trials of one scenario."""

LONGEST = 48
"""Characters of a scenario's name that stay in a trial's."""


def short_of(scenario: Scenario, number: int) -> Scenario:
    """Return the scenario with its `number`th allocation failing."""
    return _trial(scenario, f"fails-{number}", f"allocation {number} fails", fails=number)


def with_provider(scenario: Scenario, provider: str) -> Scenario:
    """Return the scenario with another provider than one that is ready."""
    return _trial(scenario, f"provider-{provider}", f"the provider is '{provider}'", provider=provider)


def _trial(scenario: Scenario, word: str, what: str, **asked: object) -> Scenario:
    socket = scenario.socket.model_copy(update=asked)
    if socket.survival:
        scenario = scenario.model_copy(update={"expect": Expect()})
    return scenario.model_copy(
        update={
            "name": f"{scenario.name[:LONGEST].rstrip('-')}-{word}",
            "title": f"{scenario.title[:80]}: {what}",
            "covers": [],
            "socket": socket,
        }
    )


@dataclass
class _Course:
    """The trials of one scenario."""

    scenario: Scenario
    providers: list[str]
    asked: int = -1  # the scenario as it is
    failed: int = 0
    in_vain: int = 0
    over: bool = False

    def next(self) -> Scenario | None:
        if not self.over and self.asked < MOST:
            self.asked += 1
            return short_of(self.scenario, self.asked) if self.asked else self.scenario
        if self.providers and self.failed >= 0:
            return with_provider(self.scenario, self.providers.pop(0))
        return None

    def tell(self, row: ScenarioResult) -> bool:
        if row.name == self.scenario.name and row.verdict != "pass":
            self.over, self.failed, self.providers = True, 0, []  # of no use as long as it does not even pass as it is
        if "-fails-" not in row.name:
            return True
        if any(finding.startswith(FAILED) for finding in row.findings):
            self.failed, self.in_vain = self.failed + 1, 0
            return True
        self.in_vain += 1
        self.over = self.over or row.verdict == "pass" or self.in_vain > 2
        return row.verdict != "pass"


@dataclass
class Shortages:
    """Says what is tried next, and hears what became of it; several labs may be at it."""

    scenarios: Sequence[Scenario]
    loads: Callable[[Scenario], bool]
    """Whether the driver is loaded in the course of a scenario."""
    _courses: list[_Course] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._courses = [_Course(s, list(PROVIDERS) if self.loads(s) else []) for s in self.scenarios]
        self._of: dict[str, _Course] = {}

    def next(self) -> Scenario | None:
        """Return the next trial; None when there are no more."""
        for course in self._courses:
            if (scenario := course.next()) is not None:
                self._of[scenario.name] = course
                return scenario
        return None

    def tell(self, row: ScenarioResult) -> bool:
        """Hear of a trial; returns whether it belongs to the results: not when nothing failed in it any more."""
        return self._of[row.name].tell(row)

    @property
    def summary(self) -> dict[str, int]:
        """How many allocations of each scenario have failed, each once."""
        return {course.scenario.name: course.failed for course in self._courses}


def loads_itself(scenario: Scenario) -> bool:
    """Whether the lab's own driver is loaded in the course of the scenario."""
    return any(a.driver is not None and a.driver.reload is not None for a in scenario.steps)
