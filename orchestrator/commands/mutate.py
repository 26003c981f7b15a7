"""`wsklab mutate`: small mechanical faults in the lab's own code, and whether the lab notices them."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import click

from wsklab import images
from wsklab.drivers.build import BuiltDriver, Rebuild, build_driver
from wsklab.drivers.errors import DriverError
from wsklab.drivers.provider_tests import ProviderTests
from wsklab.orchestrator.commands.options import jobs_of
from wsklab.orchestrator.errors import ALL_PASS, SOME_FAIL, UsageError
from wsklab.orchestrator.mutation import results as mutant_results
from wsklab.orchestrator.mutation import sample as mutant_sample
from wsklab.orchestrator.mutation import shortage
from wsklab.orchestrator.mutation import table as mutant_table
from wsklab.orchestrator.mutation.explanations import explained, is_equivalent
from wsklab.orchestrator.mutation.mutants import Mutant
from wsklab.orchestrator.mutation.results import Order, Outcome
from wsklab.orchestrator.mutation.runs import Built, Subject, Trial, Workers
from wsklab.orchestrator.mutation.sample import OUTPUTS, Builder, Code
from wsklab.orchestrator.mutation.subjects import Client, Provider
from wsklab.orchestrator.results.console import Console
from wsklab.orchestrator.results.results import write_atomically
from wsklab.orchestrator.run import capacity, runner
from wsklab.orchestrator.run.preparation import Preparation
from wsklab.orchestrator.run.runner import Run
from wsklab.orchestrator.scenario import catalogue
from wsklab.orchestrator.trials import twin_matrix
from wsklab.orchestrator.trials.scarcity import Shortages, loads_itself

OUTCOMES = "mutants.jsonl"

MANY = "hundred-mixed-endings"
"""The scenario with more connections than the driver keeps contexts of closed ones; no fast one has so many."""

LOAD = "driver-load"
"""The scenario of the driver's load, which takes long. What runs then is called ..._start, ..._stop."""


def run(
    *,
    code: Code,
    words: Sequence[str],
    files: Sequence[str],
    operators: Sequence[str],
    sample: int,
    seed: int,
    jobs: int | None,
    out: Path | None,
    resume: Path | None,
    as_json: bool,
    strict: bool = False,
    again: bool = False,
) -> int:
    """Run a sample of mutants until first caught; returns the exit code: 0 when none survived."""
    found = mutant_sample.candidates(code)
    chosen = [m for m in mutant_sample.choose(found, files, operators, seed) if not is_equivalent(m)]
    scenarios = [s for s in catalogue.select(words) if not s.self_check]
    if not words:
        many = [s for s in scenarios if s.name == MANY]
        scenarios = [*twin_matrix.panel(scenarios), *(twin_matrix.strict_panel(scenarios) if strict else ()), *many]
    scenarios = [s for s in scenarios if strict or not s.socket.needs_strict]
    if not scenarios:
        raise UsageError(
            "these choices leave only scenarios that put the lab itself on trial, or need --strict; name others."
        )
    if resume and out:
        raise UsageError("--resume goes on in the folder that it names; --out cannot name another.")
    if again and not resume:
        raise UsageError("--again runs once more what an earlier run has not caught; name its folder with --resume.")
    outcomes = mutant_results.read(resume / OUTCOMES) if resume else []
    outcomes = [done for done in outcomes if done.result == "caught" or not again]
    folder = resume or runner.new_folder(out)
    console = Console(quiet=as_json)
    with console.step("drivers", makes=True):
        correct = build_driver(None, images.cache_folder(), console.progress)
    preparation = Preparation.prepare(folder, console, strict=seed if strict else None)
    with tempfile.TemporaryDirectory(prefix="wsklab-mutants-") as work:
        with console.step("the correct build, which mutants share"):
            builder = Builder(Rebuild(OUTPUTS[code], Path(work)), found.sources)
        labs = preparation.admitted(jobs, capacity.WRONG_CORES)
        supplies = [preparation.quietly().supply(correct, isolate=True) for _ in range(labs)]
        try:
            order = Order(scenarios, outcomes)
            shortages = _shortages if strict else None
            subject: Subject = Client() if code == "driver" else Provider(correct, _native(Path(work)))
            trials = [
                Trial(supply, subject, order, lambda name: _run(folder, preparation, correct, name, seed), shortages)
                for supply in supplies
            ]

            def keep(done: Outcome) -> None:
                outcomes.append(done)
                mutant_results.append(folder / OUTCOMES, done)
                mutant_table.line(console, done)
                if done.result == "survived":
                    shutil.rmtree(folder / "mutants" / done.id, ignore_errors=True)

            already = {done.id for done in outcomes}
            left = [mutant for mutant in chosen if mutant.id not in already]
            builds = _reachable(builder.stream(left, sample - len(already)), keep, strict)
            Workers(builds, keep, preparation.stop).play(list(zip(supplies, trials, strict=True)))
        finally:
            for supply in supplies:
                supply.retire()
            about: dict[str, Any] = {
                **preparation.results(correct, seed).run,
                "code": code,
                "candidates": len(found.mutants),
                "equivalent": sum(map(is_equivalent, found.mutants)),
                "without_effect": builder.without_effect,
                "scenarios": len(scenarios),
                "strict": strict,
            }
            document = mutant_results.document(about, outcomes)
            write_atomically(folder / "mutants.json", json.dumps(document, indent=1) + "\n")
    if as_json:
        click.echo(json.dumps(document, indent=1))
    else:
        mutant_table.show(console, document)
        console.line(f"\n{folder / 'mutants.json'}; evidence of what was caught: {folder}/mutants/ID/evidence")
    return SOME_FAIL if document["totals"]["caught"] < document["totals"]["all"] else ALL_PASS


def _run(folder: Path, preparation: Preparation, driver: BuiltDriver, name: str, seed: int) -> Run:
    """Return a run of its own for each mutant, so that its evidence lies together."""
    place = folder / "mutants" / name
    shutil.rmtree(place, ignore_errors=True)  # what a run that was cut short has left
    place.mkdir(parents=True)
    return Run(place, preparation.results(driver, seed), Console(quiet=True))


def _shortages(mutant: Mutant) -> Shortages:
    """Begin what a mutant that no scenario has caught is run through, with one allocation after the other failing."""
    loads = mutant.file.endswith("driver.c") or mutant.function.endswith(("_start", "_stop"))
    chosen = catalogue.select([twin_matrix.SHORTEST, *([LOAD] if loads else [])])
    return Shortages([*chosen, *shortage.scenarios(mutant, catalogue.built_in())], loads_itself)


def _reachable(builds: Iterator[Built], keep: Callable[[Outcome], None], strict: bool) -> Iterator[Built]:
    """Those that are worth a run; of the others it is known why they survive."""
    for built in builds:
        if (known := explained(built.mutant)) and not (strict and known.strict_reaches):
            keep(replace(mutant_results.outcome(built.mutant, built.source, [], 0.0), why=known.why))
        else:
            yield built


def _native(work: Path) -> Callable[[Built], str | None]:
    """Return what runs the provider's own tests with a mutant in it."""
    tests = ProviderTests(work / "native")

    def failure(built: Built) -> str | None:
        mutant = built.mutant
        try:
            return tests.failure(mutant.id, mutant.file, mutant.apply(built.source))
        except DriverError:
            return None  # gcc for Linux may refuse what it takes for Windows; the lab has the word then

    return failure


def listing(code: Code, files: Sequence[str], operators: Sequence[str], seed: int, as_json: bool) -> None:
    """Print the mutants in the order in which they would be run, without building anything."""
    found = mutant_sample.candidates(code)
    chosen = mutant_sample.choose(found, files, operators, seed)
    if as_json:
        click.echo(
            json.dumps(
                [
                    {
                        "id": m.id,
                        "file": m.file,
                        "line": m.line,
                        "function": m.function,
                        "operator": m.operator,
                        "diff": m.diff(found.sources[m.file]),
                    }
                    for m in chosen
                ],
                indent=1,
            )
        )
        return
    for m in chosen:
        click.echo(f"{m.id}  {m.file}:{m.line} {m.operator} in {m.function}: {m.before!r} -> {m.after!r}")
    print(f"{len(chosen)} mutants", file=sys.stderr)


@click.command("mutate")
@click.argument("scenarios", nargs=-1, metavar="[SCENARIO]...")
@click.option(
    "--code",
    default="driver",
    show_default=True,
    type=click.Choice(["driver", "provider"]),
    help="What is mutated: the lab's own driver, or the stand-in's WSK provider.",
)
@click.option("--sample", default=40, show_default=True, type=click.IntRange(1), metavar="N", help="So many mutants.")
@click.option("--seed", default=1, show_default=True, type=int, help="Which ones are drawn.")
@click.option("--file", "files", multiple=True, metavar="NAME.c", help="Only of this file (may be repeated).")
@click.option("--operator", "operators", multiple=True, metavar="NAME", help="Only of this kind (may be repeated).")
@click.option("--strict", is_flag=True, help="On the strict stand-in, which sees what is wrong with locks and memory.")
@click.option("--jobs", default="1", show_default=True, metavar="N|auto", callback=jobs_of, help="Labs side by side.")
@click.option("--list", "only_list", is_flag=True, help="Only list the mutants, in the order drawn.")
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="The folder for results (must be empty).")
@click.option(
    "--resume",
    type=click.Path(path_type=Path, exists=True),
    metavar="DIR",
    help="Go on in this folder of a run that was cut short, or add to it with a greater --sample.",
)
@click.option("--again", is_flag=True, help="With --resume: once more those that were not caught, and then the others.")
@click.option("--json", "as_json", is_flag=True, help="Print mutants.json on standard output, and nothing else.")
def command(
    scenarios: tuple[str, ...],
    code: Literal["driver", "provider"],
    sample: int,
    seed: int,
    files: tuple[str, ...],
    operators: tuple[str, ...],
    strict: bool,
    jobs: int | None,
    only_list: bool,
    out: Path | None,
    resume: Path | None,
    again: bool,
    as_json: bool,
) -> None:
    """Put small faults into the lab's own driver, one at a time, and see whether the scenarios catch them.

    Exit code: 0 all caught, 1 some not. Writes mutants.json and mutants.jsonl, and keeps the evidence of each catch.
    """
    if only_list:
        listing(code, files, operators, seed, as_json)
        return
    sys.exit(
        run(
            code=code,
            words=scenarios,
            files=files,
            operators=operators,
            sample=sample,
            seed=seed,
            jobs=jobs,
            out=out,
            resume=resume,
            as_json=as_json,
            strict=strict,
            again=again,
        )
    )
