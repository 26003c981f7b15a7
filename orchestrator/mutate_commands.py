"""`wsklab mutate`: small mechanical faults in the lab's own code, and whether the lab notices them."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from wsklab import images
from wsklab.drivers.build import BuiltDriver, Rebuild, build_driver
from wsklab.drivers.errors import DriverError
from wsklab.drivers.provider_tests import ProviderTests
from wsklab.orchestrator import mutant_results, mutant_sample, mutant_table, runner, suite, twin_matrix
from wsklab.orchestrator.console import Console
from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.ground import Ground
from wsklab.orchestrator.lab import Lab
from wsklab.orchestrator.mutant_explanations import explained, is_equivalent
from wsklab.orchestrator.mutant_results import Order, Outcome
from wsklab.orchestrator.mutant_runs import Built, Lane, Lanes, Subject, Trial
from wsklab.orchestrator.mutant_sample import OUTPUTS, Builder, Code
from wsklab.orchestrator.mutant_subjects import Client, Provider
from wsklab.orchestrator.results import ALL_PASS, SOME_FAIL, write_atomically
from wsklab.orchestrator.runner import Run

OUTCOMES = "mutants.jsonl"


def run(*, code: Code, words: Sequence[str], files: Sequence[str], operators: Sequence[str], sample: int, seed: int,
        jobs: int | None, out: Path | None, resume: Path | None, as_json: bool) -> int:
    """Run a sample of mutants until first caught; returns the exit code: 0 when none survived."""
    found = mutant_sample.candidates(code)
    chosen = [m for m in mutant_sample.choose(found, files, operators, seed) if not is_equivalent(m)]
    scenarios = [s for s in suite.select(words) if not s.self_check]
    scenarios = scenarios if words else twin_matrix.panel(scenarios)
    if not scenarios:
        raise UsageError("these choices leave only scenarios that put the lab itself on trial; name others.")
    if resume and out:
        raise UsageError("--resume goes on in the folder that it names; --out cannot name another.")
    outcomes = mutant_results.read(resume / OUTCOMES) if resume else []
    folder = resume or runner.new_folder(out)
    console = Console(quiet=as_json)
    with console.step("drivers", makes=True):
        correct = build_driver(None, images.cache_folder(), console.progress)
    ground = Ground.prepare(folder, console)
    with tempfile.TemporaryDirectory(prefix="wsklab-mutants-") as work:
        with console.step("the correct build, which mutants share"):
            builder = Builder(Rebuild(OUTPUTS[code], Path(work)), found.sources)
        lanes = [Lane(lambda: ground.quietly().boot(correct)) for _ in range(ground.admitted(jobs))]
        try:
            order = Order(scenarios, outcomes)
            subject: Subject = Client() if code == "driver" else Provider(correct, _native(Path(work)))
            trials = [Trial(lane, subject, order, lambda name: _run(folder, ground, correct, name, seed))
                      for lane in lanes]

            def keep(done: Outcome) -> None:
                outcomes.append(done)
                mutant_results.append(folder / OUTCOMES, done)
                mutant_table.line(console, done)
                if done.result == "survived":
                    shutil.rmtree(folder / "mutants" / done.id, ignore_errors=True)

            already = {done.id for done in outcomes}
            left = [mutant for mutant in chosen if mutant.id not in already]
            builds = _reachable(builder.stream(left, sample - len(already)), keep)
            Lanes(builds, keep).play(list(zip(lanes, trials, strict=True)))
        finally:
            for lane in lanes:
                lane.stop()
            about: dict[str, Any] = {
                **ground.results(correct, seed).run, "code": code, "candidates": len(found.mutants),
                "equivalent": sum(map(is_equivalent, found.mutants)),
                "without_effect": builder.without_effect, "scenarios": len(scenarios)}
            document = mutant_results.document(about, outcomes)
            write_atomically(folder / "mutants.json", json.dumps(document, indent=1) + "\n")
    if as_json:
        click.echo(json.dumps(document, indent=1))
    else:
        mutant_table.show(console, document)
        console.line(f"\n{folder / 'mutants.json'}; evidence of what was caught: {folder}/mutants/ID/evidence")
    return SOME_FAIL if document["totals"]["caught"] < document["totals"]["all"] else ALL_PASS


def _run(folder: Path, ground: Ground, driver: BuiltDriver, name: str, seed: int) -> Run:
    """A run of its own for each mutant, so that its evidence lies together."""
    place = folder / "mutants" / name
    shutil.rmtree(place, ignore_errors=True)  # what a run that was cut short has left
    place.mkdir(parents=True)
    return Run(place, ground.results(driver, seed), Console(quiet=True), boot=_lends_its_own)


def _reachable(builds: Iterator[Built], keep: Callable[[Outcome], None]) -> Iterator[Built]:
    """Those that are worth a run; of the others it is known why they survive."""
    for built in builds:
        if known := explained(built.mutant):
            keep(replace(mutant_results.outcome(built.mutant, built.source, [], 0.0), why=known.why))
        else:
            yield built


def _native(work: Path) -> Callable[[Built], str | None]:
    """The provider's own tests, with a mutant in it."""
    tests = ProviderTests(work / "native")

    def failure(built: Built) -> str | None:
        mutant = built.mutant
        try:
            return tests.failure(mutant.id, mutant.file, mutant.apply(built.source))
        except DriverError:
            return None  # gcc for Linux may refuse what it takes for Windows; the lab has the word then

    return failure


def _lends_its_own() -> Lab:
    raise AssertionError("the labs of mutants come from their lanes")


def listing(code: Code, files: Sequence[str], operators: Sequence[str], seed: int, as_json: bool) -> None:
    """Print the mutants in the order in which they would be run, without building anything."""
    found = mutant_sample.candidates(code)
    chosen = mutant_sample.choose(found, files, operators, seed)
    if as_json:
        click.echo(json.dumps([{"id": m.id, "file": m.file, "line": m.line, "function": m.function,
                                "operator": m.operator, "diff": m.diff(found.sources[m.file])} for m in chosen],
                              indent=1))
        return
    for m in chosen:
        click.echo(f"{m.id}  {m.file}:{m.line} {m.operator} in {m.function}: {m.before!r} -> {m.after!r}")
    print(f"{len(chosen)} mutants", file=sys.stderr)
