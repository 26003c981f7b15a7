"""`wsklab run`: from words on the command line to a report."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from pathlib import Path

import click

from wsklab import images
from wsklab.drivers.build import build_driver
from wsklab.orchestrator import casting, limits, runner, targets
from wsklab.orchestrator.console import Console
from wsklab.orchestrator.ground import Ground
from wsklab.orchestrator.lab import Lab
from wsklab.orchestrator.lanes import Lanes, Work
from wsklab.orchestrator.watched import phase


def run(*, words: Sequence[str], tags: Sequence[str], exclude: Sequence[str], target: str, driver_name: str,
        twin: str | None, repeat: int, until_fail: bool, jobs: int | None, isolate: bool, cold: bool, seed: int,
        out: Path | None, as_json: bool, verify: str | None = None) -> int:
    """Carry out the command; returns its exit code. Everything the user wrote is checked before anything is booted."""
    console = Console(quiet=as_json)
    targets.check(target, verify)
    cast = casting.cast(words, tags, exclude, driver_name, twin, target == targets.STANDIN, console.progress)
    folder = runner.new_folder(out)
    with console.step("drivers", makes=True):
        driver = build_driver(cast.twin, images.cache_folder(), console.progress)
    ground = Ground.prepare(folder, console, cold, target, verify)
    ground.foreign = cast.foreign and cast.foreign.prepared(ground.guest.prepare)
    driver = ground.guest.prepare(driver)
    results = ground.results(driver, seed)

    def boot() -> Lab:
        lab = ground.boot(driver)
        results.target |= lab.settings
        return lab

    current = runner.Run(folder, results, console, boot, isolate, ground.damage)
    lanes = Lanes(current, Work(runner.order(cast.scenarios, repeat, until_fail)), until_fail)
    slowness = ground.guest.slow[ground.accelerator]
    limit = inf if until_fail else limits.of_run(cast.scenarios, repeat, slowness)
    try:
        with phase("the run", limit, folder):
            lanes.play(ground.admitted(jobs), ground.room)
    finally:
        current.write()
    if as_json:
        click.echo((folder / "results.json").read_text(encoding="utf-8"))
    else:
        console.table(results)
        console.totals(results)
        if not ground.guest.qualifying:
            console.line("The target is the stand-in, not Windows: this proves the lab and the driver's logic, it does "
                         "not qualify a driver.")
        console.line(f"Report: {folder / 'report.html'}")
    return results.exit_code
