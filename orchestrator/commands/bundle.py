"""`wsklab bundle`: a failure in one file, and its repetition from such a file (`wsklab repro BUNDLE`)."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import yaml

from wsklab import images
from wsklab.common import files
from wsklab.images.secure import sha256
from wsklab.orchestrator.commands.minimise import rate_of
from wsklab.orchestrator.commands.run_end import ended
from wsklab.orchestrator.commands.trying import Lab, folder_of
from wsklab.orchestrator.errors import ALL_PASS, NOT_PROVEN, SOME_FAIL, UsageError
from wsklab.orchestrator.field.replay import bundle
from wsklab.orchestrator.field.replay.bundle import About, Bundle, Rate
from wsklab.orchestrator.field.search import chances
from wsklab.orchestrator.field.search.trying import Pace
from wsklab.orchestrator.results import rows
from wsklab.orchestrator.results.console import Console
from wsklab.orchestrator.results.results import Results, ScenarioResult, write_atomically
from wsklab.orchestrator.run import evidence
from wsklab.orchestrator.run.selection import OWN
from wsklab.orchestrator.scenario.scenario import Scenario, load

MOST = 300
"""Trials of a bundle at the most, where its rate would ask for more."""

SPOILT = 10
"""Trials that the lab spoils before it is given up."""


@click.command("bundle")
@click.argument("folder", metavar="EVIDENCE", type=click.Path(path_type=Path))
@click.option(
    "--minimised",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The smallest scenario that fails so  [default: minimal.yaml of the folder that EVIDENCE is in, if it is one "
    "of `wsklab minimise`]",
)
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE.zip", help="The file  [default: NAME.zip here]")
def command(folder: Path, minimised: Path | None, out: Path | None) -> None:
    """Put a failure into one file for the bug tracker; EVIDENCE is a folder RUN/evidence/NAME.

    It holds the scenario, what was observed and recorded, the seed, versions, hashes of driver and images, the
    minimised scenario, how often it fails, and the recording of a run with --record. `wsklab repro FILE.zip`
    makes it again, on any host.
    """
    run = folder.resolve().parent.parent
    row, head, rate = told(folder, run)
    if minimised is None and (found := run.parent / "minimal.yaml").exists():
        minimised = found
    if minimised is not None:  # it is what will be run elsewhere
        rate = rate_of(run.parent, load(minimised), str(row["verdict"]), row["reasons"]) or rate
    path = out or Path(f"{row['name']}.zip")
    about = bundle.about_of(head, row, rate, recipes(str(head["target"].get("kind", ""))))
    names = bundle.write(path, about, folder, minimised)
    click.echo(f"{path}: {', '.join(names)}; {about.verdict} in {about.rate}.")
    click.echo(f"Elsewhere: wsklab repro {path}")


def told(folder: Path, run: Path) -> tuple[Mapping[str, Any], Mapping[str, Mapping[str, Any]], Rate]:
    """Return the row of an evidence folder, its run's results, and how often the scenario ended so.

    Raises UsageError.
    """
    try:
        head = files.read_json(run / "results.json", files.RESULT)
        every = rows.read(run)
    except (OSError, ValueError):
        raise UsageError(f"{folder}: is no evidence folder of a run; name RUN/evidence/NAME.") from None
    found = next((row for row in every if Path(row.evidence).name == folder.resolve().name), None)
    if found is None or not isinstance(head, dict):
        raise UsageError(f"{folder}: the run in {run} has no row of it.")
    alike = [row for row in every if row.name == found.name and row.verdict != "infra"]
    rate = Rate(failed=sum(row.verdict == found.verdict for row in alike), trials=len(alike))
    document = {"name": found.name, "verdict": found.verdict, "reasons": found.reasons, "repeat": found.repeat}
    return document, head, rate


def recipes(kind: str) -> dict[str, str]:
    """Recipe of a machine -> SHA-256, of those machines that are made from one here."""
    folder = Path(images.__file__).with_name("recipes")
    paths = {name: folder / f"{name}.yaml" for name in ("peer", kind)}
    return {f"recipe {name}": sha256(path) for name, path in paths.items() if path.exists()}


class Repeating:
    """Plays a bundle's scenario until it ends as it did there."""

    def __init__(self, bundle: Bundle, most: int, console: Console) -> None:
        self.bundle, self.most, self.console, self.pace = bundle, most, console, Pace()
        self.begun = self.spoilt = self.trials = 0
        self.same: ScenarioResult | None = None
        self.other: ScenarioResult | None = None

    def next(self) -> Scenario | None:
        """Return the scenario, as often as it takes."""
        if self.same is not None or self.begun >= self.most + self.spoilt or self.spoilt >= SPOILT:
            return None
        self.begun += 1
        return self.bundle.scenario

    def tell(self, scenario: Scenario, row: ScenarioResult) -> bool:
        """Hear of a trial."""
        if row.verdict == "infra":
            self.spoilt += 1
            return True
        self.trials += 1
        if self.bundle.about.same(row.verdict, tuple(row.reasons)):
            self.same = self.same or row
        elif row.verdict != "pass":
            self.other = self.other or row
        if (rate := self.pace.step(time.monotonic())) is not None:
            self.console.line(f"          trial {self.trials} of {self.most}, {rate:.0f} a minute", "dim")
        return row.verdict != "pass"


def again(path: Path, lab: Lab, most: int | None, out: Path | None, as_json: bool) -> int:
    """`wsklab repro BUNDLE`: run it until it ends as it did, and say what differs; returns the exit code."""
    read = bundle.read(path)
    console, about = Console(quiet=as_json), read.about
    if lab.driver_name == OWN and about.driver.profile != OWN:
        raise UsageError(f"{path}: is about the driver {about.driver.profile}; name its profile with --driver.")
    if lab.driver_name == OWN and lab.driver_file is None and lab.twin is None:
        lab = replace(lab, twin=about.driver.twin)
    lab = replace(lab, strict=lab.strict or about.strict, seed=about.seed)
    if most is None:
        rate = chances.looked_for(about.rate.failed, about.rate.trials) if about.rate.failed else 0.01
        most = min(MOST, chances.trials_for(rate))
    if read.recorded and not as_json:
        console.line(f"It holds a recording of the target: wsklab replay {path}")
    folder = folder_of(out)
    text = yaml.safe_dump(evidence.as_document(read.scenario), sort_keys=False, width=110)
    write_atomically(folder / "bundled.yaml", text)
    chosen = lab.select([str(folder / "bundled.yaml")], console)
    repeating = Repeating(read, most, console)
    which = "minimised scenario" if read.minimised else "scenario"
    console.line(f"{about.scenario}: {about.verdict} in {about.rate} there; the {which} is run {most} times at most")
    results = lab.play(chosen, repeating, folder, console)
    here = here_of(results, about)
    differs = [] if here is None else about.differences(here)
    if as_json:
        click.echo(json.dumps(document(repeating, differs, results), indent=1))
    else:
        _tell(repeating, differs, console, folder)
    if results.state != "complete":
        return ended(results)
    if repeating.same is not None:
        return ALL_PASS
    return SOME_FAIL if repeating.trials else NOT_PROVEN


def here_of(results: Results, about: About) -> About | None:
    """Return the same facts of this host."""
    row = {"name": about.scenario, "verdict": about.verdict, "reasons": about.reasons, "repeat": about.repeat}
    head = {"run": results.run, "target": results.target, "driver": results.driver}
    try:
        return bundle.about_of(head, row, about.rate, recipes(str(results.target.get("kind", ""))))
    except UsageError:
        return None


def _tell(repeating: Repeating, differs: list[str], console: Console, folder: Path) -> None:
    for text in differs:
        console.line(f"          {text}", "yellow")
    if repeating.same is not None:
        console.line(f"Reproduces: trial {repeating.trials} ended as it did there.", "green")
        console.line(f"Its evidence: {folder / repeating.same.evidence}")
        return
    if repeating.other is not None:
        console.verdict(repeating.other)
        console.line("Fails in another way than there.", "yellow")
    console.line(f"Does not reproduce: {chances.stopping(0, repeating.trials)}.", "yellow")


def document(repeating: Repeating, differs: list[str], results: Results) -> dict[str, object]:
    """Return the outcome for a program."""
    return {
        "state": results.state,
        "reproduces": repeating.same is not None,
        "trials": repeating.trials,
        "there": repeating.bundle.about.rate.model_dump(),
        "another": [] if repeating.other is None else list(repeating.other.reasons),
        "differs": differs,
    }
