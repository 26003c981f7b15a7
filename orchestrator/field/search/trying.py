"""Trials of scenarios that are made as the trials before them came out, on labs that stay alive between them."""

from __future__ import annotations

import itertools
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf
from typing import Protocol

from wsklab.drivers.build import BuiltDriver
from wsklab.orchestrator.liveness.watchdog_link import phase
from wsklab.orchestrator.results.results import UNLOAD, ScenarioResult
from wsklab.orchestrator.run.order import Item
from wsklab.orchestrator.run.preparation import Preparation
from wsklab.orchestrator.run.runner import Done, Run
from wsklab.orchestrator.run.workers import Work, Workers
from wsklab.orchestrator.scenario.scenario import Scenario


class Asker(Protocol):
    """Who knows what to try next."""

    def next(self) -> Scenario | None:
        """Return the next scenario; None when no more is wanted. With several labs asked before all has been told."""

    def tell(self, scenario: Scenario, row: ScenarioResult) -> bool:
        """Hear what became of it; returns whether its row and evidence are kept."""


@dataclass
class Trials(Run):
    """A run whose scenarios come one by one. Of what is not kept no row and no evidence stays."""

    asker: Asker = field(kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        self._asked: dict[int, Scenario] = {}
        self._asking = threading.Lock()

    def items(self) -> Iterator[Item]:
        """Yield the trials, numbered through."""
        for number in itertools.count(1):
            with self._asking:
                scenario = self.asker.next()
                if scenario is None:
                    return
                self._asked[number] = scenario
            yield Item(number, scenario)

    def add(self, done: Done) -> ScenarioResult:
        """Tell the asker; keep the row if it wants that."""
        row = done.result
        if row.name == UNLOAD or self.stop.requested:
            return super().add(done)
        with self._asking:
            kept = self.asker.tell(self._asked.pop(row.repeat), row)
        if kept:
            return super().add(done)
        shutil.rmtree(self.folder / row.evidence, ignore_errors=True)
        return row


def play(preparation: Preparation, trials: Trials, driver: BuiltDriver, isolate: bool, jobs: int | None) -> None:
    """Carry out all trials on as many labs as there is room for; the run's results say how it ended."""
    trials.begin()
    labs = preparation.admitted(jobs)
    work = Work(trials.items(), trials.stop)
    with phase("the trials", inf, trials.folder):
        supply = preparation.supply
        Workers(trials, lambda variant: supply(driver, isolate, trials.learn, variant), work).play(
            labs, preparation.room
        )


@dataclass
class Pace:
    """How many trials a minute there are, and when it is time to say so."""

    every: float = 10.0
    began: float = field(default_factory=time.monotonic)
    said: float = field(default_factory=time.monotonic)
    count: int = 0

    def step(self, now: float) -> float | None:
        """Count one trial; returns the trials a minute when they are to be told."""
        self.count += 1
        if now - self.said < self.every:
            return None
        self.said = now
        return self.count / max(now - self.began, 0.001) * 60
