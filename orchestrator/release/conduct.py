"""Carrying out a plan: run after run, each a `wsklab run` of its own, resumed where it was stopped."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from wsklab.common import files
from wsklab.orchestrator.errors import LabError, UsageError
from wsklab.orchestrator.release.plan import Loaded, Place, places, words
from wsklab.orchestrator.release.records import INGREDIENTS, RUNS, attempts, boot_of, counted
from wsklab.orchestrator.release.statement import Begun
from wsklab.orchestrator.results.results import UNLOAD, write_atomically
from wsklab.orchestrator.run import evidence
from wsklab.orchestrator.scenario.scenario import Scenario, load

PLAN, KNOWN, BEGUN, SCENARIOS = "plan.yaml", "known.yaml", "begun.json", "scenarios"

ATTEMPTS = 2
"""Runs of one boot's share in one call: the second makes up for what the first has not judged, if rules allow that."""


def scenario_file(folder: Path, driver: int, name: str) -> Path:
    """Return where a scenario of the plan's `driver` (from 1) is kept."""
    return folder / SCENARIOS / f"{driver:02}" / f"{name}.yaml"


def begin(folder: Path, loaded: Loaded, begun: Begun, chosen: Mapping[str, Sequence[Scenario]]) -> None:
    """Put on disk what may not change any more: plan, errata, scenarios. Raises OSError, LabError."""
    for number, driver in enumerate(loaded.plan.drivers, 1):
        for scenario in chosen[driver]:
            path = scenario_file(folder, number, scenario.name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(said(scenario), encoding="utf-8")
            if load(path) != scenario:
                raise LabError(f"{path}: the scenario cannot be kept as it is, which is a mistake in wsklab")
    if loaded.errata_content is not None:
        (folder / KNOWN).write_bytes(loaded.errata_content)
    (folder / PLAN).write_bytes(loaded.content)
    write_atomically(folder / BEGUN, begun.model_dump_json(indent=1) + "\n")


def said(scenario: Scenario) -> str:
    """Return a scenario as YAML."""
    return yaml.safe_dump(evidence.as_document(scenario), sort_keys=False, width=110)


def digests(chosen: Mapping[str, Sequence[Scenario]]) -> dict[str, dict[str, str]]:
    """Return driver -> scenario -> SHA-256 of what it says."""
    return {
        driver: {scenario.name: hashlib.sha256(said(scenario).encode()).hexdigest() for scenario in scenarios}
        for driver, scenarios in chosen.items()
    }


def begun_in(folder: Path) -> Begun:
    """Return what was settled in a folder. Raises UsageError."""
    try:
        return Begun.model_validate_json(files.read_text(folder / BEGUN, files.TEXT))
    except OSError as error:
        raise UsageError(f"{folder}: no qualification has begun there ({files.why(error)}).") from None
    except ValueError:
        raise UsageError(f"{folder / BEGUN}: it is not of this version of wsklab; begin in another folder.") from None


def unchanged(folder: Path, before: Begun, now: Begun) -> None:
    """See that everything is as it was when it began, but the time. Raises UsageError."""
    for what, same in (
        ("the plan", before.plan_sha256 == now.plan_sha256),
        ("the file of errata", before.errata_sha256 == now.errata_sha256),
        ("--rehearsal", before.rehearsal == now.rehearsal),
        ("wsklab itself", before.lab == now.lab),
        ("what the scenarios say", before.scenarios == now.scenarios),
    ):
        if not same:
            raise UsageError(
                f"{folder}: {what} is not as it was when this began, so that its runs cannot be put together; "
                "begin again with another --out."
            )


@dataclass(frozen=True)
class Conduct:
    """The runs of one plan in one folder."""

    folder: Path
    loaded: Loaded
    begun: Begun
    play: Callable[[Sequence[str]], object]
    """`wsklab run` with these words. Raises what it raises, KeyboardInterrupt too."""
    takes: frozenset[str]
    """The options that it has, without their dashes."""
    ingredients: Callable[[Path], Mapping[str, str]]
    """Hashes of what took part in the run of that folder, beside what its results name."""
    say: Callable[[str], None]
    certain: Callable[[], Iterable[str]] = tuple
    """Why it is a no-go already, whatever is still run; asked before each run."""
    stop_early: bool = False
    """End there, as nothing that is still to be run can make it a go."""

    def run(self) -> None:
        """Run all that is missing, boot by boot, so that early boots tell of every cell."""
        told = False
        shares = self.loaded.plan.per_boot
        every = [(boot, share, place) for boot, share in enumerate(shares, 1) for place in places(self.loaded.plan)]
        for number, (boot, share, place) in enumerate(every, 1):
            for _ in range(ATTEMPTS):
                missing = self.missing(place, boot, share)
                if not missing:
                    break
                if not told and (why := next(iter(self.certain()), None)):
                    told = True
                    self.say(f"It is a no-go already: {why}.")
                    if self.stop_early:
                        self.say("What is left of the plan is not run (--stop-early); --resume without that runs it.")
                        return
                    self.say("What is left of the plan is run all the same (--stop-early would end here).")
                self.say(f"[{number}/{len(every)}] {place.title}, boot {boot} of {len(shares)}")
                self._one(place, boot, missing)

    def missing(self, place: Place, boot: int, share: int) -> dict[str, int]:
        """Return scenario -> how many of its runs are still to be made in a boot's share.

        What was judged is not run again, whatever the verdict. What was not is made up for when the rules bear it.
        """
        names = list(self.begun.scenarios[place.driver])
        done, complete = Counter[str](), False
        for run in attempts(self.folder, place):
            if boot_of(run) == boot:
                done += counted(run)
                complete = _state(run) == "complete"
        rules = self.loaded.plan.rules
        if complete and not rules.inconclusive and not rules.infra:
            return {}
        missing = {name: share - done[name] for name in names if done[name] < share}
        if not missing and not (complete and done[UNLOAD]):
            return {names[0]: 1}  # so that the driver's unload is judged
        return missing

    def _one(self, place: Place, boot: int, missing: Mapping[str, int]) -> None:
        home = self.folder / RUNS / place.folder
        home.mkdir(parents=True, exist_ok=True)
        attempt = 1 + len([*home.glob(f"boot-{boot:02}-*")])
        out = home / f"boot-{boot:02}-{attempt}"
        try:
            self.play(self._words(place, missing, self._seed(place, boot, attempt), out))
        finally:
            if (out / "results.json").exists():
                write_atomically(out / INGREDIENTS, json.dumps(dict(self.ingredients(out)), indent=1) + "\n")

    def _seed(self, place: Place, boot: int, attempt: int) -> int:
        """Return a seed of its own, as runs with the same one would not be independent."""
        return self.loaded.plan.seed + (place.number * 1000 + boot) * 100 + attempt

    def _words(self, place: Place, missing: Mapping[str, int], seed: int, out: Path) -> list[str]:
        plan = self.loaded.plan
        number = plan.drivers.index(place.driver) + 1
        found = [str(scenario_file(self.folder, number, name)) for name in missing]
        found += ["--target", place.target, "--driver", self.loaded.word(place.driver), *words(place.options)]
        found += ["--repeat", str(max(missing.values())), "--jobs", str(plan.jobs), "--seed", str(seed)]
        found += ["--cold"] if plan.cold else []
        for option in ("known", "history"):  # errata are met here, and a qualification has a memory of its own
            found += [f"--{option}", "off"] if option in self.takes and option not in place.options else []
        return [*found, "--out", str(out)]


def _state(run: Path) -> str:
    try:
        return str(files.read_json(run / "results.json", files.RESULT)["state"])
    except (OSError, ValueError, KeyError, TypeError):
        return "running"
