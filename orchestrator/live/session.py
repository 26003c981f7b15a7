"""A run whose scenarios come one by one from somebody else: pytest, or a person at a prompt.

It stands on what `wsklab run` stands on: the same preparation, supply of labs, rows, report and history.
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from wsklab.drivers.profile import DriverProfile
from wsklab.orchestrator.guest import find
from wsklab.orchestrator.history.recorder import Recorder
from wsklab.orchestrator.history.where import chosen
from wsklab.orchestrator.judge.judge import Judgement
from wsklab.orchestrator.judge.observed import Verdict, observed
from wsklab.orchestrator.lab.lab import Lab
from wsklab.orchestrator.live.conversation import Conversation, scenario_of
from wsklab.orchestrator.play.player import FAILURES
from wsklab.orchestrator.results import known
from wsklab.orchestrator.results.console import Console
from wsklab.orchestrator.results.results import ScenarioResult
from wsklab.orchestrator.results.story import tell
from wsklab.orchestrator.run import evidence, runner, selection
from wsklab.orchestrator.run.evidence import Slice
from wsklab.orchestrator.run.order import Item
from wsklab.orchestrator.run.preparation import Preparation
from wsklab.orchestrator.run.runner import Done, Run
from wsklab.orchestrator.run.supply import LabSupply
from wsklab.orchestrator.run.workers import judged
from wsklab.orchestrator.scenario import any_driver
from wsklab.orchestrator.scenario.scenario import Scenario

LONGEST = 80
"""Characters of a name that becomes a folder."""


@dataclass(frozen=True)
class Wanted:
    """What a session is asked for; the words are those of `wsklab run`."""

    target: str = find.STANDIN
    driver: str = selection.OWN
    driver_file: Path | None = None
    twin: str | None = None
    strict: bool = False
    verify: str | None = None
    seed: int = 1
    cold: bool = False
    out: Path | None = None
    history: str | None = None
    known: Path | None = None

    def check(self) -> None:
        """See that there is such a target and such a driver, and build nothing. Raises UsageError."""
        find.check(self.target, self.verify, self.seed if self.strict else None)
        chosen(self.history)
        known.load(self.known, Path())
        if self.driver != selection.OWN:
            from wsklab.orchestrator.lab import foreign_driver

            profile = foreign_driver.profile_of(self.driver)
            if profile.build != selection.OWN:
                foreign_driver.usable(profile, self.twin)


class Session:
    """One run, open until `close`; for one thread."""

    def __init__(self, wanted: Wanted, console: Console) -> None:
        """Build what is missing, and begin the run. Raises UsageError, LabError, DriverError, ImageError."""
        standin = wanted.target == find.STANDIN
        word = "close-graceful" if wanted.driver == selection.OWN else ""
        selected = selection.select(
            [word] if word else [], [], [], wanted.driver, wanted.twin, standin, console.progress, wanted.driver_file
        )
        errata = known.load(wanted.known, Path())
        self.wanted = wanted
        self.folder = runner.new_folder(wanted.out)
        self.preparation = Preparation.prepare(
            self.folder,
            console,
            wanted.cold,
            wanted.target,
            wanted.verify,
            selected.foreign,
            strict=wanted.seed if wanted.strict else None,
        )
        self._driver = self.preparation.guest.prepare(selected.build(self.preparation.console.progress))
        results = self.preparation.results(self._driver, wanted.seed)
        # Its rows are told by whoever asks for them.
        self.run = Run(self.folder, results, Console(quiet=True), self.preparation.stop, self.preparation.damage)
        self.run.known = known.under(errata, results, datetime.now(UTC).date())
        self.run.begin()
        self._recorder = Recorder(wanted.history, self.folder, lambda warning: print(warning, file=sys.stderr))
        self._recorder.begin()
        self._supply: LabSupply = self.preparation.supply(self._driver, True, self.run.learn)
        self._suspect = False
        self._names: set[str] = set()
        self.unloaded: ScenarioResult | None = None

    @property
    def profile(self) -> DriverProfile | None:
        """That of a driver that is not the lab's own."""
        return self.preparation.foreign.profile if self.preparation.foreign is not None else None

    def misfit(self, scenario: Scenario) -> str | None:
        """Why this driver on this target cannot play a scenario; None when it can."""
        if self.profile is not None:
            return next(any_driver.misfits(scenario, self.profile), None)
        if scenario.socket.needs_strict and not self.wanted.strict:
            return "this is simulated with --wsklab-strict only"
        return None

    def lab(self, shared: bool = False) -> Lab:
        """Return a lab that is fit, as it was when it was ready.

        `shared`, as the test before has left it if that is well. Raises one of the FAILURES.
        """
        if shared and self._supply.lab is not None and not self._suspect and self._supply.fit():
            assert self._supply.lab is not None, "`fit` has said so"
            return self._supply.lab
        return self._supply.next(self._suspect)

    def play(self, scenario: Scenario, number: int = 1, shared: bool = False) -> ScenarioResult:
        """Play a scenario, have it judged and its row added. Raises one of the FAILURES when there is no lab."""
        lab = self.lab(shared)
        _, result = judged(self.run, self._supply, lab, Item(number, scenario))
        self._suspect = result.verdict != "pass"
        return result

    def converse(self, name: str, title: str, words: Mapping[str, Any], shared: bool = False) -> Told:
        """Begin a test that is written in Python. Raises ValueError for wrong `words`, one of the FAILURES."""
        short = self._unique(name)
        scenario = scenario_of(re.sub("[^a-z0-9-]+", "-", short.lower())[:64].strip("-") or "test", title, words)
        lab = self.lab(shared)
        folder = self.folder / "evidence" / short
        folder.parent.mkdir(exist_ok=True)
        folder.mkdir()
        logs = {name: Slice.begin(lab.target.machine.log(log)) for name, log in LOGS.items()}
        began = time.monotonic()
        try:
            conversation = Conversation(lab, scenario, folder, f"{self.wanted.seed} {short}")
        except FAILURES:
            self._suspect = True
            raise
        return Told(self, short, conversation, logs, began)

    def _unique(self, name: str) -> str:
        short = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:LONGEST] or "test"
        number, found = 1, short
        while found in self._names:
            number += 1
            found = f"{short}-{number}"
        self._names.add(found)
        return found

    def add(self, result: ScenarioResult) -> ScenarioResult:
        """Add the row of a test in Python."""
        self._suspect = result.verdict != "pass"
        return self.run.add(Done(result))

    def suspect(self) -> None:
        """Trust the lab no further than after a verdict that is not pass."""
        self._suspect = True

    def close(self) -> None:
        """Judge the driver's unload, stop the lab, and write what people and build servers read."""
        lab = self._supply.lab
        try:
            if lab is not None and self._suspect:
                lab = self._restored()
            if lab is not None:
                self.unloaded = self.run.unload(lab)
        finally:
            self._supply.retire()
            self.run.finish()
            self._recorder.end()

    def _restored(self) -> Lab | None:
        """After anything but a pass the lab is taken back first: it is the driver's unload that is to be judged."""
        try:
            return self._supply.next(True)
        except FAILURES:
            return None


LOGS = {"debug.raw": "debug.log", "qmp.log": "qmp.log"}


class Told:
    """One test in Python: its conversation, and the row that comes of it."""

    def __init__(
        self, session: Session, name: str, conversation: Conversation, logs: Mapping[str, Slice], began: float
    ) -> None:
        self.session = session
        self.name = name
        self.conversation = conversation
        self._logs = logs
        self._began = began
        self.result: ScenarioResult | None = None

    def conclude(self, why: str | None = None, title: str = "") -> ScenarioResult:
        """End it, once, and add its row; `why` is what the test itself has found wrong, in a sentence.

        A lab that was lost by its own fault makes the verdict `infra`, whatever the test says.
        """
        if self.result is not None:
            return self.result
        try:
            scenario, seen = self.conversation.close()
            found = self.conversation.judged()
        except FAILURES as error:  # it could not even be put back
            self.conversation.lab.doubt = self.conversation.lab.doubt or str(error)
            found = Judgement("infra", (f"the lab failed: {error}",), observed())
            scenario, seen = self.conversation.scenario([]), []
        found = replace(found, verdict=verdict_of(found.verdict, why), reasons=reasons_of(found, why))
        folder = self.conversation.folder
        evidence.save(folder, scenario, seen, found, dict(self._logs))
        row = ScenarioResult(
            name=self.name,
            title=title or self.name,
            repeat=1,
            verdict=found.verdict,
            reasons=found.reasons,
            findings=found.remarks,
            covers=scenario.covers,
            expected={},
            observed=found.observed,
            timing={"total_s": round(time.monotonic() - self._began, 4)},
            evidence=str(folder.relative_to(self.session.folder)),
        )
        row = replace(row, story=tell(scenario, seen, found.verdict, found.reasons))
        evidence.annotate(folder, seen, row.story)
        self.result = self.session.add(row)
        return self.result

    def drop(self) -> None:
        """End it without a verdict, if it has none: nobody has said what is right."""
        if self.result is None:
            with suppress(*FAILURES):
                self.conversation.close()
            self.session.suspect()


def verdict_of(judged: Verdict, why: str | None) -> Verdict:
    """Return the verdict on a test: the lab's own, or `fail` where only the test has found something. Pure."""
    if why is None or judged == "infra":
        return judged
    return "fail"


def reasons_of(found: Judgement, why: str | None) -> tuple[str, ...]:
    """Return the reasons in the order of who decides. Pure."""
    if why is None:
        return found.reasons
    return (*found.reasons, why) if found.verdict == "infra" else (why, *found.reasons)


def worker_folder(out: Path | None, worker: str, run: str) -> Path | None:
    """Return the folder of one of several processes of a test run: each is a run of its own, in a folder of all.

    Pure.
    """
    if not worker:
        return out
    return (out or Path("wsklab-runs") / f"pytest-{run[:12]}") / worker
