"""`wsklab bench endurance`: the long runs, their figures and their plots."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import click

from wsklab import images
from wsklab.drivers.build import build_driver
from wsklab.orchestrator.commands.bench import about
from wsklab.orchestrator.errors import ALL_PASS
from wsklab.orchestrator.results.console import Console
from wsklab.orchestrator.results.plot import line_chart
from wsklab.orchestrator.results.results import Results, write_atomically
from wsklab.orchestrator.run import order, runner
from wsklab.orchestrator.run.preparation import Preparation
from wsklab.orchestrator.scenario import catalogue
from wsklab.orchestrator.scenario.scenario import Scenario
from wsklab.orchestrator.trials import endurance
from wsklab.orchestrator.trials.endurance import SCHEMA, Endurance

LOOKS = 30
"""How often the vitals are taken in a long run."""


PARTS = 10
"""Parts of a long series of rows, whose costs are compared."""


def run(out: Path | None, disconnects: int, restores: int, rows: int, as_json: bool) -> int:
    """Carry out the command; returns its exit code. What one part found is on disk before the next begins."""
    folder, console = runner.new_folder(out), Console(quiet=as_json)
    document: dict[str, Any] = {"schema": SCHEMA}
    codes = [ALL_PASS]

    def keep(name: str, found: dict[str, Any]) -> None:
        document[name] = found
        write_atomically(folder / "endurance.json", json.dumps(document, indent=1) + "\n")

    if rows:
        with console.step(f"{rows} rows, with no lab"):
            current = _rows_alone(folder / "rows", rows)
            keep("rows", endurance.rows(current, _one(), rows, PARTS, time.process_time))
            codes.append(current.results.exit_code)
    if disconnects or restores:
        codes.append(_on_labs(folder, console, document, keep, disconnects, restores))
    if as_json:
        click.echo(json.dumps(document, indent=1))
    else:
        _print({name: document[name] for name in ("rows", "disconnects", "restores") if name in document})
        click.echo(f"\n{folder / 'endurance.json'}")
    return max(codes)


def _on_labs(
    folder: Path,
    console: Console,
    document: dict[str, Any],
    keep: Callable[[str, dict[str, Any]], None],
    disconnects: int,
    restores: int,
) -> int:
    """Run the parts that take a lab; returns their exit code."""
    with console.step("drivers", makes=True):
        driver = build_driver(None, images.cache_folder(), console.progress)
    preparation = Preparation.prepare(folder, console).quietly()
    everything = preparation.results(driver, 1)
    document["about"] = about(preparation, driver)

    def part(name: str, isolate: bool) -> Endurance:
        (folder / name).mkdir()
        results = Results(everything.run, everything.target, everything.driver, everything.scenarios)
        current = runner.Run(folder / name, results, Console(quiet=True), damage=preparation.damage)
        return Endurance(current, preparation.supply(driver, isolate, current.learn), console.progress)

    def plotted(name: str, found: dict[str, Any]) -> None:
        keep(name, found)
        write_atomically(folder / f"{name}.svg", line_chart("Memory in use", name, "MiB", _memory(found)))

    if disconnects:
        many = catalogue.select(["hundred-mixed-endings"], [], [])[0]
        with console.step(f"{disconnects} disconnects"):
            plotted("disconnects", part("disconnects", isolate=False).disconnects(many, disconnects, LOOKS))
    if restores:
        with console.step(f"{restores} restores"):
            plotted("restores", part("restores", isolate=True).restores(_one(), restores, LOOKS))
    everything.conclude("complete")
    return everything.exit_code


def _rows_alone(folder: Path, rows: int) -> runner.Run:
    """Return a run that is only written down."""
    folder.mkdir()
    results = Results(
        run=runner.describe("wsklab bench endurance", 1, "none", {"wsklab": version("wsklab")}, folder),
        target={"name": "none", "version": "", "qualifying": False},
        driver={"name": "wsklab", "sha256": "", "twin": None, "profile": "wsklab"},
        plan=order.plan([_one()], rows, until_fail=False),
    )
    return runner.Run(folder, results, Console(quiet=True))


def _one() -> Scenario:
    return catalogue.select(["linger-zero"], [], [])[0]


def _memory(found: dict[str, Any]) -> dict[str, list[tuple[float, float]]]:
    """Return what is measured in MiB, as lines over the rounds."""
    return {
        name: list(zip(found["rounds"], values, strict=True))
        for name, values in found["values"].items()
        if "driver's" not in name and "their" not in name
    }


def _print(document: dict[str, dict[str, Any]]) -> None:
    for name, found in document.items():
        figures = "  ".join(f"{key} {value}" for key, value in found.items() if isinstance(value, int | float | str))
        click.echo(f"{name}: {figures}  verdicts {found['verdicts']}")
        if "us_per_row" in found:
            click.echo(f"  us of CPU a row, tenth by tenth: {', '.join(f'{cost:g}' for cost in found['us_per_row'])}")
        for what, growth in found.get("growth", {}).items():
            click.echo(f"  {what:30} {found['values'][what][-1]:10.4g}  grew by {growth:g}")
