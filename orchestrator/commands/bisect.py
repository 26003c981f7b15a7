"""`wsklab bisect`: which build of a driver broke it, found by running builds."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from wsklab.orchestrator.errors import ALL_PASS, INTERRUPTED, NOT_PROVEN, WRONG_USAGE, LabError, UsageError
from wsklab.orchestrator.history.bisection import (
    Build,
    Found,
    Order,
    Outcome,
    between,
    broken,
    builds,
    first,
    judged,
    most_tests,
    search,
)
from wsklab.orchestrator.history.records import read
from wsklab.orchestrator.history.statistics import repeats_for
from wsklab.orchestrator.results.console import Console
from wsklab.orchestrator.results.results import UNLOAD, write_atomically
from wsklab.orchestrator.run import runner

REPEATS = 5
"""Times that the bad build is run to see how often it fails."""

ATTEMPTS = 2
"""Runs of a build of which the lab let nothing be judged."""

Verdicts = Mapping[str, Sequence[str]]


@dataclass
class Trial:
    """Builds run one after another, each in a folder of its own."""

    folder: Path
    scenarios: tuple[str, ...]
    """The words of `wsklab run` that choose scenarios."""
    options: tuple[str, ...]
    """Its other words, the same for all builds."""
    console: Console
    why: str = ""
    """The last words of the last run."""

    def narrow(self, names: set[str]) -> None:
        """From now on run no other scenarios than these: one that is broken otherwise would only stand in the way."""
        names = names - {UNLOAD}
        if names and not any(word.endswith((".yaml", ".yml")) or "/" in word for word in self.scenarios):
            self.scenarios = tuple(sorted(names))

    def run(self, build: Build, number: int, repeats: int, until_fail: bool) -> Verdicts:
        """Run one build; return scenario -> verdicts, none if not judged. Raises KeyboardInterrupt, UsageError.

        A run in which the lab failed is made once more: what a busy host did says nothing of a build.
        """
        for attempt in range(1, ATTEMPTS + 1):
            again = "" if attempt == 1 else "-again"
            folder = self.folder / f"{number:02}-{build.file.parent.name}-{build.file.stem}{again}"
            code, self.why = self._run(build, folder, repeats, until_fail)
            if code == WRONG_USAGE and number == 1:
                raise UsageError(self.why)
            verdicts = _verdicts(folder)
            if any(verdict != "infra" for seen in verdicts.values() for verdict in seen):
                return verdicts
            self.console.line(f"          {build.name}: {self.why}", "yellow")
            if code == WRONG_USAGE:
                break  # it is the file: the words are those of the first build
        return {}

    def _run(self, build: Build, folder: Path, repeats: int, until_fail: bool) -> tuple[int, str]:
        """Run `wsklab run` into a folder; returns its exit code, and its last words."""
        command = [
            sys.executable,
            "-m",
            "wsklab.orchestrator",
            "run",
            *self.scenarios,
            *self.options,
            "--driver-file",
            str(build.file),
        ]
        command += ["--repeat", str(repeats), "--out", str(folder), "--history", "off", "--known", "off"]
        # Once and until it fails would be without end.
        command += ["--until-fail"] if until_fail and repeats > 1 else []
        with (self.folder / f"{folder.name}.log").open("w+", encoding="utf-8") as log:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
            try:
                code = process.wait()
            except KeyboardInterrupt:
                process.wait()  # it was interrupted, too, and puts its own things in order
                raise
            if code == INTERRUPTED:
                raise KeyboardInterrupt
            log.seek(0)
            return code, log.read().strip().rpartition("\n")[2].removeprefix("wsklab: ")


def _verdicts(folder: Path) -> dict[str, list[str]]:
    """Return scenario -> verdicts of a run; nothing where it did not come to have results."""
    found: dict[str, list[str]] = {}
    if (folder / "results.json").exists():
        for row in read(folder, "")[1]:
            found.setdefault(row.scenario, []).append(row.verdict)
    return found


def run(
    scenarios: tuple[str, ...],
    options: tuple[str, ...],
    folder: Path,
    chosen: Sequence[Build],
    repeat: int | None,
    risk: float,
    as_json: bool,
) -> int:
    """Find the build; returns the exit code. Raises LabError when the two ends are not as they were said to be."""
    console = Console(quiet=as_json)
    trial = Trial(folder, scenarios, options, console)
    good, bad = chosen[0], chosen[-1]
    tested: list[dict[str, object]] = []

    def tried(build: Build, repeats: int, until_fail: bool, judge: Callable[[Verdicts], Outcome]) -> Verdicts:
        with console.step(build.name) as said:
            verdicts = trial.run(build, len(tested) + 1, repeats, until_fail)
            rows = [verdict for seen in verdicts.values() for verdict in seen]
            counts = ", ".join(f"{rows.count(verdict)} {verdict}" for verdict in dict.fromkeys(rows)) or "no rows"
            outcome = judge(verdicts)
            said(f"{outcome}  ({counts})")
        tested.append({"build": build.name, "file": str(build.file), "outcome": outcome, "verdicts": dict(verdicts)})
        return verdicts

    console.line(
        f"{len(chosen)} builds, from {good.name} to {bad.name}; about {most_tests(len(chosen))} of them are run"
    )
    verdicts = tried(bad, repeat or REPEATS, False, first)
    signature = broken(verdicts)
    if first(verdicts) == "skip":
        raise LabError(f"{bad.name} cannot be judged: {trial.why.rstrip('.')}; name another bad build with --bad.")
    if not signature:
        raise LabError(
            f"{bad.name} passed {repeat or REPEATS} times, so there is nothing to search for; "
            "name a worse build, other scenarios, or more repeats with --repeat."
        )
    trial.narrow(signature)
    failing = min(
        (sum(v in ("fail", "inconclusive") for v in verdicts[name]) + 1) / (len(verdicts[name]) + 2)
        for name in signature
    )
    # Laplace's rule of succession: what always failed so far will not always.
    repeats = repeat or repeats_for(failing, risk)
    console.line(
        f"          looked for: {', '.join(sorted(signature))}; a build is good after {repeats} clean repeats "
        f"(chance of being wrong: {(1 - failing) ** repeats:.1%})"
    )

    def test(place: int) -> Outcome:
        verdicts = tried(chosen[place], repeats, True, lambda verdicts: judged(verdicts, signature))
        return judged(verdicts, signature)

    if (outcome := test(0)) != "good":
        why = "fails, too" if outcome == "bad" else f"cannot be judged: {trial.why.rstrip('.')}"
        raise LabError(f"{good.name} {why}; name an older build with --good.")
    found = search(len(chosen), test)
    code = NOT_PROVEN if found.skipped else ALL_PASS
    document = _document(chosen, found, tested, sorted(signature), repeats)
    write_atomically(folder / "bisect.json", json.dumps(document, indent=1) + "\n")
    if as_json:
        click.echo(json.dumps(document, indent=1))
    else:
        _tell(console, chosen, found)
        console.line(f"Each build's report: {folder}/NN-NAME/report.html")
    return code


def _tell(console: Console, chosen: Sequence[Build], found: Found) -> None:
    first, last = chosen[found.bad], chosen[found.good]
    if found.skipped:
        names = ", ".join(chosen[place].name for place in found.skipped)
        console.line(f"\nIt broke in one of {names}, {first.name}: all but the last could not be judged.", "yellow")
    else:
        console.line(f"\n{first.name} is the first bad build ({first.file}).", "red")
    console.line(f"{last.name} is the last good one ({last.file}).")


def _document(
    chosen: Sequence[Build], found: Found, tested: Sequence[object], signature: Sequence[str], repeats: int
) -> dict[str, object]:
    return {
        "first_bad": None if found.skipped else chosen[found.bad].name,
        "last_good": chosen[found.good].name,
        "suspects": [chosen[place].name for place in (*found.skipped, found.bad)],
        "scenarios": list(signature),
        "repeats": repeats,
        "tested": list(tested),
    }


@click.command("bisect")
@click.argument("scenarios", nargs=-1, metavar="[SCENARIO]...")
@click.option("--good", required=True, metavar="A", help="A build that passes.")
@click.option("--bad", required=True, metavar="B", help="A later build that does not.")
@click.option(
    "--driver-dir",
    required=True,
    type=click.Path(path_type=Path),
    metavar="BUILDS",
    help="The builds: files *.sys, or folders with one in each; builds.txt may list them, oldest first.",
)
@click.option(
    "--order", type=click.Choice(["manifest", "name", "mtime"]), help="What is older [default: builds.txt, else name]"
)
@click.option("--tag", "tags", multiple=True, metavar="TAG", help="Only scenarios with this tag (may be repeated).")
@click.option("--exclude", multiple=True, metavar="TAG", help="No scenarios with this tag (may be repeated).")
@click.option("--target", default="standin", show_default=True, metavar="standin|IMAGE", help="What runs the driver.")
@click.option("--driver", default="wsklab", show_default=True, metavar="PROFILE", help="The driver's profile.")
@click.option("--verifier", metavar="SET", help="Windows: have Driver Verifier watch the driver.")
@click.option("--seed", default=1, show_default=True, type=int, help="Seed of everything random.")
@click.option(
    "--repeat",
    type=click.IntRange(1),
    metavar="N",
    help="Run each build so often [default: as often as its rate of failing and --risk ask for].",
)
@click.option(
    "--risk",
    default=0.05,
    show_default=True,
    type=click.FloatRange(0, 0.5, min_open=True),
    help="Chance of taking one bad build for good.",
)
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="The folder of all runs (must be empty).")
@click.option("--json", "as_json", is_flag=True, help="Print bisect.json on standard output, and nothing else.")
def command(
    scenarios: tuple[str, ...],
    good: str,
    bad: str,
    driver_dir: Path,
    order: Order | None,
    tags: tuple[str, ...],
    exclude: tuple[str, ...],
    target: str,
    driver: str,
    verifier: str | None,
    seed: int,
    repeat: int | None,
    risk: float,
    out: Path | None,
    as_json: bool,
) -> None:
    """Find the build that broke a driver, by running builds between a good and a bad one.

    The bad build is run first: what does not pass with it is what is looked for. How often it fails says how many
    clean repeats make a build good. A build that cannot be judged is passed over.

    Exit codes: 0 the build is known; 3 it is one of several, or the two ends are not as was said.
    """
    chosen = between(builds(driver_dir, order), good, bad)
    named = [*scenarios, *(word for tag in tags for word in ("--tag", tag))]
    named += [word for tag in exclude for word in ("--exclude", tag)]
    words = ["--target", target, "--driver", driver, "--seed", str(seed)]
    words += ["--verifier", verifier] if verifier else []
    # A kept snapshot of a build that is run once is of no use; a foreign driver is put into a lab that serves all.
    words += ["--cold"] if driver.partition(":")[0] == "wsklab" else []
    sys.exit(run(tuple(named), tuple(words), runner.new_folder(out), chosen, repeat, risk, as_json))
