"""What counts as growth in a long run."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

from click.testing import CliRunner

from wsklab.orchestrator.commands.cli import main
from wsklab.orchestrator.results import rows
from wsklab.orchestrator.results.console import Console
from wsklab.orchestrator.results.results import Results
from wsklab.orchestrator.run.order import plan
from wsklab.orchestrator.run.runner import Run, describe
from wsklab.orchestrator.scenario import catalogue
from wsklab.orchestrator.trials import endurance
from wsklab.orchestrator.trials.endurance import Series


def series(values: list[float]) -> Series:
    made = Series()
    for number, value in enumerate(values):
        made.add(number, {"memory": value})
    return made


def test_a_leak_shows_however_small() -> None:
    assert series([100 + 0.5 * n for n in range(50)]).growth()["memory"] > 10


def test_a_cache_that_fills_and_one_busy_moment_are_no_growth() -> None:
    filling = [min(150.0, 100 + 10 * n) for n in range(50)]
    filling[40] = 900
    assert series(filling).growth() == {"memory": 0}


def test_one_look_is_no_growth() -> None:
    assert series([5]).growth() == {"memory": 0}


def test_rows_are_reported_without_a_lab_and_what_each_costs_is_told_part_by_part(tmp_path: Path) -> None:
    (scenario,) = catalogue.select(["linger-zero"])
    results = Results(
        run=describe("", 1, "none", {}, tmp_path),
        target={"name": "none", "version": "", "qualifying": False},
        driver={"name": "wsklab", "sha256": "", "twin": None},
        plan=plan([scenario], 30, False),
    )
    clock = itertools.count()
    found = endurance.rows(Run(tmp_path, results, Console(quiet=True)), scenario, 30, 3, lambda: float(next(clock)))
    assert (found["us_per_row"], found["late_to_early"]) == ([100_000.0] * 3, 1.0), "a second for each ten"
    assert (found["state"], found["verdicts"]["pass"]) == ("complete", 31)
    assert len(rows.read(tmp_path)) == 31


def test_the_command_needs_no_lab_for_them(tmp_path: Path) -> None:
    words = [
        "bench",
        "endurance",
        "--disconnects",
        "0",
        "--restores",
        "0",
        "--rows",
        "20",
        "--out",
        str(tmp_path / "e"),
    ]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "e" / "endurance.json").read_text())["rows"]["rows"] == 20
    assert "us of CPU a row, tenth by tenth" in done.output
