"""`wsklab minimise`: the smallest scenario that still fails in the same way."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import yaml

from wsklab.common import files
from wsklab.orchestrator.commands.run_end import ended
from wsklab.orchestrator.commands.trying import Lab, lab_options
from wsklab.orchestrator.errors import ALL_PASS, NOT_PROVEN, UsageError
from wsklab.orchestrator.field.replay.bundle import Rate
from wsklab.orchestrator.field.search import chances
from wsklab.orchestrator.field.search.minimising import Minimiser, Trial, heading, plain
from wsklab.orchestrator.field.search.smaller import key
from wsklab.orchestrator.field.search.trying import Pace
from wsklab.orchestrator.results.console import Console
from wsklab.orchestrator.results.results import ScenarioResult, write_atomically
from wsklab.orchestrator.run import evidence, runner
from wsklab.orchestrator.scenario.scenario import Scenario, load

WHOLE, TRIALS, RESULT, ASKED = "whole.yaml", "trials.jsonl", "minimal.yaml", "asked.json"
"""The files of the folder: the scenario, every trial, the smallest one so far, and what was asked for."""


class Minimising:
    """Makes the trials that a minimiser asks for, with each of them on disk before the next is begun."""

    def __init__(self, minimiser: Minimiser, folder: Path, console: Console, told: list[str]) -> None:
        self.minimiser, self.folder, self.console, self.told = minimiser, folder, console, told
        self.pace = Pace()
        self._cases: dict[int, str] = {}  # of scenarios that are out for trial
        self.evidence = ""  # of the newest trial of the smallest scenario that failed, within its session

    def next(self) -> Scenario | None:
        """Return the next case."""
        scenario = self.minimiser.next()
        if scenario is not None:
            self._cases[id(scenario)] = self.minimiser.case
        return scenario

    def tell(self, scenario: Scenario, row: ScenarioResult) -> bool:
        """Hear of a trial. Kept are those of the result, and one of each smaller scenario that was seen to fail."""
        trial = Trial(self._cases.pop(id(scenario)), row.verdict, tuple(row.reasons))
        last, smallest = self.minimiser.last.trials, self.minimiser.smallest
        with (self.folder / TRIALS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(trial._asdict()) + "\n")
        same = self.minimiser.tell(trial)
        newest = same and trial.case == key(self.minimiser.smallest)
        if newest:
            self.evidence = row.evidence
        if self.minimiser.smallest is not smallest or self.minimiser.done:
            self.write()
        rate = self.pace.step(time.monotonic())
        if rate is not None:
            self.console.line(
                f"          trial {self.pace.count}, {rate:.0f} a minute: {self.minimiser.stage}; "
                f"{len(self.minimiser.smallest['steps'])} steps so far",
                "dim",
            )
        return newest or self.minimiser.last.trials > last

    def write(self) -> None:
        """Put the smallest scenario so far on disk."""
        text = yaml.safe_dump(self.minimiser.smallest, sort_keys=False, width=110)
        write_atomically(self.folder / RESULT, heading(self.minimiser, self.told) + text)


@click.command("minimise")
@click.argument("scenario", metavar="SCENARIO")
@click.option("--keep", metavar="REASON", help="Words of the reason that must stay; numbers in it do not count.")
@lab_options
@click.option(
    "--most",
    default=300,
    show_default=True,
    type=click.IntRange(1),
    help="Trials of the whole scenario at the most, when it does not fail.",
)
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="The folder for all of it.")
@click.option("--resume", is_flag=True, help="Go on with what --out DIR holds.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    scenario: str, keep: str | None, most: int, out: Path | None, resume: bool, as_json: bool, **lab: Any
) -> None:
    """Make a scenario that fails as small as it can be: the same verdict and reason, and no element to spare.

    SCENARIO is a file or a name. Steps, connections, sizes, times and options are left out, each time with trials until
    a sequential test says that it still fails, or does not. Ctrl-C stops it, --resume goes on. The result is run ten
    times, and its file says how often it failed. Exit codes: 0 minimised; 3 the scenario did not fail.
    """
    console = Console(quiet=as_json)
    where = Lab(**lab)
    if resume:
        if out is None:
            raise UsageError("--resume goes on with a folder; name it with --out DIR.")
        whole, keep, trials = resumed(out, keep, {"driver": where.driver_name, "twin": where.twin})
    else:
        chosen = where.select([scenario], console)
        if len(chosen.scenarios) != 1:
            raise UsageError(f"'{scenario}' names {len(chosen.scenarios)} scenarios; one at a time is minimised.")
        if keep is None:
            raise UsageError('say which reason must stay: --keep "ABORTIVE is clear" (`wsklab run` prints reasons).')
        told = evidence.as_document(chosen.scenarios[0])
        told.pop("capture", None)  # what is left in the end is no longer the capture's story
        whole, trials = Scenario.model_validate(told), []
        out = runner.new_folder(out)
        begin(out, whole, keep, {"driver": where.driver_name, "twin": where.twin})
    chosen = where.select([str(out / WHOLE)], console)
    minimiser = Minimiser(evidence.as_document(whole), keep, most, lambda text: None)
    for trial in trials:
        minimiser.tell(trial)
    if trials:
        console.line(f"          {len(trials)} trials are known from before: {minimiser.stage}")
    minimiser.say = lambda text: console.line(f"          {text}")
    subject = where.twin or where.driver_name
    head = [f"Minimised from {whole.name}, with the driver {subject}, target {where.target}."]
    asker = Minimising(minimiser, out, console, head)
    session = 1 + sum(1 for _ in out.glob("session-*"))
    code = ALL_PASS
    if minimiser.next() is not None:
        results = where.play(chosen, asker, runner.new_folder(out / f"session-{session}"), console)
        if results.state != "complete":
            console.line(f"Go on with: wsklab minimise {scenario} --resume --out {out} (and the same driver)")
            ended(results)
    asker.write()
    if not minimiser.found:
        code = NOT_PROVEN
    if as_json:
        click.echo(json.dumps(document(minimiser, out), indent=1))
    elif not minimiser.found:
        made = sum(count.trials for count in minimiser.counts.values())
        console.line(f"'{keep}' was not seen: {chances.stopping(0, made)}.", "yellow")
    else:
        console.line(
            f"{len(minimiser.smallest['steps'])} steps of {len(minimiser.document['steps'])} are left; of the last "
            f"{minimiser.last.trials} trials {minimiser.last.failed} failed in the same way."
        )
        console.line(f"Result: {out / RESULT}")
        if asker.evidence:
            folder = out / f"session-{session}" / asker.evidence
            console.line(f"For the bug tracker: wsklab bundle {folder}")
    sys.exit(code)


def begin(folder: Path, whole: Scenario, keep: str, driver: dict[str, str | None]) -> None:
    """Put down what is asked for."""
    document = yaml.safe_dump(evidence.as_document(whole), sort_keys=False, width=110)
    write_atomically(folder / WHOLE, document)
    write_atomically(folder / ASKED, json.dumps({"keep": keep, **driver}) + "\n")
    write_atomically(folder / TRIALS, "")


def resumed(folder: Path, keep: str | None, driver: dict[str, str | None]) -> tuple[Scenario, str, list[Trial]]:
    """Return what was asked for, and the trials that were made. Raises UsageError."""
    try:
        asked = json.loads(files.read_text(folder / ASKED, files.TEXT))
        lines = (folder / TRIALS).read_text(encoding="utf-8").splitlines()
        words = str(asked.pop("keep"))
    except (OSError, ValueError, KeyError, AttributeError):
        raise UsageError(f"{folder}: holds nothing to go on with; leave out --resume.") from None
    if keep not in (None, words):
        raise UsageError(f"{folder}: keeps '{words}'; leave out --keep, or name another folder.")
    if asked != driver:
        had = asked.get("twin") or asked.get("driver")
        raise UsageError(f"{folder}: was begun with the driver {had}; name the same one.")
    return load(folder / WHOLE), words, [trial for line in lines if (trial := trial_of(line)) is not None]


def rate_of(folder: Path, scenario: Scenario, verdict: str, reasons: Sequence[str]) -> Rate | None:
    """How often a scenario ended so in all its trials; None where the folder is not one of `wsklab minimise`."""
    try:
        lines = (folder / TRIALS).read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    case, wanted = key(evidence.as_document(scenario)), {plain(reason) for reason in reasons}
    trials = [t for line in lines if (t := trial_of(line)) and t.case == case and t.verdict != "infra"]
    same = [t for t in trials if t.verdict == verdict and {plain(reason) for reason in t.reasons} == wanted]
    return Rate(failed=len(same), trials=len(trials)) if same else None


def trial_of(line: str) -> Trial | None:
    """Return a trial from its line; None for one that was cut when the host went down."""
    try:
        found = json.loads(line)
        return Trial(str(found["case"]), str(found["verdict"]), tuple(str(reason) for reason in found["reasons"]))
    except (ValueError, KeyError, TypeError):
        return None


def document(minimiser: Minimiser, folder: Path) -> dict[str, object]:
    """Return the outcome for a program."""
    return {
        "failed": minimiser.found,
        "verdict": minimiser.verdict or None,
        "steps": len(minimiser.smallest["steps"]),
        "steps_before": len(minimiser.document["steps"]),
        "cases": minimiser.cases,
        "trials": sum(count.trials for count in minimiser.counts.values()),
        "last": {"failed": minimiser.last.failed, "trials": minimiser.last.trials},
        "file": str(folder / RESULT),
    }
