"""What the page of trends draws: each night's outcomes and time, and the scenarios that do not hold still. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from support.past import run

from wsklab.orchestrator.history.past import Past, pasts
from wsklab.orchestrator.history.queries import Cell, Kept
from wsklab.orchestrator.history.records import Environment, Outcome
from wsklab.orchestrator.history.trends import HEIGHT, WIDTH, Trend, trends


def cell(time: float = 500, **counts: int) -> Cell:
    found = Cell()
    for word, count in counts.items():
        verdict: Outcome = word  # type: ignore[assignment]
        found.counts[verdict], found.times[verdict] = count, time
    return found


def told(runs: Sequence[Kept], **cells: Sequence[Cell | None]) -> list[Trend]:
    """Scenario -> its cell in each run."""
    grid = {
        name: {kept.id: one for kept, one in zip(runs, every, strict=True) if one is not None}
        for name, every in cells.items()
    }
    past: dict[str, list[Past]] = {name: pasts(name, runs, found) for name, found in grid.items()}
    return trends(runs, grid, past)


def nights(count: int, first: int = 1, **more: Any) -> list[Kept]:
    return [Kept(number, run(number, **more)) for number in range(first, first + count)]


def test_a_nights_bar_is_full_and_what_passed_is_at_the_bottom() -> None:
    [trend] = told(nights(1), a=[cell(**{"pass": 3})], b=[cell(fail=1)])
    [night] = trend.nights
    assert (night.rows, night.seconds) == (4, 2.0)
    assert list(night.bars()) == [("pass", 30.0, 90.0), ("fail", 0.0, 30.0)]
    assert night.told == "run 1, 2025-06-16 15:06: 3 pass, 1 fail; 2 s"


def test_a_run_that_was_killed_at_once_has_no_bar_and_is_there() -> None:
    [trend] = told(nights(2), a=[cell(**{"pass": 1}), None])
    assert [night.rows for night in trend.nights] == [1, 0]
    assert list(trend.nights[1].bars()) == []
    assert trend.line == f"{WIDTH / 4:.1f},0.0 {3 * WIDTH / 4:.1f},{HEIGHT:.1f}"


def test_environments_are_apart_and_the_newest_comes_first() -> None:
    other = Environment("windows-11", "mine", "kvm")
    runs = [*nights(2), *nights(1, 3, environment=other)]
    found = told(runs, a=[cell(**{"pass": 1}), cell(**{"pass": 1}), cell(**{"pass": 1})])
    assert [str(trend.environment).split()[0] for trend in found] == ["mine", "wsklab"]
    assert [len(trend.nights) for trend in found] == [1, 2]


def test_what_passes_now_and_then_is_listed_and_what_is_broken_is_not() -> None:
    flaky, broken = cell(**{"pass": 8}, fail=2), cell(fail=10)
    [trend] = told(nights(1), worse=[cell(**{"pass": 5}, fail=5)], flaky=[flaky], broken=[broken])
    assert [past.scenario for past in trend.flaky] == ["worse", "flaky"]


def test_drifts_are_listed_by_their_size() -> None:
    steady = [cell(100 + n % 3, **{"pass": 1}) for n in range(40)]
    slower = [cell(100 + n % 3 + (100 if n >= 30 else 0), **{"pass": 1}) for n in range(40)]
    slowest = [cell(100 + n % 3 + (300 if n >= 30 else 0), **{"pass": 1}) for n in range(40)]
    [trend] = told(nights(40), steady=steady, slower=slower, slowest=slowest)
    assert [past.scenario for past in trend.drifting] == ["slowest", "slower"]


def test_a_twin_has_no_trend() -> None:
    twin = Kept(2, replace(run(2, environment=Environment("standin", "wsklab:silent", "tcg")), driver="wsklab:silent"))
    [trend] = told([*nights(1), twin], a=[cell(**{"pass": 1}), cell(fail=1)])
    assert [night.kept.id for night in trend.nights] == [1]


def test_no_run_is_no_trend() -> None:
    assert told([]) == []
