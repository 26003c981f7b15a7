"""`wsklab run --scarcity`: each allocation of each scenario fails once, and the driver has to survive that."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf

from wsklab.orchestrator.commands.run_end import checks, ended
from wsklab.orchestrator.commands.run_options import Options
from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.guest import find
from wsklab.orchestrator.liveness.watchdog_link import phase
from wsklab.orchestrator.results.console import Console
from wsklab.orchestrator.results.results import UNLOAD, ScenarioResult
from wsklab.orchestrator.run import runner, selection
from wsklab.orchestrator.run.order import Item
from wsklab.orchestrator.run.preparation import Preparation
from wsklab.orchestrator.run.runner import Done, Run
from wsklab.orchestrator.run.workers import Work, Workers
from wsklab.orchestrator.trials.scarcity import FOREIGN, OWN, Shortages, loads_itself

OTHERS = (
    *("twins", "verify", "variants", "variant_names", "repeat", "until_fail", "vary", "hold", "debugger", "view"),
    *("fleet",),
)
"""Options that do not go with it."""


@dataclass
class Scarce(Run):
    """A run of trials, each a row of its own, as they are asked for."""

    trials: Shortages = field(kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._asking = threading.Lock()

    def items(self) -> Iterator[Item]:
        """All trials, one after the other."""
        while True:
            with self._asking:
                scenario = self.trials.next()
            if scenario is None:
                return
            yield Item(1, scenario)

    def add(self, done: Done) -> ScenarioResult:
        """Add the row, unless nothing failed in the trial any more: of that nothing is kept."""
        row = done.result
        if row.name == UNLOAD or self.stop.requested:
            return super().add(done)
        with self._asking:
            kept = self.trials.tell(row)
        if kept:
            return super().add(done)
        shutil.rmtree(self.folder / row.evidence, ignore_errors=True)
        return row


def asked(options: Options) -> int:
    """Carry it out; returns the exit code. Raises UsageError for what does not go with it."""
    for name in OTHERS:
        if getattr(options, name) != getattr(Options(), name):
            raise UsageError(f"--scarcity does not go with --{name.removesuffix('_names').replace('_', '-')}.")
    console = Console(options.as_json, options.verbose - options.quiet)
    find.check(options.target, None, options.seed)
    own = options.driver_name == selection.OWN and options.provoke is None
    words = options.scenarios or (() if options.tags else OWN if own else FOREIGN)
    selected = selection.select(
        words,
        options.tags,
        options.exclude,
        options.driver_name,
        next(iter(options.twin_names), None),
        True,
        console.progress,
        options.driver_file,
        witnessed=True,
        provoke=options.provoke,
    )
    folder = runner.new_folder(options.out)

    with console.step("drivers", makes=True):
        made = selected.build(console.progress, options.toolchain)
    preparation = Preparation.prepare(folder, console, options.cold, foreign=selected.foreign, strict=options.seed)
    foreign = selected.foreign is not None  # it is loaded in every scenario, where `driver: connect` stands
    scenarios = [s for s in selected.scenarios if not s.self_check and not s.socket.survival]
    trials = Shortages(scenarios, lambda scenario: foreign or loads_itself(scenario))
    driver = preparation.guest.prepare(made)
    results = preparation.results(driver, options.seed)
    current = Scarce(folder, results, console, preparation.stop, preparation.damage, trials=trials)
    current.begin()
    labs = preparation.admitted(options.jobs)
    with phase("the trials", inf, folder):
        Workers(
            current,
            lambda variant: preparation.supply(driver, options.isolate, current.learn, variant),
            Work(current.items(), preparation.stop),
        ).play(labs, preparation.room)
    if options.as_json:
        console.document((folder / "results.json").read_text(encoding="utf-8"))
    else:
        console.totals(results)
        for name, count in trials.summary.items():
            console.line(f"{name}: {count} allocations have failed, each once.")
        console.line(checks(preparation.guest))
        console.line(f"Report: {folder / 'report.html'}")
    return ended(results)
