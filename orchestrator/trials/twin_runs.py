"""Running the correct driver and its wrong builds one after another, on as few labs as can be."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wsklab.drivers.build import BuiltDriver
from wsklab.drivers.twins import Twin
from wsklab.orchestrator import unexpected
from wsklab.orchestrator.errors import LabError
from wsklab.orchestrator.lab.lab import Lab
from wsklab.orchestrator.results.console import Console
from wsklab.orchestrator.results.results import Results, ScenarioResult, State, write_atomically
from wsklab.orchestrator.run.runner import Run
from wsklab.orchestrator.run.stopping import Stop, Stopped, ending
from wsklab.orchestrator.run.supply import LabSupply
from wsklab.orchestrator.scenario.scenario import Scenario
from wsklab.orchestrator.trials import pages, tables, twin_matrix
from wsklab.orchestrator.trials.twin_matrix import Row, Rows
from wsklab.qemu.errors import MachineError

LOADING = "driver-load"
"""The row of a driver that is not even seen to load."""

Build = Callable[[], BuiltDriver]
"""Waits until a twin is built. Raises DriverError."""

ENOUGH = 3
"""A twin that so many scenarios have caught is not run further, unless the user has chosen the scenarios."""

LONG = 20.0
"""Seconds; a twin that makes the lab wait for what never comes need not do so three times."""

LABS = 3
"""So many labs one build of the driver may use up."""


class NotLoaded(LabError):
    """A driver does not load where the correct one does; the message says why."""


class TwinRun:
    """The whole of `wsklab run --twins`; `folder` gets a folder for each build, and twins.json."""

    def __init__(
        self,
        folder: Path,
        console: Console,
        supply: LabSupply,
        results: Callable[[BuiltDriver], Results],
        strict: LabSupply | None = None,
        quick: bool = False,
        stop: Stop | None = None,
    ) -> None:
        """`supply` gives shared labs with the correct driver: one that does not load is no lab that does not boot.

        `strict` does so for the twins that take the stand-in's strict mode. `quick`: a twin is run until it is first
        caught, and the correct driver only where one was. `stop` is that of the labs: no lane boots another when one
        has ended all.
        """
        self._folder = folder
        self._console = console
        self._supply = supply
        self._strict = strict
        self._results = results
        self._quick = quick
        self._correct: dict[str, Row] = {}
        self._outcomes: dict[str, Rows] = {}
        self._stop = stop or Stop()
        self._lock = threading.Lock()

    def run(
        self,
        correct: BuiltDriver,
        builds: Mapping[Twin, Build | None],
        scenarios: Sequence[Scenario],
        whole: bool,
        beside: Sequence[TwinRun] = (),
    ) -> dict[str, Any]:
        """Run everything, with the labs of those `beside` at the same time.

        Returns the matrix, which is on disk after each build whatever happens.

        A twin first meets the scenarios that should catch it, and the others only if these do not; a twin without a
        build is only listed. `whole`: every twin meets every scenario. Raises LabError when no lab boots.
        """
        asked = sum(build is not None for build in builds.values())
        self._keep(builds, asked, "running")
        try:
            plain = [s for s in scenarios if not s.socket.needs_strict]
            if plain and not self._quick and not all(twin.strict for twin in builds):
                with self._console.step("the correct driver"), self._begin(correct) as run:
                    self._stage(run, correct, plain, self._correct, lambda lost: False)
            todo = iter(sorted(builds.items(), key=lambda build: build[0].strict))

            def work(lane: TwinRun) -> None:
                while (item := self._next(todo)) is not None:
                    twin, build = item
                    if twin.strict and lane._strict:
                        lane._go_strict(correct, scenarios, lane is self and not self._quick)
                    if build is not None:
                        lane._twin(twin, build(), scenarios if twin.strict else plain, whole)
                    self._keep(builds, asked, "running")

            for lane in beside:
                lane._correct, lane._outcomes, lane._lock = self._correct, self._outcomes, self._lock
                lane._stop = self._stop
            lanes = (self, *beside)
            self._at_once(work, lanes)
            if self._quick:
                self._correct_where_caught(correct, builds, scenarios, lanes)
            return self._keep(builds, asked, "complete")
        except BaseException as error:
            self._keep(builds, asked, ending(error))
            raise
        finally:
            for lane in (self, *beside):
                lane._supply.retire()

    def _at_once(self, work: Callable[[TwinRun], None], lanes: Sequence[TwinRun]) -> None:
        """Each lane in a thread of its own, where there are several; what ends one ends all."""
        if len(lanes) == 1:
            return work(lanes[0])
        pool = ThreadPoolExecutor(len(lanes))
        try:
            for done in as_completed([pool.submit(work, lane) for lane in lanes]):
                done.result()
        except BaseException as error:
            self._stop.end(error)
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _next(self, todo: Iterator[tuple[Twin, Build | None]]) -> tuple[Twin, Build | None] | None:
        with self._lock:
            return None if self._stop.requested else next(todo, None)

    def _correct_where_caught(
        self, correct: BuiltDriver, twins: Iterable[Twin], scenarios: Sequence[Scenario], lanes: Sequence[TwinRun]
    ) -> None:
        """Run what caught a twin with the correct driver, which it must not catch; the lanes share it.

        The rest tells nothing that the suite does not.
        """
        caught = {
            row.scenario for twin in twins for row in twin_matrix.catches(twin, self._outcomes.get(twin.name, {}), {})
        }
        chosen = [s for s in scenarios if s.name in caught]
        shares = {lane: chosen[number :: len(lanes)] for number, lane in enumerate(lanes)}

        def work(lane: TwinRun) -> None:
            if lane._strict:  # what has caught a strict twin must not catch the correct driver there either
                lane._go_strict(correct, scenarios, judged=False)
            name = None if lane is self else f"correct-{lanes.index(lane) + 1}"
            with lane._begin(correct, name) as run:
                lane._stage(run, correct, shares[lane], self._correct, lambda lost: False)

        with self._console.step("the correct driver"):
            self._at_once(work, [lane for lane in lanes if shares[lane] or lane is self])

    def _go_strict(self, correct: BuiltDriver, scenarios: Sequence[Scenario], judged: bool) -> None:
        """From now on the labs are strict; there, too, the correct driver must be right."""
        self._supply.retire()
        self._supply, self._strict = self._strict or self._supply, None
        if not judged:
            return
        with self._console.step("the correct driver, strictly"), self._begin(correct, "correct-strict") as run:
            self._stage(run, correct, scenarios, self._correct, lambda lost: False)

    def _keep(self, builds: Iterable[Twin], asked: int, state: State) -> dict[str, Any]:
        """Put the matrix on disk as far as it is known: a part of it must not look like all of it."""
        with self._lock:
            found = {name: dict(rows) for name, rows in self._outcomes.items()}
            matrix = twin_matrix.document(found, list(builds), self._correct)
            matrix |= {"state": state, "asked": asked, "run": len(found)}
            write_atomically(self._folder / "twins.json", json.dumps(matrix, indent=1) + "\n")
            if state != "running":
                write_atomically(self._folder / "twins.html", pages.twins_page(matrix).text)
        return matrix

    @contextmanager
    def _begin(self, driver: BuiltDriver, name: str | None = None) -> Iterator[Run]:
        """Yield a run of its own for one build, concluded at the end whatever happens."""
        folder = self._folder / (name or driver.twin or "correct")
        folder.mkdir()
        run = Run(folder, self._results(driver), Console(quiet=True))
        run.begin()
        try:
            yield run
        except BaseException as error:
            run.finish(ending(error), unexpected.sentence(error, self._folder))
            raise
        run.finish()

    def _twin(self, twin: Twin, driver: BuiltDriver, scenarios: Sequence[Scenario], whole: bool) -> None:
        rows: dict[str, Row] = {}
        with self._lock:
            self._outcomes[twin.name] = rows
        began, first = time.monotonic(), twin_matrix.likely(twin, scenarios)

        def catches() -> int:
            return len(twin_matrix.catches(twin, rows, self._correct))

        def enough(lost: bool) -> bool:
            """Tell whether it is enough: a catch that cost the lab is, or one that took long.

            Else it takes some, for the picture.
            """
            if lost:
                return catches() >= 1
            few = self._quick or time.monotonic() - began > LONG
            return not whole and catches() >= (1 if few else ENOUGH)

        try:
            with self._begin(driver) as run:
                self._stage(run, driver, first, rows, enough)
                if not twin.scarcity and (whole or not catches()):
                    self._stage(run, driver, [s for s in scenarios if s not in first], rows, enough)
        except BaseException:
            if not catches():  # nobody knows whether it would have been
                with self._lock:
                    del self._outcomes[twin.name]
            raise
        tables.show_twin(self._console, twin_matrix.entry(twin, rows, self._correct), time.monotonic() - began)

    def _stage(
        self,
        run: Run,
        driver: BuiltDriver,
        scenarios: Sequence[Scenario],
        rows: dict[str, Row],
        enough: Callable[[bool], bool],
    ) -> None:
        """Load afresh, run the scenarios until it is `enough`, and unload, which is judged too."""
        waiting = list(scenarios)
        for _ in range(LABS):
            try:
                lab = self._loaded(driver)
            except NotLoaded as error:
                rows[LOADING] = Row(LOADING, "inconclusive", (str(error),))
                return
            lost = False
            while waiting and not lost and not enough(False):
                row = self._one(run, lab, waiting.pop(0))
                if self._stop.requested:
                    raise Stopped(f"the run is over: {self._stop.why}")
                _add(rows, row)
                lost = not self._supply.fit()
            if not lost:
                break
            if enough(True):
                return
        else:
            return
        result = run.unload(lab)
        _add(rows, _row(result))
        if result.verdict != "pass":
            self._supply.spoil()  # what it left behind would be blamed on the next

    def _loaded(self, driver: BuiltDriver) -> Lab:
        """Return a lab with a fresh load of `driver`.

        Raises NotLoaded, and LabError or MachineError when no lab boots.
        """
        if driver.twin is None and self._supply.lab is None:
            return self._supply.next()
        lab = self._supply.bare()
        try:
            lab.load(driver)
        except LabError as error:
            self._supply.spoil()
            raise NotLoaded(str(error)) from None
        return lab

    def _one(self, run: Run, lab: Lab, scenario: Scenario) -> Row:
        try:
            return _row(run.one(lab, scenario))
        except (LabError, MachineError, TimeoutError) as error:
            self._supply.spoil()
            return Row(scenario.name, "infra", (str(error) or "something did not happen in time",))


def _row(result: ScenarioResult) -> Row:
    return Row(result.name, result.verdict, tuple(result.reasons))


def _add(rows: dict[str, Row], row: Row) -> None:
    """Add the unload, which is judged once for each load; what was wrong once stays wrong."""
    if row.scenario not in rows or rows[row.scenario].verdict == "pass":
        rows[row.scenario] = row
