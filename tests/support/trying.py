"""Trials in labs that are only simulated: a function says what becomes of a scenario."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from wsklab.orchestrator.commands import trying
from wsklab.orchestrator.field.search.trying import Asker, Trials
from wsklab.orchestrator.judge.observed import Verdict, observed
from wsklab.orchestrator.results.console import Console
from wsklab.orchestrator.results.results import Results, ScenarioResult
from wsklab.orchestrator.run.runner import Done
from wsklab.orchestrator.run.selection import Selection
from wsklab.orchestrator.scenario.scenario import Scenario

Played = tuple[Verdict, tuple[str, ...]]


def play_with(
    monkeypatch: pytest.MonkeyPatch, play: Callable[[Scenario], Played], stops_after: int | None = None
) -> list[Scenario]:
    """Have trials end as `play` says; returns the scenarios that are played. `stops_after`: by Ctrl-C."""
    played: list[Scenario] = []

    def simulated(lab: trying.Lab, chosen: Selection, asker: Asker, folder: Path, console: Console) -> Results:
        results = Results(
            run={"seed": lab.seed, "id": "r", "started": "", "command": "", "host": "", "accelerator": "tcg"},
            target={"name": "standin", "version": "1", "qualifying": False},
            driver={"name": "wsklab", "sha256": "ab" * 32, "twin": lab.twin, "profile": lab.driver_name},
        )
        trials = Trials(folder, results, Console(quiet=True), asker=asker)
        trials.begin()
        for item in trials.items():
            if len(played) == stops_after:
                trials.finish("interrupted", "interrupted")
                return results
            played.append(item.scenario)
            evidence = folder / "evidence" / f"{item.scenario.name}-{item.number}"
            evidence.mkdir(parents=True)
            trials.add(Done(row(item.scenario, item.number, f"evidence/{evidence.name}", *play(item.scenario))))
        trials.finish()
        return results

    monkeypatch.setattr(trying.Lab, "play", simulated)
    return played


def row(scenario: Scenario, number: int, evidence: str, verdict: Verdict, reasons: tuple[str, ...]) -> ScenarioResult:
    """Return a row as the judge would make it."""
    return ScenarioResult(
        name=scenario.name,
        title=scenario.title,
        repeat=number,
        verdict=verdict,
        reasons=reasons,
        covers=scenario.covers,
        expected={},
        observed=observed(),
        timing={"total_s": 0.1},
        evidence=evidence,
    )
