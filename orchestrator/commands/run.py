"""`wsklab run`: its options as they are declared, and what comes of them: from the selection to the last row."""

from __future__ import annotations

import itertools
import os
import sys
import threading
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wsklab.orchestrator.commands.options import (
    Alone,
    fleet_option,
    hold_option,
    jobs_of,
    lean_option,
    record_option,
    resume_option,
    search_options,
    toolchain_option,
)
from wsklab.orchestrator.commands.run_end import ended, told
from wsklab.orchestrator.commands.run_options import Options, require_consistent, require_only_twins
from wsklab.orchestrator.commands.screens import Screens, view_option
from wsklab.orchestrator.errors import UsageError

if TYPE_CHECKING:  # the words of the command need no lab
    from wsklab.drivers.build import BuiltDriver
    from wsklab.orchestrator.results.results import Results
    from wsklab.orchestrator.scenario.scenario import Scenario


def run(options: Options) -> int:
    """Carry out the command; returns its exit code. Everything the user wrote is checked before anything is booted."""
    # Loaded here, not with the words of the command: most of the time that a command begins with.
    from wsklab.orchestrator.guest import find, variants
    from wsklab.orchestrator.history.recorder import Recorder
    from wsklab.orchestrator.history.where import chosen
    from wsklab.orchestrator.liveness import limits
    from wsklab.orchestrator.liveness.watchdog_link import phase
    from wsklab.orchestrator.results import ci, known
    from wsklab.orchestrator.results.console import Console
    from wsklab.orchestrator.run import order, resuming, runner, selection
    from wsklab.orchestrator.run.hold import Hold
    from wsklab.orchestrator.run.preparation import Preparation
    from wsklab.orchestrator.run.stopping import Stop
    from wsklab.orchestrator.run.ways_in import ways_in
    from wsklab.orchestrator.run.workers import Work, Workers

    console = Console(options.as_json, options.verbose - options.quiet, ci.detect(os.environ))
    strict_seed = options.seed if options.strict else None
    find.check(options.target, options.verify, strict_seed)
    chosen(options.history)
    errata = known.load(options.known_file, Path())
    if options.fleet is not None:
        from wsklab.orchestrator.commands import fleet_run  # its libraries may not be there

        fleet_run.check(options)
    if options.debugger is not None and options.target == find.STANDIN:
        raise UsageError("--debugger is for a Windows target: the stand-in has no kernel debugger's line.")
    selected = selection.select(
        options.scenarios,
        options.tags,
        options.exclude,
        options.driver_name,
        next(iter(options.twin_names), None),
        options.target == find.STANDIN,
        console.progress,
        options.driver_file,
        witnessed=options.strict,
        provoke=options.provoke,
    )
    if options.concurrent:
        if not options.strict:
            raise UsageError("--concurrent is a part of the strict mode: give --strict, too.")
        selected = selection.concurrently(selected)
    selected = selection.without_strict(selected, options.strict, console.progress)
    if options.record:
        from wsklab.orchestrator.commands import record

        record.check(options, selected, find.machine(options.target))
    names, left_out = variants.chosen(
        find.machine(options.target), options.target, options.variant_names, options.variants == "all"
    )
    played, unplayed = selection.on_variants(selected, names, find.machine(options.target))
    for sentence in (*left_out, *unplayed):
        console.progress(sentence)
    folder = resuming.enter(options.resume) if options.resume else runner.new_folder(options.out)

    @cache
    def built() -> BuiltDriver:
        with console.step("drivers", makes=True) if selected.file is None else nullcontext():
            return selected.build(console.progress, options.toolchain)

    threading.Thread(target=_load, name="libraries", daemon=True).start()
    screens, stop = Screens(console.line), Stop()
    if options.view:
        screens.show()
    holding = Hold(options.hold, stop, console.line, lambda lab: ways_in(lab, screens.address(), options.debugger))
    preparation = Preparation.prepare(
        folder,
        console,
        options.cold,
        options.target,
        options.verify,
        selected.foreign,
        built,
        strict=strict_seed,
        stop=stop,
        hold=holding,
        debugger_port=options.debugger,
    )
    if options.record:
        preparation = preparation.recording()
    fleet = fleet_run.join(options, folder, preparation) if options.fleet is not None else None
    if fleet is not None:
        preparation = fleet.fitted(preparation)
    variants.fits(find.machine(options.target), names, preparation.accelerator, preparation.foreign)
    driver = preparation.guest.prepare(built())
    results = preparation.results(
        driver, options.seed, order.plan(selected.scenarios, options.repeat, options.until_fail is not None, played)
    )
    if any(names):
        machine = find.machine(options.target)
        results.target["variants"] = {
            name: machine.variants[name].model_dump(mode="json", exclude_defaults=True) for name in names if name
        }
    taken_up(options, folder, results, selected.scenarios)
    if done := list(results.scenarios):
        console.line(f"          resumed: {len(done)} rows are there already")
    preparation = replace(preparation, labs=itertools.count(resuming.first_lab(folder)))
    labs = preparation.admitted(options.jobs if fleet is None else 1)
    current = runner.Run(folder, results, console, preparation.stop, preparation.damage, hold=preparation.hold)
    current.known = known.under(errata, results, datetime.now(UTC).date())
    current.begin()
    recorder = Recorder(options.history, folder, lambda warning: click.echo(f"wsklab: {warning}", err=True))
    recorder.begin()
    items = order.order(selected.scenarios, options.repeat, options.until_fail is not None, played)
    items = resuming.left(items, results.plan, done)
    limit = (
        inf
        if options.until_fail is not None
        else len(names)
        * limits.of_run(selected.scenarios, options.repeat, preparation.guest.slow[preparation.accelerator])
    )
    with phase("the run", limit, folder), console.pace(results.plan.left(done)):
        if fleet is not None:
            fleet.play(current, preparation, driver, items, results.plan.left(done))
        else:
            Workers(
                current,
                lambda variant: preparation.supply(driver, options.isolate, current.learn, variant),
                Work(items, preparation.stop),
                options.until_fail is not None,
                owed=iter(resuming.unloads_owed(results.plan, done)),
            ).play(labs, preparation.room)
    recorder.end()
    told(options, folder, results, preparation.guest, console)
    if options.record:
        record.keep(folder, preparation, driver, results, console)
    return ended(results)


def taken_up(options: Options, folder: Path, results: Results, scenarios: Sequence[Scenario]) -> None:
    """Remember what a new run is asked for; of one that is resumed, take up the rows. Raises UsageError, OSError."""
    from wsklab.orchestrator.commands import resume
    from wsklab.orchestrator.run import resuming

    now = resuming.memo(resume.written(options), scenarios)
    if options.resume is None:
        resuming.remember(folder, now)
    else:
        resuming.take_up(folder, resuming.recall(folder), now, results)


def _load() -> None:
    """Import what the lab and the page need next, while the images are read, which leaves the interpreter free."""
    from wsklab.orchestrator.guest import ssh
    from wsklab.orchestrator.results import report

    ssh.load()
    report.load()


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
    metavar="PROFILE|FILE.sys",
    help="The driver under test: a profile's name or file (docs/drivers.md), or the driver itself.",
)
@click.option(
    "--provoke",
    metavar="peer:PORT|start:PORT",
    help="For --driver FILE.sys: it listens on a port, or connects to the peer's when it is started, "
    "N times at once with PORT:N.",
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
@click.option("--quick", is_flag=True, help="With --twins: each only until it is first caught.")
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
@click.option(
    "--scarcity",
    is_flag=True,
    help="Stand-in: with all of --strict, have each allocation of each scenario fail once, in a row of its own, which "
    "the driver has to survive.",
)
@click.option(
    "--concurrent",
    is_flag=True,
    help="With --strict: complete and call back from several threads at once, late, or inside the call, as drawn from "
    "the seed.",
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
@search_options
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
@resume_option
@fleet_option
@lean_option
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
@record_option
@hold_option("after a verdict that is not pass (--hold=always: after every one), or when it does not boot")
@click.option(
    "--debugger",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="Windows: let WinDbg have COM1 whenever it connects to this port of 127.0.0.1 (0: any that is free).",
)
@click.option("-q", "--quiet", is_flag=True, help="Say only what did not pass, and how the run ended.")
@click.option("-v", "--verbose", is_flag=True, help="Say what was observed in each scenario, too.")
@click.option("--json", "as_json", is_flag=True, help="Print results.json on standard output, and nothing else.")
def command(**asked: Any) -> None:
    """Run scenarios, named by name, tag, file or folder; none named is the built-in suite.

    With --driver that is the suite any-driver: your driver cannot be steered, only connected and observed.
    Writes results.json, junit.xml, report.html and evidence/ into the run's folder.
    """
    options = Options(**asked)
    if options.record:
        from wsklab.orchestrator.commands import record

        options = record.asked(options)
    if options.resume:
        from wsklab.orchestrator.commands import resume

        sys.exit(resume.again(options))
    if options.twins:
        require_only_twins(options)
        from wsklab.orchestrator.commands import twins as twin_runs

        sys.exit(twin_runs.run(options))
    if options.scarcity:
        from wsklab.orchestrator.commands import scarcity

        sys.exit(scarcity.asked(options))
    require_consistent(options)
    if options.until_fail:
        from wsklab.orchestrator.commands import search

        sys.exit(search.asked(options))
    sys.exit(run(options))
