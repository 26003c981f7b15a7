"""Thousands of endings on one lab, and hundreds of restores: what goes wrong, and what grows."""

from __future__ import annotations

import shutil
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from wsklab.orchestrator.judge.observed import observed
from wsklab.orchestrator.lab.lab import Lab
from wsklab.orchestrator.lab.resource_usage import vitals
from wsklab.orchestrator.results.results import UNLOAD, ScenarioResult
from wsklab.orchestrator.results.rows import NAME
from wsklab.orchestrator.run.evidence import expected
from wsklab.orchestrator.run.runner import Done, Run
from wsklab.orchestrator.run.supply import LabSupply
from wsklab.orchestrator.scenario.scenario import Scenario

SCHEMA = 1

EARLY = 0.2
"""The part of a series that may still grow: caches fill, threads and tables reach their size."""


@dataclass
class Series:
    """The vitals as they were after so many `rounds`."""

    rounds: list[int] = field(default_factory=list)
    values: dict[str, list[float]] = field(default_factory=dict)

    def add(self, rounds: int, seen: dict[str, float]) -> None:
        """One more look."""
        self.rounds.append(rounds)
        for name, value in seen.items():
            self.values.setdefault(name, []).append(round(value, 2))

    def growth(self) -> dict[str, float]:
        """By how much each value is higher in the last third than in the first third after the early part.

        Medians, so that one look at a busy moment says nothing. In the unit of the value.
        """
        late = {name: values[int(len(values) * EARLY) :] for name, values in self.values.items()}
        return {name: round(_late(values) - _early(values), 2) for name, values in late.items()}


def _third(values: Sequence[float]) -> int:
    return max(1, len(values) // 3)


def _early(values: Sequence[float]) -> float:
    return statistics.median(values[: _third(values)])


def _late(values: Sequence[float]) -> float:
    return statistics.median(values[-_third(values) :])


def rows(run: Run, scenario: Scenario, count: int, parts: int, cpu: Callable[[], float]) -> dict[str, Any]:
    """Report `count` passes of a scenario, with no lab: what one costs must not depend on how many there are.

    `cpu` tells the seconds of processor time that this process has used.
    """
    evidence = run.folder / "evidence" / scenario.name
    evidence.mkdir(parents=True)
    costs = list[float]()
    run.begin()
    for part in range(parts):
        began, first, last = cpu(), part * count // parts, (part + 1) * count // parts
        for number in range(first + 1, last + 1):
            run.add(Done(_passed(scenario, number, str(evidence.relative_to(run.folder)))))
        costs.append((cpu() - began) / max(1, last - first))
    size = (run.folder / NAME).stat().st_size
    run.add(Done(replace(_passed(scenario, 1, str(evidence.relative_to(run.folder))), name=UNLOAD)))
    began = cpu()
    run.finish()
    return {
        "rows": count,
        "us_per_row": [round(1e6 * cost, 1) for cost in costs],
        "late_to_early": round(_late(costs) / _early(costs), 2),
        "bytes_per_row": round(size / count),
        "seconds_at_the_end": round(cpu() - began, 1),
        "state": run.results.state,
        "verdicts": run.results.totals,
    }


def _passed(scenario: Scenario, number: int, evidence: str) -> ScenarioResult:
    """Return the row of a run in which everything was as it should be."""
    timing = {"restore_s": 0.4, "run_s": 0.5, "judge_s": 0.1, "total_s": 1.0}
    return ScenarioResult(
        name=scenario.name,
        title=scenario.title,
        repeat=number,
        verdict="pass",
        reasons=[],
        findings=[],
        covers=scenario.covers,
        expected=expected(scenario),
        observed=observed(),
        timing=timing,
        evidence=evidence,
    )


@dataclass
class Endurance:
    """A run that only counts: the evidence of a pass is removed, that of anything else stays."""

    run: Run
    supply: LabSupply
    progress: Callable[[str], None]

    def disconnects(self, scenario: Scenario, count: int, looks: int) -> dict[str, Any]:
        """At least `count` endings of `scenario` on one shared lab. Raises LabError."""
        rounds = -(-count // scenario.connections)
        series, began, lab = Series(), time.monotonic(), self.supply.next()
        try:
            series.add(0, vitals(lab))
            for number in range(1, rounds + 1):
                self._one(lab, scenario, number)
                if number % max(1, rounds // looks) == 0 or number == rounds:
                    series.add(number * scenario.connections, vitals(lab))
                    self.progress(f"{number * scenario.connections} of {count} endings")
            unloaded = self.run.unload(lab)
        finally:
            self.supply.retire()
        return {
            "scenario": scenario.name,
            "endings": rounds * scenario.connections,
            "seconds": round(time.monotonic() - began, 1),
            "verdicts": self.run.results.totals,
            "unload": unloaded.verdict,
        } | _document(series)

    def restores(self, scenario: Scenario, count: int, looks: int) -> dict[str, Any]:
        """`count` times back to the snapshot, a scenario after each. Raises LabError."""
        series, times, lab = Series(), list[float](), self.supply.next()
        labs, first, began = 1, len(self.run.results.scenarios), time.monotonic()
        try:
            self._one(lab, scenario, 1)
            series.add(0, vitals(lab))
            for number in range(1, count + 1):
                before, lab = lab, self.supply.next()
                labs += lab is not before
                times.append(lab.last_restore_s)
                self._one(lab, scenario, number + 1)
                if number % max(1, count // looks) == 0:
                    series.add(number, vitals(lab))
                    self.progress(f"{number} of {count} restores, {labs - 1} fell back to another lab")
        finally:
            self.supply.retire()
        verdicts = [result.verdict for result in self.run.results.scenarios[first:]]
        return {
            "scenario": scenario.name,
            "restores": count,
            "fell_back": labs - 1,
            "seconds": round(time.monotonic() - began, 1),
            "median_restore_s": round(statistics.median(times), 3),
            "longest_restore_s": round(max(times), 3),
            "verdicts": {verdict: verdicts.count(verdict) for verdict in sorted(set(verdicts))},
        } | _document(series)

    def _one(self, lab: Lab, scenario: Scenario, number: int) -> None:
        result = self.run.one(lab, scenario, number)
        if result.verdict == "pass":
            shutil.rmtree(self.run.folder / result.evidence)


def _document(series: Series) -> dict[str, Any]:
    return {"rounds": series.rounds, "values": series.values, "growth": series.growth()}
