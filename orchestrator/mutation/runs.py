"""Running mutants until first caught: builds made ahead, labs side by side, each mutant from the same snapshot."""

from __future__ import annotations

import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from wsklab.drivers.build import BuiltDriver
from wsklab.orchestrator.errors import LabError
from wsklab.orchestrator.lab.lab import Lab
from wsklab.orchestrator.mutation.mutants import Mutant
from wsklab.orchestrator.mutation.results import ODD, Order, Outcome, Row, outcome
from wsklab.orchestrator.observe.journal import MachineLost
from wsklab.orchestrator.play.player import unload
from wsklab.orchestrator.results.results import UNLOAD, ScenarioResult
from wsklab.orchestrator.run.runner import Run
from wsklab.orchestrator.run.stopping import Stop
from wsklab.orchestrator.run.supply import LabSupply, unfit
from wsklab.orchestrator.scenario.scenario import Scenario
from wsklab.qemu.errors import MachineError

LOADING = "driver-load"
"""The row of a mutant that does not load where the correct driver does."""

NOTICED = 3
"""So many verdicts that are neither pass nor fail end a mutant: each may cost half a minute."""

LIMIT = 600.0
"""Seconds for one mutant, after which no further scenario is begun; a survivor has met every one of them."""

Tell = Callable[[ScenarioResult], object]


@dataclass(frozen=True)
class Built:
    """A mutant that compiled to something of its own, and the text it was made from."""

    mutant: Mutant
    source: str
    driver: BuiltDriver


class Subject(Protocol):
    """What is mutated, and how a mutant gets into a lab."""

    def before(self, built: Built) -> Row | None:
        """Try what needs no lab; a fail spares the lab."""
        ...

    def put(self, lab: Lab, driver: BuiltDriver) -> None:
        """Put it into a lab with no driver loaded, and load the driver. Raises LabError."""
        ...


class Course(Protocol):
    """Scenarios of which each depends on what came of those before."""

    def next(self) -> Scenario | None:
        """Return the next; None when there are no more."""
        ...

    def tell(self, row: ScenarioResult) -> bool:
        """Hear of one that was run."""
        ...


class Trial:
    """Mutants one after another, each on the target as it was at first."""

    def __init__(
        self,
        supply: LabSupply,
        subject: Subject,
        order: Order,
        run: Callable[[str], Run],
        shortages: Callable[[Mutant], Course] | None = None,
    ) -> None:
        """`shortages` begins what a mutant meets at last, when no scenario has caught it: memory that is short."""
        self._supply = supply
        self._subject = subject
        self._order = order
        self._run = run
        self._shortages = shortages

    def one(self, built: Built) -> Outcome:
        """Run one mutant until it is caught. Raises LabError, MachineError when no lab boots."""
        began = time.monotonic()
        rows = [row] if (row := self._subject.before(built)) else []
        if not any(row.verdict == "fail" for row in rows):
            attempt = _Attempt(self._supply, self._subject, built, self._run(built.mutant.id), rows, began + LIMIT)
            for stage in self._order.stages(built.mutant):
                attempt.stage(stage)
            if self._shortages is not None and not attempt.over():
                attempt.follow(self._shortages(built.mutant))
            attempt.end()
        done = outcome(built.mutant, built.source, rows, time.monotonic() - began)
        self._order.learn(done)
        return done


class _Attempt:
    """One mutant in labs; `rows` gets what they say."""

    def __init__(
        self, supply: LabSupply, subject: Subject, built: Built, run: Run, rows: list[Row], deadline: float
    ) -> None:
        self._supply = supply
        self._subject = subject
        self._driver = built.driver
        self._run = run
        self._rows = rows
        self._deadline = deadline
        self._runs = Counter[str]()

    def stage(self, scenarios: Sequence[Scenario]) -> None:
        """Load afresh, run the scenarios until it is over, and unload; a lab that is lost is replaced."""
        waiting = list(scenarios)
        while not self.over():
            lab = self._load()
            while lab is not None and waiting and not self.over():
                lab = self._scenario(lab, waiting.pop(0))
            if lab is not None and not self.over():
                self._rows.append(unloaded(lab))
            if not waiting:
                return

    def follow(self, course: Course) -> None:
        """Run what the course asks for, until it is over."""
        lab: Lab | None = None
        while not self.over() and (scenario := course.next()) is not None:
            if (lab := lab or self._load()) is None:
                return
            lab = self._scenario(lab, scenario, course.tell)

    def end(self) -> None:
        """Say so if there was no time for everything."""
        if time.monotonic() > self._deadline:
            self._rows.append(Row("limit", "inconclusive", f"not done within {LIMIT:.0f} s"))

    def over(self) -> bool:
        """Tell whether it is over: a fail catches; a few other verdicts are enough, and so is a long time."""
        odd = sum(row.verdict in ODD for row in self._rows)
        caught = any(row.verdict == "fail" for row in self._rows)
        return caught or odd >= NOTICED or time.monotonic() > self._deadline

    def _load(self) -> Lab | None:
        """Return a lab with the mutant loaded; None if it does not load, which is a row of its own."""
        lab = self._supply.bare()
        try:
            self._subject.put(lab, self._driver)
            return lab
        except (LabError, MachineError, TimeoutError) as error:
            blamed = not isinstance(error, MachineError)  # the correct driver was there a moment ago
            self._rows.append(Row(LOADING, "fail" if blamed else "infra", str(error) or "it does not load in time"))
            return None

    def _scenario(self, lab: Lab, scenario: Scenario, tell: Tell = lambda result: True) -> Lab | None:
        """Run one; what is not a pass is run again. Returns the lab if the mutant is still loaded and well."""
        row = self._judged(lab, scenario, tell)
        if row.verdict == "pass":
            self._rows.append(row)
            return lab
        return self._again(scenario, row)

    def _again(self, scenario: Scenario, row: Row) -> Lab | None:
        """Only what the correct driver passes and the mutant does not, twice, is the mutant's doing.

        A busy host makes some scenario fail now and then, which would flatter the lab. A mutant may need a scenario
        before the one that it fails, so that both drivers are given it twice in a row.
        """
        if self._twice(self._supply.next(), scenario).verdict != "pass":
            self._rows.append(replace(row, verdict="unsound"))
            return self._load()
        if (lab := self._load()) is None:
            return None
        second = self._twice(lab, scenario)
        same = second.verdict != "pass"
        self._rows.append(second if same else replace(row, verdict="flaky"))
        return lab if not same or unfit(lab) is None else None

    def _twice(self, lab: Lab, scenario: Scenario) -> Row:
        """Run one twice in a row, unless the first time says enough."""
        row = self._judged(lab, scenario)
        return row if row.verdict != "pass" else self._judged(lab, scenario)

    def _judged(self, lab: Lab, scenario: Scenario, tell: Tell = lambda result: True) -> Row:
        """One scenario; of a pass no evidence is kept."""
        self._runs[scenario.name] += 1
        try:
            result = self._run.one(lab, scenario, self._runs[scenario.name])
        except (LabError, MachineError, TimeoutError) as error:
            lab.doubt = lab.doubt or str(error) or "something did not happen in time"
            return Row(scenario.name, "infra", lab.doubt)
        except Exception as error:  # what a mutant does to the lab's own code must not end the run of the others
            lab.doubt = f"this is a mistake in wsklab ({type(error).__name__}: {error})"
            return Row(scenario.name, "infra", lab.doubt)
        tell(result)
        if result.verdict == "pass":
            shutil.rmtree(self._run.folder / result.evidence, ignore_errors=True)
        return Row(scenario.name, result.verdict, result.reasons[0] if result.reasons else "")


def unloaded(lab: Lab) -> Row:
    """Judge the unload as in every run."""
    try:
        verdict, reasons = unload(lab)
    except (LabError, MachineLost, MachineError, TimeoutError) as error:
        return Row(UNLOAD, "infra", str(error))
    return Row(UNLOAD, verdict, reasons[0] if reasons else "")


class Workers:
    """Several trials side by side, which take from one stream of builds."""

    def __init__(self, builds: Iterator[Built], done: Callable[[Outcome], None], stop: Stop) -> None:
        """`stop` is that of their labs: when one thing ends them all, none is to boot another."""
        self._builds = builds
        self._done = done
        self._stop = stop
        self._lock = threading.Lock()
        self._failure: Exception | None = None
        self._closed = False

    def play(self, trials: Sequence[tuple[LabSupply, Trial]]) -> None:
        """Until no build is left. Raises what first kept a trial from going on."""
        threads = [threading.Thread(target=self._guarded, args=(trial,), daemon=True) for _, trial in trials]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        except BaseException as error:
            self._closed = True  # before labs are stopped under mutants that are not to blame for it
            self._stop.end(error)
            raise
        finally:
            self._closed = True
            for supply, _ in trials:
                supply.retire()
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
