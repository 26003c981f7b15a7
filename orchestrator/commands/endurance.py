"""`wsklab bench endurance`: the long runs, their figures and their plots."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from wsklab import images
from wsklab.drivers.build import build_driver
from wsklab.orchestrator.commands.bench import about
from wsklab.orchestrator.results.console import Console
from wsklab.orchestrator.results.plot import line_chart
from wsklab.orchestrator.results.results import Results, write_atomically
from wsklab.orchestrator.run import runner
from wsklab.orchestrator.run.preparation import Preparation
from wsklab.orchestrator.scenario import catalogue
from wsklab.orchestrator.trials.endurance import SCHEMA, Endurance

LOOKS = 30
"""How often the vitals are taken in a long run."""


def run(out: Path | None, disconnects: int, restores: int, as_json: bool) -> int:
    """Carry out the command; returns its exit code. What one part found is on disk before the next begins."""
    folder, console = runner.new_folder(out), Console(quiet=as_json)
    with console.step("drivers", makes=True):
        driver = build_driver(None, images.cache_folder(), console.progress)
    preparation = Preparation.prepare(folder, console).quietly()
    many, one = catalogue.select(["hundred-mixed-endings"], [], [])[0], catalogue.select(["linger-zero"], [], [])[0]
    everything = preparation.results(driver, 1)
    document: dict[str, Any] = {"schema": SCHEMA, "about": about(preparation, driver)}

    def part(name: str, isolate: bool) -> Endurance:
        (folder / name).mkdir()
        results = Results(everything.run, everything.target, everything.driver, everything.scenarios)
        current = runner.Run(folder / name, results, Console(quiet=True), damage=preparation.damage)
        return Endurance(current, preparation.supply(driver, isolate, current.learn), console.progress)

    def keep(name: str, found: dict[str, Any]) -> None:
        document[name] = found
        write_atomically(folder / "endurance.json", json.dumps(document, indent=1) + "\n")
        write_atomically(folder / f"{name}.svg", line_chart("Memory in use", name, "MiB", _memory(found)))

    if disconnects:
        with console.step(f"{disconnects} disconnects"):
            keep("disconnects", part("disconnects", isolate=False).disconnects(many, disconnects, LOOKS))
    if restores:
        with console.step(f"{restores} restores"):
            keep("restores", part("restores", isolate=True).restores(one, restores, LOOKS))
    if as_json:
        click.echo(json.dumps(document, indent=1))
    else:
        _print({name: document[name] for name in ("disconnects", "restores") if name in document})
        click.echo(f"\n{folder / 'endurance.json'}")
    everything.conclude("complete")
    return everything.exit_code


def _memory(found: dict[str, Any]) -> dict[str, list[tuple[float, float]]]:
    """What is measured in MiB, as lines over the rounds."""
    return {
        name: list(zip(found["rounds"], values, strict=True))
        for name, values in found["values"].items()
        if "driver's" not in name and "their" not in name
    }


def _print(document: dict[str, dict[str, Any]]) -> None:
    for name, found in document.items():
        figures = "  ".join(f"{key} {value}" for key, value in found.items() if isinstance(value, int | float | str))
        click.echo(f"{name}: {figures}  verdicts {found['verdicts']}")
        for what, growth in found["growth"].items():
            click.echo(f"  {what:30} {found['values'][what][-1]:10.4g}  grew by {growth:g}")
