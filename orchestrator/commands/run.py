"""`wsklab run`: from words on the command line to a report."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from math import inf
from pathlib import Path

import click

from wsklab import images
from wsklab.drivers.build import BuiltDriver, Toolchain, build_driver
from wsklab.orchestrator.commands.options import UNTIL_FAIL, Alone, jobs_of, toolchain_option
from wsklab.orchestrator.commands.screens import Screens, view_option
from wsklab.orchestrator.errors import LabError, UsageError
from wsklab.orchestrator.guest import find
from wsklab.orchestrator.guest.guest import STRICT_CHECKS, Guest
from wsklab.orchestrator.history.recorder import Recorder
from wsklab.orchestrator.history.where import chosen
from wsklab.orchestrator.liveness import limits
from wsklab.orchestrator.liveness.watchdog_link import phase
from wsklab.orchestrator.results import known
from wsklab.orchestrator.results.console import Console
from wsklab.orchestrator.results.results import Results, as_text
from wsklab.orchestrator.run import runner, selection
from wsklab.orchestrator.run.hold import Hold, When
from wsklab.orchestrator.run.preparation import Preparation
from wsklab.orchestrator.run.stopping import Stop
from wsklab.orchestrator.run.ways_in import ways_in
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
    history: str | None = None,
    driver_file: Path | None = None,
    known_file: Path | None = None,
    toolchain: Toolchain = "mingw",
    view: bool = False,
    hold: When = "never",
    debugger: int | None = None,
    strict: bool = False,
) -> int:
    """Carry out the command; returns its exit code. Everything the user wrote is checked before anything is booted."""
    console = Console(quiet=as_json)
    strict_seed = seed if strict else None
    find.check(target, verify, strict_seed)
    chosen(history)
    errata = known.load(known_file, Path())
    if debugger is not None and target == find.STANDIN:
        raise UsageError("--debugger is for a Windows target: the stand-in has no kernel debugger's line.")
    selected = selection.select(
        words, tags, exclude, driver_name, twin, target == find.STANDIN, console.progress, driver_file
    )
    selected = selection.without_strict(selected, strict, console.progress)
    folder = runner.new_folder(out)

    @cache
    def built() -> BuiltDriver:
        if selected.file is not None:
            from wsklab.orchestrator.lab import foreign_driver

            return foreign_driver.own(selected.file)
        with console.step("drivers", makes=True):
            return build_driver(selected.twin, images.cache_folder(), console.progress, toolchain)

    screens, stop = Screens(console.line), Stop()
    if view:
        screens.show()
    holding = Hold(hold, stop, console.line, lambda lab: ways_in(lab, screens.address(), debugger))
    preparation = Preparation.prepare(
        folder,
        console,
        cold,
        target,
        verify,
        selected.foreign,
        built,
        strict=strict_seed,
        stop=stop,
        hold=holding,
        debugger_port=debugger,
    )
    driver = preparation.guest.prepare(built())
    results = preparation.results(driver, seed, runner.plan(selected.scenarios, repeat, until_fail))
    labs = preparation.admitted(jobs)
    current = runner.Run(folder, results, console, preparation.stop, preparation.damage, hold=preparation.hold)
    current.known = known.under(errata, results, datetime.now(UTC).date())
    current.begin()
    recorder = Recorder(history, folder, lambda warning: click.echo(f"wsklab: {warning}", err=True))
    recorder.begin()
    work = Work(runner.order(selected.scenarios, repeat, until_fail), preparation.stop)
    limit = (
        inf
        if until_fail
        else limits.of_run(selected.scenarios, repeat, preparation.guest.slow[preparation.accelerator])
    )
    with phase("the run", limit, folder):
        Workers(current, lambda: preparation.supply(driver, isolate, current.learn), work, until_fail).play(
            labs, preparation.room
        )
    recorder.end()
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
            console.line(checks(preparation.guest))
        if (folder / "report.html").exists():
            console.line(f"Report: {folder / 'report.html'}")
    return ended(results)


def checks(guest: Guest) -> str:
    """The sentence that says which of the stand-in's checks were on."""
    if guest.strict is None:
        return "Strict checks: off (--strict)."
    return f"Strict checks: {', '.join(STRICT_CHECKS)}, simulated; drawn from the seed {guest.strict}."


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


@click.command("run", cls=Alone)
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
    "--driver-file",
    type=click.Path(path_type=Path),
    metavar="FILE.sys",
    help="This build of the driver instead of the one that its profile names.",
)
@click.option(
    "--twin", "twin_names", multiple=True, metavar="NAME", help="Run a deliberately wrong build of the driver instead."
)
@toolchain_option
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
    "--strict",
    is_flag=True,
    help="Stand-in: simulate IRQLs, callbacks at DISPATCH_LEVEL and special pool, and stop the driver where Windows "
    "with Driver Verifier would.",
)
@click.option("--repeat", default=1, show_default=True, type=click.IntRange(1), help="Run everything N times.")
@click.option(
    UNTIL_FAIL,
    metavar="[N]",
    type=click.IntRange(0),
    help="Repeat until a verdict is not pass; with N, no more than so many trials, and say what they prove.",
)
@click.option(
    "--vary/--no-vary",
    default=None,
    help="With --until-fail N: vary what no expectation depends on  [default: in scenarios with the tag field]",
)
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
@click.option(
    "--known",
    "known_file",
    type=click.Path(path_type=Path),
    metavar="FILE|off",
    help="Failures that are known (docs/history.md)  [default: known.yaml, if it is here]",
)
@click.option(
    "--history",
    metavar="URL|off",
    help="Where the run is recorded (docs/history.md); WSKLAB_HISTORY says it for all commands.",
)
@view_option
@click.option(
    "--hold",
    default="never",
    metavar="[=always]",
    type=click.Choice(["never", "not-pass", "always"]),
    help="Leave a lab running after a verdict that is not pass (--hold=always: after every one), or when it does not "
    "boot, and say how to get into it; Ctrl-C ends that, and the run goes on.",
)
@click.option(
    "--debugger",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="Windows: let WinDbg have COM1 whenever it connects to this port of 127.0.0.1 (0: any that is free).",
)
@click.option("--json", "as_json", is_flag=True, help="Print results.json on standard output, and nothing else.")
def command(
    scenarios: tuple[str, ...],
    tags: tuple[str, ...],
    exclude: tuple[str, ...],
    target: str,
    driver_name: str,
    driver_file: Path | None,
    twin_names: tuple[str, ...],
    toolchain: Toolchain,
    twins: bool,
    verify: str | None,
    strict: bool,
    repeat: int,
    until_fail: int | None,
    vary: bool | None,
    jobs: int | None,
    isolate: bool,
    cold: bool,
    seed: int,
    out: Path | None,
    known_file: Path | None,
    history: str | None,
    as_json: bool,
    view: bool,
    hold: When,
    debugger: int | None,
) -> None:
    """Run scenarios, named by name, tag, file or folder; none named is the built-in suite.

    With --driver that is the suite any-driver: your driver cannot be steered, only connected and observed.
    Writes results.json, junit.xml, report.html and evidence/ into the run's folder.
    """
    if twins:
        single = (target, driver_name, driver_file, repeat, until_fail, jobs, verify, toolchain, strict)
        if single != ("standin", "wsklab", None, 1, None, 1, None, "mingw", False):
            raise UsageError("--twins goes with scenarios, --tag, --exclude, --twin, --seed, --out and --json only.")
        from wsklab.orchestrator.commands import twins as twin_runs

        sys.exit(
            twin_runs.run(
                words=scenarios, tags=tags, exclude=exclude, names=twin_names, seed=seed, out=out, as_json=as_json
            )
        )
    if as_json and (view or hold != "never"):
        raise UsageError("--view and --hold say where to look on standard output, which --json has for itself.")
    if debugger is not None and jobs != 1:
        raise UsageError("--debugger is one port for one lab: leave out --jobs.")
    if len(twin_names) > 1:
        raise UsageError("a run has one driver; several twins, one after another, are `wsklab run --twins`.")
    if vary is not None and not until_fail:
        raise UsageError("--vary goes with --until-fail N.")
    if until_fail:
        if tags or exclude or repeat != 1 or cold or view or hold != "never" or debugger is not None:
            raise UsageError("--until-fail N goes with scenarios and the lab's options, not with these.")
        from wsklab.orchestrator.commands import search
        from wsklab.orchestrator.commands.trying import Lab

        twin = next(iter(twin_names), None)
        lab = Lab(target, driver_name, driver_file, twin, toolchain, verify, strict, jobs, isolate, seed)
        sys.exit(search.run(scenarios, lab, until_fail, vary, out, as_json))
    code = run(
        words=scenarios,
        tags=tags,
        exclude=exclude,
        target=target,
        driver_name=driver_name,
        twin=next(iter(twin_names), None),
        repeat=repeat,
        until_fail=until_fail is not None,
        jobs=jobs,
        isolate=isolate,
        cold=cold,
        seed=seed,
        out=out,
        as_json=as_json,
        verify=verify,
        history=history,
        driver_file=driver_file,
        known_file=known_file,
        toolchain=toolchain,
        view=view,
        hold=hold,
        debugger=debugger,
        strict=strict,
    )
    sys.exit(code)
