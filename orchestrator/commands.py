"""`wsklab run`: from words on the command line to a report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from math import inf
from pathlib import Path

from wsklab import images
from wsklab.drivers.build import build_driver
from wsklab.orchestrator import casting, limits, runner, targets
from wsklab.orchestrator.console import Console
from wsklab.orchestrator.errors import LabError
from wsklab.orchestrator.ground import Ground
from wsklab.orchestrator.lanes import Lanes, Work
from wsklab.orchestrator.results import Results, as_text
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
    results.plan = runner.plan(cast.scenarios, repeat, until_fail)
    labs = ground.admitted(jobs)
    current = runner.Run(folder, results, console, lambda: ground.boot(driver), isolate, ground.stop, ground.damage)
    current.begin()
    work = Work(runner.order(cast.scenarios, repeat, until_fail), ground.stop)
    limit = inf if until_fail else limits.of_run(cast.scenarios, repeat, ground.guest.slow[ground.accelerator])
    with phase("the run", limit, folder):
        Lanes(current, work, until_fail).play(labs, ground.room)
    if as_json:
        console.document(_document(folder, results))
    else:
        if results.scenarios:
            console.table(results)
        console.totals(results)
        if not ground.guest.qualifying:
            console.line("The target is the stand-in, not Windows: this proves the lab and the driver's logic, it does "
                         "not qualify a driver.")
        if (folder / "report.html").exists():
            console.line(f"Report: {folder / 'report.html'}")
    return ended(results)


def _document(folder: Path, results: Results) -> str:
    """results.json; of a run whose folder is gone or full, what is known without it."""
    try:
        text = (folder / "results.json").read_text(encoding="utf-8")
        if json.loads(text)["state"] == results.state:
            return text
    except (OSError, ValueError):
        pass
    return as_text(results.document)


def ended(results: Results) -> int:
    """The exit code of a run. One that was cut short ends as any command does: raises KeyboardInterrupt, LabError."""
    if results.state == "interrupted":
        raise KeyboardInterrupt
    if results.state == "aborted":
        raise LabError(str(results.why))
    return results.exit_code
