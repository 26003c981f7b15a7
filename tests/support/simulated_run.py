"""A run in a process of its own, with labs that are names, that kills itself where it is told to; and goes on again.

`python -m support.simulated_run FOLDER DIES` plays three scenarios twice on two variants of the machine. DIES is how
many scenarios it plays before it ends with SIGKILL, in the middle of the next; `never` lets it end.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from support.rows import result, some

from wsklab.orchestrator.results.console import Console
from wsklab.orchestrator.results.results import UNLOAD, Results, ScenarioResult
from wsklab.orchestrator.run import resuming
from wsklab.orchestrator.run.order import Item, evidence_name, order, plan
from wsklab.orchestrator.run.runner import Done, Run
from wsklab.orchestrator.run.workers import Work, Workers
from wsklab.orchestrator.scenario.scenario import Scenario
from wsklab.orchestrator.scenario.yaml_source import parse

NAMES = ("first", "second", "third")
REPEAT = 2
VARIANTS = ("", "e1000e")


def scenario(name: str, title: str = "t") -> Scenario:
    """One that nothing plays."""
    text = f"name: {name}\ntitle: {title}\nsteps: [lab: settle]\nexpect: {{wire: {{peer: rst, driver: none}}}}\n"
    return parse(text, Scenario, "f")


def results(driver: str = "5f") -> Results:
    """Of a run that has not begun."""
    scenarios = [scenario(name) for name in NAMES]
    return Results(
        run={**some().run, "uuid": f"u-{os.getpid()}"},
        target=some().target,
        driver={"name": "wsklab", "sha256": driver, "twin": None},
        plan=plan(scenarios, REPEAT, False, dict.fromkeys(VARIANTS, scenarios)),
    )


class Lab:
    """A name."""

    trusted = True

    def stop(self) -> None:
        """Nothing to stop."""

    def next(self, suspect: bool = False) -> Any:
        """Be one's own supply."""
        return self

    def retire(self) -> None:
        """Nothing to retire."""


class Mortal(Run):
    """A run that dies in the middle of a scenario, or of an unload."""

    dies: int | None = None

    def perform(self, lab: Any, item: Item, attempt: str = "") -> Done:
        """Leave evidence, and pass."""
        return Done(self._passes(item.scenario.name, item.number, item.variant))

    def unload(self, lab: Any, number: int = 1, variant: str = "") -> ScenarioResult:
        """Leave evidence, and pass."""
        return self.add(Done(self._passes(UNLOAD, number + self._unloads, variant)))

    def _passes(self, name: str, number: int, variant: str) -> ScenarioResult:
        folder = self.folder / "evidence" / evidence_name(name, number, variant)
        folder.mkdir(parents=True)
        if self.dies == 0:
            with (self.folder / "results.jsonl").open("a") as file:
                file.write('{"name": "half a row')
                file.flush()
                os.kill(os.getpid(), signal.SIGKILL)
        self.dies = None if self.dies is None else self.dies - 1
        return result(name, repeat=number, variant=variant, evidence=str(folder.relative_to(self.folder)))


def main(folder: Path, dies: int | None) -> None:
    """Begin the run, or let it go on."""
    scenarios = [scenario(name) for name in NAMES]
    each = dict.fromkeys(VARIANTS, scenarios)
    found, memo = results(), resuming.memo({}, scenarios)
    if (folder / resuming.NAME).exists():
        resuming.take_up(resuming.enter(folder), resuming.recall(folder), memo, found)
    else:
        folder.mkdir(exist_ok=True)
        resuming.enter(folder)
        resuming.remember(folder, memo)
    done = list(found.scenarios)
    run = Mortal(folder, found, Console(quiet=True))
    run.dies = dies
    run.begin()
    work = Work(resuming.left(order(scenarios, REPEAT, False, each), found.plan, done), run.stop)
    owed = iter(resuming.unloads_owed(found.plan, done))
    Workers(run, lambda variant: Lab(), work, owed=owed).play(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]), None if sys.argv[2] == "never" else int(sys.argv[2]))
