"""Running mutants until first caught: builds made ahead, labs side by side, each mutant from the same snapshot."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from wsklab.drivers.build import BuiltDriver
from wsklab.orchestrator.errors import LabError
from wsklab.orchestrator.journal import MachineLost
from wsklab.orchestrator.lab import LOAD, Lab
from wsklab.orchestrator.mutant_results import Order, Outcome, Row, outcome
from wsklab.orchestrator.mutants import Mutant
from wsklab.orchestrator.play import unload
from wsklab.orchestrator.results import UNLOAD
from wsklab.orchestrator.runner import Run
from wsklab.orchestrator.scenario import Scenario
from wsklab.qemu.errors import MachineError

LOADING = "driver-load"
"""The row of a mutant that does not load where the correct driver does."""

NOTICED = 3
"""So many verdicts that are neither pass nor fail end a mutant: each may cost half a minute."""

LIMIT = 240.0
"""Seconds for one mutant, after which no further scenario is begun."""


@dataclass(frozen=True)
class Built:
    """A mutant that compiled to something of its own, and the text it was made from."""

    mutant: Mutant
    source: str
    driver: BuiltDriver


class Subject(Protocol):
    """What is mutated, and how a mutant gets into a lab."""

    def before(self, built: Built) -> Row | None:
        """What is tried without a lab; a fail spares the lab."""
        ...

    def put(self, lab: Lab, driver: BuiltDriver) -> None:
        """Put it into a lab with no driver loaded, and load the driver. Raises LabError."""
        ...


class Lane:
    """One lab, taken back to the same moment for each mutant."""

    def __init__(self, boot: Callable[[], Lab]) -> None:
        self._boot = boot
        self._lab: Lab | None = None

    def fresh(self) -> Lab:
        """The lab with the correct driver loaded, as it was at first. Raises LabError, MachineError."""
        if self._lab is not None:
            try:
                self._lab.restore()
                return self._lab
            except (LabError, MachineError, TimeoutError):
                self.stop()
        self._lab = self._boot()
        self._lab.save()
        return self._lab

    def stop(self) -> None:
        """Stop the lab; the next mutant gets another."""
        lab, self._lab = self._lab, None
        if lab is not None:
            lab.stop()


class Trial:
    """Mutants on one lane, one after another."""

    def __init__(self, lane: Lane, subject: Subject, order: Order, run: Callable[[str], Run]) -> None:
        self._lane = lane
        self._subject = subject
        self._order = order
        self._run = run

    def one(self, built: Built) -> Outcome:
        """Run one mutant until it is caught. Raises LabError, MachineError when no lab boots."""
        began, rows = time.monotonic(), list[Row]()
        first = self._subject.before(built)
        if first is not None:
            rows.append(first)
        if not _over(rows, began):
            run = self._run(built.mutant.id)
            for stage in self._order.stages(built.mutant):
                self._stage(run, built, stage, rows, began)
        done = outcome(built.mutant, built.source, rows, time.monotonic() - began)
        self._order.learn(done)
        return done

    def _stage(self, run: Run, built: Built, scenarios: Sequence[Scenario], rows: list[Row], began: float) -> None:
        """A fresh load, the scenarios until it is over, and the unload; a lab that is lost is replaced."""
        waiting = list(scenarios)
        while not _over(rows, began):
            lab = self._lane.fresh()
            lab.target.unload(LOAD * lab.slowness)
            try:
                self._subject.put(lab, built.driver)
            except (LabError, MachineError, TimeoutError) as error:
                blamed = not isinstance(error, MachineError)  # the correct driver was there a moment ago
                rows.append(Row(LOADING, "fail" if blamed else "infra", str(error) or "it does not load in time"))
                return
            trusted = True
            while waiting and trusted and not _over(rows, began):
                rows.append(row := judged(run, lab, waiting.pop(0)))
                trusted = row.verdict == "pass" or trustworthy(lab)
            if trusted and not _over(rows, began):
                rows.append(unloaded(lab))
            if not waiting:
                return


def _over(rows: Sequence[Row], began: float) -> bool:
    """A fail catches; a few other verdicts are enough, and so is a long time."""
    odd = sum(row.verdict not in ("pass", "fail") for row in rows)
    return any(row.verdict == "fail" for row in rows) or odd >= NOTICED or time.monotonic() - began > LIMIT


def judged(run: Run, lab: Lab, scenario: Scenario) -> Row:
    """One scenario; of a pass no evidence is kept."""
    try:
        result = run.one(lab, scenario)
    except (LabError, MachineError, TimeoutError) as error:
        lab.doubt = lab.doubt or str(error) or "something did not happen in time"
        return Row(scenario.name, "infra", lab.doubt)
    if result.verdict == "pass":
        shutil.rmtree(run.folder / result.evidence, ignore_errors=True)
    return Row(scenario.name, result.verdict, result.reasons[0] if result.reasons else "")


def unloaded(lab: Lab) -> Row:
    """The unload, judged as in every run."""
    try:
        verdict, reasons = unload(lab)
    except (LabError, MachineLost, MachineError, TimeoutError) as error:
        return Row(UNLOAD, "infra", str(error))
    return Row(UNLOAD, verdict, reasons[0] if reasons else "")


def trustworthy(lab: Lab) -> bool:
    """Whether the lab can go on with the driver that is loaded."""
    if not lab.trusted:
        return False
    try:
        lab.target.state()
    except LabError:
        return False
    return True


class Lanes:
    """Several trials side by side, which take from one stream of builds."""

    def __init__(self, builds: Iterator[Built], done: Callable[[Outcome], None]) -> None:
        self._builds = builds
        self._done = done
        self._lock = threading.Lock()
        self._failure: Exception | None = None
        self._closed = False

    def play(self, trials: Sequence[tuple[Lane, Trial]]) -> None:
        """Until no build is left. Raises what first kept a trial from going on."""
        threads = [threading.Thread(target=self._guarded, args=(trial,), daemon=True) for _, trial in trials]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            self._closed = True
            for lane, _ in trials:
                lane.stop()
        if self._failure is not None:
            raise self._failure

    def _guarded(self, trial: Trial) -> None:
        try:
            while (built := self._take()) is not None:
                done = trial.one(built)
                with self._lock:
                    if self._closed:
                        return
                    self._done(done)
        except Exception as error:
            if not self._closed:
                self._failure, self._closed = error, True

    def _take(self) -> Built | None:
        with self._lock:
            return None if self._closed else next(self._builds, None)

