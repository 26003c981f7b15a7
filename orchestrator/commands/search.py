"""`wsklab run --until-fail N`: trials until one fails, and what it proves when none does."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path

import click
import yaml

from wsklab.orchestrator.commands.run_end import ended
from wsklab.orchestrator.commands.run_options import Options
from wsklab.orchestrator.commands.trying import Lab, folder_of
from wsklab.orchestrator.errors import ALL_PASS, NOT_PROVEN, SOME_FAIL, UsageError
from wsklab.orchestrator.field.search.search import Search, Try
from wsklab.orchestrator.field.search.trying import Pace
from wsklab.orchestrator.results.console import Console
from wsklab.orchestrator.results.results import Results, ScenarioResult, write_atomically
from wsklab.orchestrator.run import evidence
from wsklab.orchestrator.scenario.scenario import Scenario

FIELD = "field"
"""The tag of scenarios made from captures."""

TRIALS, FAILING = "trials.jsonl", "failing.yaml"


class Searching:
    """Makes the trials of a search, and keeps of each what makes it again."""

    def __init__(self, search: Search, folder: Path, console: Console) -> None:
        self.search, self.folder, self.console = search, folder, console
        self.pace = Pace()
        self.failed: ScenarioResult | None = None
        self._out: dict[int, Try] = {}  # trials that are being made

    def next(self) -> Scenario | None:
        """Return the next trial."""
        found = self.search.next()
        if found is None:
            return None
        tried, scenario = found
        self._out[id(scenario)] = tried
        return scenario

    def tell(self, scenario: Scenario, row: ScenarioResult) -> bool:
        """Hear of a trial; those that did not pass are kept."""
        tried = self._out.pop(id(scenario))
        line = {"trial": tried.number, "seed": tried.seed, "varied": tried.varied, "verdict": row.verdict}
        with (self.folder / TRIALS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        if self.search.tell(tried, row.verdict) and self.failed is None:
            self.failed = row
            self._keep(tried)
        if (rate := self.pace.step(time.monotonic())) is not None:
            self.console.line(f"          trial {self.pace.count}, {rate:.0f} a minute: {self.search.proves}", "dim")
        return row.verdict != "pass"

    def _keep(self, tried: Try) -> None:
        words = "; ".join(tried.varied) or "as it was written"
        text = yaml.safe_dump(tried.document, sort_keys=False, width=110)
        write_atomically(self.folder / FAILING, f"# Trial {tried.number}, seed '{tried.seed}': {words}.\n{text}")


def asked(options: Options) -> int:
    """`wsklab run --until-fail N`; returns the exit code. Raises UsageError for what does not go with it."""
    lab = Lab(
        target=options.target,
        driver_name=options.driver_name,
        driver_file=options.driver_file,
        twin=next(iter(options.twin_names), None),
        toolchain=options.toolchain,
        verify=options.verify,
        strict=options.strict,
        jobs=options.jobs,
        isolate=options.isolate,
        seed=options.seed,
    )
    others = ("tags", "exclude", "repeat", "cold", "hold", "debugger", "view", "variants", "variant_names")
    if any(getattr(options, name) != getattr(Options(), name) for name in others):
        raise UsageError("--until-fail N goes with scenarios and the lab's options, not with these.")
    return run(options.scenarios, lab, options.until_fail or 1, options.vary, options.out, options.as_json)


def run(words: Sequence[str], lab: Lab, most: int, vary: bool | None, out: Path | None, as_json: bool) -> int:
    """Search; returns the exit code. `vary`: None varies what was made from a capture."""
    console = Console(quiet=as_json)
    chosen = lab.select(words, console)
    documents = [(evidence.as_document(s), FIELD in s.tags if vary is None else vary) for s in chosen.scenarios]
    folder = folder_of(out)
    search = Search(documents, most, lab.seed)
    asker = Searching(search, folder, console)
    results = lab.play(chosen, asker, folder, console)
    if as_json:
        click.echo(json.dumps(document(asker, results, folder), indent=1))
    else:
        _tell(asker, console)
    if results.state != "complete":
        return ended(results)
    if search.failing is not None:
        return SOME_FAIL
    return ALL_PASS if search.passed >= most else NOT_PROVEN


def _tell(asker: Searching, console: Console) -> None:
    search, tried = asker.search, asker.search.failing
    if tried is None or asker.failed is None:
        console.line(f"Does not reproduce: {search.proves}.")
        return
    console.verdict(asker.failed)
    console.line(f"Trial {tried.number} failed ({'; '.join(tried.varied) or 'as it was written'}): {search.proves}.")
    console.line(
        f"That trial as a scenario: {asker.folder / FAILING}; its evidence: {asker.folder / asker.failed.evidence}"
    )


def document(asker: Searching, results: Results, folder: Path) -> dict[str, object]:
    """Return the outcome for a program."""
    search, tried = asker.search, asker.search.failing
    return {
        "state": results.state,
        "failed": tried is not None,
        "trials": search.passed + int(tried is not None),
        "spoilt": search.spoilt,
        "proves": search.proves,
        "trial": None if tried is None else {"number": tried.number, "seed": tried.seed, "varied": tried.varied},
        "reasons": [] if asker.failed is None else list(asker.failed.reasons),
        "file": None if tried is None else str(folder / FAILING),
    }
