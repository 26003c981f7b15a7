"""`wsklab run --twins`: the lab on trial, with drivers that are wrong on purpose."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click

from wsklab import images
from wsklab.drivers.build import BuiltDriver, build_driver, twin_builder
from wsklab.drivers.twins import Twin, twins
from wsklab.orchestrator.commands.run_options import Options
from wsklab.orchestrator.errors import ALL_PASS, SOME_FAIL, UsageError
from wsklab.orchestrator.results.console import Console
from wsklab.orchestrator.run import capacity, runner
from wsklab.orchestrator.run.preparation import Preparation
from wsklab.orchestrator.scenario import catalogue
from wsklab.orchestrator.scenario.scenario import Scenario
from wsklab.orchestrator.trials import tables, twin_matrix
from wsklab.orchestrator.trials.twin_runs import Build, TwinRun


def run(options: Options) -> int:
    """Run the correct driver and the named twins (default: all), which are built meanwhile.

    Returns the exit code: 0 when all are caught.

    Without scenarios named, the fast ones are used, and a twin that some of them have caught meets no more.
    """
    unknown = [name for name in options.twin_names if name not in twins()]
    if unknown:
        raise UsageError(f"there is no twin '{unknown[0]}'; there are {', '.join(twins())}.")
    whole = bool(options.scenarios or options.tags or options.exclude)
    chosen = catalogue.select(options.scenarios, options.tags, options.exclude)
    scenarios = (
        [s for s in chosen if not s.self_check]
        if whole
        else [*twin_matrix.panel(chosen), *twin_matrix.strict_panel(chosen)]
    )
    if not scenarios:
        raise UsageError("these choices leave only scenarios that put the lab itself on trial; name others.")
    folder = runner.new_folder(options.out)
    console = Console(quiet=options.as_json)
    with console.step("drivers", makes=True):
        cache, progress = images.cache_folder(), console.progress
        correct = build_driver(None, cache, progress)
        asked = [
            twin
            for twin in twins().values()
            if twin.name in options.twin_names or not (options.twin_names or twin.seldom)
        ]
    with twin_builder(cache) as build, ThreadPoolExecutor(1) as ahead:  # of the labs, in the order in which they run
        builds: dict[Twin, Build | None] = {
            twin: None if twin.only_windows else ahead.submit(build, twin.name).result
            for twin in sorted(asked, key=lambda twin: twin.strict)
        }
        try:
            return _run(options, folder, console, correct, builds, scenarios, whole)
        finally:
            ahead.shutdown(wait=False, cancel_futures=True)


def _run(
    options: Options,
    folder: Path,
    console: Console,
    correct: BuiltDriver,
    builds: dict[Twin, Build | None],
    scenarios: list[Scenario],
    whole: bool,
) -> int:
    preparation = Preparation.prepare(folder, console)
    strict = preparation.strictly(options.seed)

    def lane() -> TwinRun:
        return TwinRun(
            folder,
            console,
            preparation.supply(correct),
            lambda driver: preparation.results(driver, options.seed),
            strict.supply(correct) if any(twin.strict for twin in builds) else None,
            options.quick,
            preparation.stop,
        )

    lanes = [lane() for _ in range(preparation.admitted(options.jobs, capacity.WRONG_CORES))]
    matrix = lanes[0].run(correct, builds, scenarios, whole, lanes[1:])
    if options.as_json:
        click.echo((folder / "twins.json").read_text(encoding="utf-8"))
    else:
        tables.show_twin_matrix(console, matrix)
        console.line(f"\nMatrix: {folder / 'twins.html'}; for programs: {folder / 'twins.json'}")
        console.line(f"Each build's report: {folder}/NAME/report.html")
    return ALL_PASS if twin_matrix.all_caught(matrix) else SOME_FAIL
