"""A run: every scenario judged at once, its row on disk before anything else is begun. Labs come from `supply`.

Whatever goes wrong ends as a row or as the end of the run, with a sentence; nothing ends as rows that are not there.
"""

from __future__ import annotations

import platform
import re
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from pydantic import JsonValue

from wsklab import images
from wsklab.orchestrator import unexpected
from wsklab.orchestrator.errors import LabError, UsageError
from wsklab.orchestrator.judge import characterise
from wsklab.orchestrator.judge.judge import Judgement, judge
from wsklab.orchestrator.lab.lab import Lab
from wsklab.orchestrator.liveness import limits
from wsklab.orchestrator.liveness.heartbeat import Heartbeat
from wsklab.orchestrator.liveness.silence import note
from wsklab.orchestrator.liveness.watchdog_link import phase
from wsklab.orchestrator.observe import observation
from wsklab.orchestrator.observe.lab_notes import Behaviour, Unplayed
from wsklab.orchestrator.observe.observation import Observation
from wsklab.orchestrator.play.player import play, unload
from wsklab.orchestrator.results import publish, rows
from wsklab.orchestrator.results.console import Console
from wsklab.orchestrator.results.known import Known
from wsklab.orchestrator.results.results import (
    UNLOAD,
    UNLOAD_COVERS,
    Results,
    ScenarioResult,
    State,
    Verdict,
    observed,
    write_atomically,
)
from wsklab.orchestrator.results.rows import Home, Rows
from wsklab.orchestrator.results.story import tell
from wsklab.orchestrator.run import evidence, janitor
from wsklab.orchestrator.run.evidence import Slice
from wsklab.orchestrator.run.hold import Hold
from wsklab.orchestrator.run.order import Item, evidence_name
from wsklab.orchestrator.run.stopping import Stop
from wsklab.orchestrator.scenario.scenario import Scenario

NOTHING = observed()
"""What is kept of a row in memory when all of it is on disk."""

_PASSWORD = re.compile(r"(://[^\s:/@]*):[^\s/@]*@")
"""In the URL of a history, which a command may name."""


@dataclass(frozen=True)
class Done:
    """What became of an item: its row, and what the target did where that is recorded."""

    result: ScenarioResult
    behaviour: Behaviour | None = None


@dataclass
class Run:
    """Everything that stays the same while scenarios pass; several labs may add to it at once."""

    folder: Path
    results: Results
    console: Console
    stop: Stop = field(default_factory=Stop)
    damage: Callable[[], list[str]] = list
    """Looks at the images once more; what is wrong with them is told beside every verdict that may come of it."""
    known: Known = field(default_factory=Known)
    """What is known to fail here."""
    hold: Hold | None = None

    def __post_init__(self) -> None:
        self._behaviours: dict[str, Behaviour] = {}
        self._lock = threading.Lock()
        self._home = Home(self.folder)
        self._rows = Rows(self.folder)
        # Of a run that is resumed: the unloads of its earlier labs have these numbers.
        self._unloads = max((row.repeat for row in self.results.scenarios if row.name == UNLOAD), default=0)

    def begin(self) -> None:
        """Have on disk that the run goes on, and how many rows are asked of it. Raises OSError."""
        publish.whole(self._home.wherever, self.results)

    def learn(self, lab: Lab) -> None:
        """Add what a booted target tells of itself to the results."""
        settings = lab.settings
        with self._lock:
            if not settings.items() <= self.results.target.items():
                self.results.target |= settings
                with suppress(OSError):  # of use only when the run is killed: at its end it is written again
                    publish.head(self._home.wherever, self.results)

    def one(self, lab: Lab, scenario: Scenario, number: int = 1) -> ScenarioResult:
        """One scenario, from canary to verdict, as the next row."""
        done = self.perform(lab, Item(number, scenario))
        self.add(done)
        return done.result

    def perform(self, lab: Lab, item: Item, attempt: str = "") -> Done:
        """One scenario, from canary to verdict, without adding it; whatever fails under it is the verdict, too."""
        scenario, number, began = item.scenario, item.number, time.monotonic()
        self.console.starts(scenario.name)
        folder = self.folder / "evidence" / (item.folder + attempt)

        def row(judgement: Judgement, **timing: float) -> ScenarioResult:
            return self._row(item, judgement, folder, timing | {"total_s": time.monotonic() - began})

        try:
            folder.parent.mkdir(exist_ok=True)  # not the run's folder, too: if it is gone, it is not to come back
            folder.mkdir()
        except OSError as error:  # what lies there already is of somebody else, and stays as it is
            self.watch()
            why = f"the lab failed: {error.filename or folder}: {error.strerror}"
            return Done(row(Judgement("infra", (why,), observed())))
        mark = lab.journal.mark
        logs = {
            "debug.raw": Slice.begin(lab.target.machine.log("debug.log")),
            "qmp.log": Slice.begin(lab.target.machine.log("qmp.log")),
        }
        try:
            seed = f"{self.results.run['seed']} {scenario.name} {number}"
            observations = play(lab, scenario, folder / "wire.pcapng", seed)
        except Exception as error:  # before the first step, or after the last
            why = lab.doubt = lab.doubt or unexpected.sentence(error, self.folder)
            return Done(row(self._unplayed(scenario, [*lab.journal.since(mark), note(Unplayed, why)], folder, logs)))
        played = time.monotonic()
        try:
            judgement = judge(scenario, observations)
            judged = time.monotonic()
            evidence.save(folder, scenario, observations, judgement, logs)
            result = row(judgement, restore_s=lab.last_restore_s, run_s=played - began, judge_s=judged - played)
            result = replace(result, story=tell(scenario, observations, judgement.verdict, judgement.reasons))
            evidence.annotate(folder, observations, result.story)
            recorded = scenario.expect.characterise and judgement.verdict == "pass" and not item.variant
            return Done(result, characterise.behaviour(judgement.observed) if recorded else None)
        except Exception as error:  # a verdict whose evidence is not kept is none
            return Done(row(_failed(error, self.folder)))

    def _unplayed(
        self, scenario: Scenario, observations: Sequence[Observation], folder: Path, logs: dict[str, Slice]
    ) -> Judgement:
        """Return the verdict on a scenario that could not be played, with what evidence there is."""
        found = judge(scenario, observations)
        try:
            evidence.save(folder, scenario, observations, found, logs)
        except Exception as error:
            why = unexpected.sentence(error, self.folder)
            return Judgement("infra", (*found.reasons, f"its evidence could not be kept: {why}"), found.observed)
        return found

    def add(self, done: Done) -> ScenarioResult:
        """Report a row: on disk first, as what is not there was not run. Nothing is added to a run that is stopped.

        Returns it with what is known of it.
        """
        result = done.result
        if result.verdict != "pass":
            result = replace(result, findings=(*result.findings, *self.damage()))
        result = self.known.mark(result)
        with self._lock:
            if self.stop.requested:
                return result
            if done.behaviour is not None:
                result = self._characterised(result, done.behaviour)
            try:
                self._rows.append(result)
            except OSError as error:
                self.stop.request("aborted", unexpected.sentence(error, self.folder))
                return result
            # A long run must not grow with what a thousandth pass has to tell.
            self.results.scenarios.append(replace(result, observed=NOTHING, expected={}) if result.again else result)
        self.console.verdict(result)
        if self.console.verbose or (self.console.folds and result.verdict != "pass"):
            self.console.ladder(result.name, publish.story_of(self.folder, result))
        return result

    def _characterised(self, result: ScenarioResult, seen: Behaviour) -> ScenarioResult:
        """Return the row, compared with the behaviour recorded for this target."""
        known = characterise.recorded(str(self.results.target.get("name"))).get(result.name)
        self._behaviours[result.name] = seen
        return replace(result, findings=(*result.findings, *characterise.compare(result.name, seen, known)))

    def _row(self, item: Item, judgement: Judgement, folder: Path, timing: Mapping[str, float]) -> ScenarioResult:
        scenario = item.scenario
        return ScenarioResult(
            name=scenario.name,
            title=scenario.title,
            repeat=item.number,
            verdict=judgement.verdict,
            reasons=judgement.reasons,
            findings=judgement.remarks,
            covers=scenario.covers,
            expected=evidence.expected(scenario),
            observed=judgement.observed,
            timing={key: round(value, 4) for key, value in timing.items()},
            evidence=str(folder.relative_to(self.folder)),
            variant=item.variant,
        )

    def unload(self, lab: Lab, number: int = 1, variant: str = "") -> ScenarioResult:
        """Judge the unload as a row of its own: a driver that hangs or leaks there has not passed."""
        began, mark = time.monotonic(), lab.journal.mark
        number += self._unloads
        folder = self.folder / "evidence" / evidence_name(UNLOAD, number, variant)
        verdict: Verdict
        try:
            folder.parent.mkdir(exist_ok=True)
            folder.mkdir(exist_ok=True)
            limit = limits.UNLOAD * lab.slowness
            with phase(UNLOAD, limit + limits.GRACE * lab.slowness, folder), Heartbeat(lab, limit, "the unload"):
                verdict, reasons = unload(lab)
            observation.write(folder / "observations.jsonl", lab.journal.since(mark))
        except Exception as error:
            verdict, reasons = "infra", list(_failed(error, self.folder).reasons)
        result = ScenarioResult(
            name=UNLOAD,
            title="The driver unloads and leaves nothing behind",
            repeat=number,
            verdict=verdict,
            reasons=reasons,
            covers=UNLOAD_COVERS,
            expected={},
            observed=observed(),
            timing={"total_s": round(time.monotonic() - began, 4)},
            evidence=str(folder.relative_to(self.folder)),
            variant=variant,
        )
        self.add(Done(result))
        return result

    def watch(self) -> None:
        """Abort the run when its folder is not where it was: nobody would find its evidence."""
        trouble = self._home.trouble() or (self._home.emptied if self._rows.lost else None)
        if trouble:
            self.stop.request("aborted", trouble)

    def finish(self, state: State = "complete", why: str | None = None) -> None:
        """Conclude the run, and write the files that people and build servers read, wherever its folder is now."""
        self.watch()
        if self.stop.state is not None:
            state, why = self.stop.state, self.stop.why
        try:
            gone = (
                [row.evidence for row in self.results.scenarios if not (self._home.wherever / row.evidence).exists()]
                if state == "complete"
                else []
            )
            if gone:
                state, why = "aborted", f"evidence was removed while the run went on: {gone[0]} of {len(gone)}"
            elif state == "complete" and not self._kept_whole():
                state, why = "aborted", f"{rows.NAME} does not hold the rows that were reported"
            self.results.conclude(state, why)
            if self._behaviours:
                write_atomically(self._home.wherever / "characterisation.yaml", characterise.document(self._behaviours))
            publish.whole(self._home.wherever, self.results)
        except (OSError, ValueError) as error:  # what is on disk says that the run goes on, which is no success either
            self.results.conclude(
                self.stop.state or "aborted", self.stop.why or unexpected.sentence(error, self.folder)
            )
        janitor.clear(self._home.wherever)
        self._rows.close()
        self._home.close()

    def _kept_whole(self) -> bool:
        with rows.Kept(self._home.wherever) as kept:
            return len(kept) == len(self.results.scenarios)


def _failed(error: Exception, folder: Path) -> Judgement:
    return Judgement("infra", (f"the lab failed: {unexpected.sentence(error, folder)}",), observed())


def new_folder(out: Path | None) -> Path:
    """Return the run's folder, 0700: `out`, or `wsklab-runs/<time>` here.

    Raises UsageError if it is in use or too small.
    """
    folder = out or Path("wsklab-runs") / datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")[:-3]
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        if any(folder.iterdir()):
            raise UsageError(f"{folder}: holds something already; name another folder with --out.")
        janitor.Lease(folder, images.cache_folder())
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise UsageError(f"{folder}: cannot be made: {error.strerror}; name another folder with --out.") from None
    if free < evidence.NEEDED_FREE:
        raise LabError(
            f"{folder}: only {free >> 20} MiB of disk are free, {evidence.NEEDED_FREE >> 20} are needed; "
            "make room or name a folder on another disk with --out."
        )
    return folder


def describe(command: str, seed: int, accelerator: str, versions: dict[str, str], folder: Path) -> dict[str, JsonValue]:
    """Return the `run` part of results.json."""
    return {
        "id": folder.name,
        "uuid": str(uuid.uuid4()),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": seed,
        "command": _PASSWORD.sub(r"\1:***@", command),
        "host": f"{platform.system()} {platform.release()} {platform.machine()}",
        "accelerator": accelerator,
        "versions": {**versions},
    }
