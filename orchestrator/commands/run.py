"""`wsklab run`: from words on the command line to a report."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from functools import cache
from math import inf
from pathlib import Path

import click

from wsklab import images
from wsklab.drivers.build import BuiltDriver, build_driver
from wsklab.orchestrator.commands.options import jobs_of
from wsklab.orchestrator.errors import LabError, UsageError
from wsklab.orchestrator.guest import find, variants
from wsklab.orchestrator.liveness import limits
from wsklab.orchestrator.liveness.watchdog_link import phase
from wsklab.orchestrator.results.console import Console
from wsklab.orchestrator.results.results import Results, as_text
from wsklab.orchestrator.run import runner, selection
from wsklab.orchestrator.run.preparation import Preparation
from wsklab.orchestrator.run.workers import Work, Workers


def run(
    *,
    words: Sequence[str],
    tags: Sequence[str],
    exclude: Sequence[str],
    target: str,
    driver_name: str,
    twin: str | None,
    repeat: int,
    until_fail: bool,
    jobs: int | None,
    isolate: bool,
    cold: bool,
    seed: int,
    out: Path | None,
    as_json: bool,
    verify: str | None = None,
    variant_names: Sequence[str] = (),
    every_variant: bool = False,
) -> int:
    """Carry out the command; returns its exit code. Everything the user wrote is checked before anything is booted."""
    console = Console(quiet=as_json)
    find.check(target, verify)
    selected = selection.select(words, tags, exclude, driver_name, twin, target == find.STANDIN, console.progress)
    names, left_out = variants.chosen(find.machine(target), target, variant_names, every_variant)
    played, unplayed = selection.on_variants(selected, names, find.machine(target))
    for sentence in (*left_out, *unplayed):
        console.progress(sentence)
    folder = runner.new_folder(out)

    @cache
    def built() -> BuiltDriver:
        with console.step("drivers", makes=True):
            return build_driver(selected.twin, images.cache_folder(), console.progress)

    preparation = Preparation.prepare(folder, console, cold, target, verify, meanwhile=built)
    preparation.foreign = selected.foreign and selected.foreign.prepared(
        preparation.guest.prepare, preparation.guest.pack
    )
    if preparation.foreign and verify:
        preparation.guest.watched = preparation.foreign.file_name
    variants.fits(find.machine(target), names, preparation.accelerator, preparation.foreign)
    driver = preparation.guest.prepare(built())
    results = preparation.results(driver, seed)
    if any(names):
        machine = find.machine(target)
        results.target["variants"] = {
            name: machine.variants[name].model_dump(mode="json", exclude_defaults=True) for name in names if name
        }
    results.plan = runner.plan(selected.scenarios, repeat, until_fail, {name: played[name] for name in names})
    labs = preparation.admitted(jobs)
    current = runner.Run(
        folder,
        results,
        console,
        lambda: preparation.boot(driver),
        isolate,
        preparation.stop,
        preparation.damage,
        lambda variant: preparation.boot(driver, variant),
    )
    current.begin()
    work = Work(runner.order(selected.scenarios, repeat, until_fail, played), preparation.stop)
    limit = (
        inf
        if until_fail
        else len(names) * limits.of_run(selected.scenarios, repeat, preparation.guest.slow[preparation.accelerator])
    )
    with phase("the run", limit, folder):
        Workers(current, work, until_fail).play(labs, preparation.room)
    if as_json:
        console.document(_document(folder, results))
    else:
        if results.scenarios:
            console.table(results)
        console.totals(results)
        if not preparation.guest.qualifying:
            console.line(
                "The target is the stand-in, not Windows: this proves the lab and the driver's logic, it does "
                "not qualify a driver."
            )
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


@click.command("run")
@click.argument("scenarios", nargs=-1, metavar="[SCENARIO]...")
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="Only scenarios with this tag (may be repeated).")
@click.option("--exclude", multiple=True, metavar="TAG", help="No scenarios with this tag (may be repeated).")
@click.option("--target", default="standin", show_default=True, metavar="standin|IMAGE", help="What runs the driver.")
@click.option(
    "--driver",
    "driver_name",
    default="wsklab",
    show_default=True,
    metavar="PROFILE",
    help="The driver under test: a profile's name or file (docs/drivers.md).",
)
@click.option(
    "--twin", "twin_names", multiple=True, metavar="NAME", help="Run a deliberately wrong build of the driver instead."
)
@click.option(
    "--twins",
    is_flag=True,
    help="Run every wrong build (or those of --twin, which may be repeated) and the correct one, and show "
    "which scenarios catch which. Exit code 0: all caught, no false alarm. Writes twins.json.",
)
@click.option(
    "--verifier",
    "verify",
    metavar="SET",
    help="Windows: have Driver Verifier watch the driver: standard, memory, irql, io or low-resources.",
)
@click.option(
    "--variant",
    "variant_names",
    multiple=True,
    metavar="NAME",
    help="Run on this variant of the target's machine (may be repeated; base is the machine itself).",
)
@click.option("--variants", type=click.Choice(["all"]), help="Run on the machine and on each of its variants.")
@click.option("--repeat", default=1, show_default=True, type=click.IntRange(1), help="Run everything N times.")
@click.option("--until-fail", is_flag=True, help="Repeat until a verdict is not pass.")
@click.option(
    "--jobs",
    default="1",
    show_default=True,
    metavar="N|auto",
    callback=jobs_of,
    help="Labs side by side; no more than the host has memory and cores for, and auto is that many.",
)
@click.option(
    "--isolate/--shared",
    default=True,
    show_default=True,
    help="Take the target back to its snapshot before each scenario, or run all on one state of it.",
)
@click.option("--cold", is_flag=True, help="Boot, even if a snapshot of the ready lab is kept; and keep none.")
@click.option("--seed", default=1, show_default=True, type=int, help="Seed of everything random.")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="The run's folder (must be empty).")
@click.option("--json", "as_json", is_flag=True, help="Print results.json on standard output, and nothing else.")
def command(
    scenarios: tuple[str, ...],
    tags: tuple[str, ...],
    exclude: tuple[str, ...],
    target: str,
    driver_name: str,
    twin_names: tuple[str, ...],
    twins: bool,
    verify: str | None,
    variant_names: tuple[str, ...],
    variants: str | None,
    repeat: int,
    until_fail: bool,
    jobs: int | None,
    isolate: bool,
    cold: bool,
    seed: int,
    out: Path | None,
    as_json: bool,
) -> None:
    """Run scenarios, named by name, tag, file or folder; none named is the built-in suite.

    With --driver that is the suite any-driver: your driver cannot be steered, only connected and observed.
    Writes results.json, junit.xml, report.html and evidence/ into the run's folder.
    """
    if variants and variant_names:
        raise UsageError("--variants all has every variant in it; leave out --variant.")
    if twins:
        if variants or variant_names:
            raise UsageError("--twins goes without variants of the machine.")
        if (target, driver_name, repeat, until_fail, jobs, verify) != ("standin", "wsklab", 1, False, 1, None):
            raise UsageError("--twins goes with scenarios, --tag, --exclude, --twin, --seed, --out and --json only.")
        from wsklab.orchestrator.commands import twins as twin_runs

        sys.exit(
            twin_runs.run(
                words=scenarios, tags=tags, exclude=exclude, names=twin_names, seed=seed, out=out, as_json=as_json
            )
        )
    if len(twin_names) > 1:
        raise UsageError("a run has one driver; several twins, one after another, are `wsklab run --twins`.")
    code = run(
        words=scenarios,
        tags=tags,
        exclude=exclude,
        target=target,
        driver_name=driver_name,
        twin=next(iter(twin_names), None),
        repeat=repeat,
        until_fail=until_fail,
        jobs=jobs,
        isolate=isolate,
        cold=cold,
        seed=seed,
        out=out,
        as_json=as_json,
        verify=verify,
        variant_names=variant_names,
        every_variant=variants == "all",
    )
    sys.exit(code)
