"""Trials on several labs at once, which are only names: each is told once, and leaves nothing that is not kept."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.trying import row

from wsklab.orchestrator.field.search.trying import Pace, Trials
from wsklab.orchestrator.results.console import Console
from wsklab.orchestrator.results.results import Results, ScenarioResult
from wsklab.orchestrator.run.order import Item
from wsklab.orchestrator.run.runner import Done
from wsklab.orchestrator.run.workers import Work, Workers
from wsklab.orchestrator.scenario.catalogue import BUILT_IN
from wsklab.orchestrator.scenario.scenario import Scenario, load

SCENARIO = load(BUILT_IN / "linger-zero.yaml")


class Twenty:
    """Wants twenty trials, and keeps each fifth."""

    def __init__(self) -> None:
        self.asked = 0
        self.told: list[int] = []

    def next(self) -> Scenario | None:
        self.asked += 1
        return SCENARIO if self.asked <= 20 else None

    def tell(self, scenario: Scenario, row: ScenarioResult) -> bool:
        assert scenario is SCENARIO
        self.told.append(row.repeat)
        return row.repeat % 5 == 0


class Simulated(Trials):
    """Trials in which nothing is played."""

    def perform(self, lab: Any, item: Item, attempt: str = "") -> Done:
        (self.folder / "evidence" / f"x-{item.number}").mkdir(parents=True)
        return Done(row(item.scenario, item.number, f"evidence/x-{item.number}", "pass", ()))

    def unload(self, lab: Any, number: int = 1, variant: str = "") -> ScenarioResult:
        return row(SCENARIO, number, "evidence", "pass", ())


class Labs:
    """A supply of labs that are only names."""

    def next(self, suspect: bool = False) -> Any:
        return SimpleNamespace(trusted=True)

    def retire(self) -> None:
        pass


@pytest.mark.parametrize("labs", [1, 3])
def test_each_trial_is_told_once(tmp_path: Path, labs: int) -> None:
    asker = Twenty()
    results = Results(
        run={"seed": 1, "id": "r", "started": "", "command": "", "host": "", "accelerator": ""},
        target={"name": "standin", "version": "", "qualifying": False},
        driver={"name": "wsklab", "sha256": "", "twin": None},
    )
    trials = Simulated(tmp_path, results, Console(quiet=True), asker=asker)
    trials.begin()
    Workers(trials, lambda variant: Labs(), Work(trials.items(), trials.stop)).play(labs)
    assert sorted(asker.told) == list(range(1, 21))
    assert sorted(path.name for path in (tmp_path / "evidence").iterdir()) == ["x-10", "x-15", "x-20", "x-5"]
    assert results.state == "complete" and {one.repeat for one in results.scenarios} == {5, 10, 15, 20}


def test_the_pace_is_told_now_and_then() -> None:
    pace = Pace(every=10, began=0, said=0)
    assert [pace.step(now) for now in (2, 4, 12, 14, 22)] == [None, None, 15, None, pytest.approx(13.6, abs=0.1)]
