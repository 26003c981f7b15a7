"""A run: a lab for each scenario, each judged at once, results on disk after each of them."""

from __future__ import annotations

import bisect
import itertools
import platform
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from wsklab.orchestrator import characterise, evidence, limits, observation, report
from wsklab.orchestrator.console import Console
from wsklab.orchestrator.errors import LabError, UsageError
from wsklab.orchestrator.evidence import Slice
from wsklab.orchestrator.heartbeat import Heartbeat
from wsklab.orchestrator.judge import Judgement, judge
from wsklab.orchestrator.junit import junit
from wsklab.orchestrator.lab import Lab
from wsklab.orchestrator.observation import describe_loss
from wsklab.orchestrator.play import play, unload
from wsklab.orchestrator.results import UNLOAD, UNLOAD_COVERS, Results, ScenarioResult, write_atomically
from wsklab.orchestrator.scenario import Scenario
from wsklab.orchestrator.watched import phase
from wsklab.qemu.errors import MachineError

SLOWEST = 12.0
"""The slowness of a lab that is not known yet: of the slowest kind of target."""

LAST = 1 << 30
"""The unloads stand behind every scenario."""


@dataclass(frozen=True)
class Item:
    """One run of one scenario; `place` is its row in the results, whoever is first to finish."""

    place: int
    number: int
    scenario: Scenario


@dataclass(frozen=True)
class Done:
    """What became of an item: its row, its story for the report, and what the target did where that is recorded."""

    result: ScenarioResult
    story: list[dict[str, object]]
    behaviour: dict[str, object] | None = None


@dataclass
class Run:
    """Everything that stays the same while scenarios pass; several labs may add to it at once."""

    folder: Path
    results: Results
    console: Console
    boot: Callable[[], Lab]
    isolate: bool = False
    damage: Callable[[], list[str]] = list
    """Looks at the images once more; what is wrong with them is told beside every verdict that may come of it."""

    def __post_init__(self) -> None:
        self._behaviours: dict[str, dict[str, object]] = {}
        self._stories: list[list[dict[str, object]]] = []
        self._places: list[int] = []
        self._lock = threading.Lock()

    def next_lab(self, lab: Lab | None, suspect: bool = False) -> Lab:
        """`lab` made fit for its next scenario, or a fresh one in its place; `suspect` after anything but a pass.

        Raises LabError, MachineError; `lab` is stopped then.
        """
        with phase("making a lab ready", limits.LAB * (lab.slowness if lab else SLOWEST), self.folder):
            if lab is not None:
                if self._again(lab, suspect):
                    return lab
                lab.stop()
            lab = self.boot()
            if self.isolate:
                lab.save()
            return lab

    def _again(self, lab: Lab, suspect: bool) -> bool:
        """Make the lab fit for its next scenario, or say why it gets another one."""
        reason = lab.doubt or (describe_loss(lab.journal.lost) if lab.journal.lost else None)
        if self.isolate:
            try:
                lab.restore()
                return True
            except (LabError, MachineError, TimeoutError) as error:
                reason = f"the lab could not be restored ({error})"
        elif reason is None and suspect:
            try:
                lab.target.state()  # a driver that hangs must not be blamed on the next scenario
            except LabError as error:
                reason = str(error)
        if reason is not None:
            self.console.line(f"          {reason}: the next scenario gets a fresh lab", "yellow")
        return reason is None

    def one(self, lab: Lab, scenario: Scenario, number: int = 1) -> ScenarioResult:
        """One scenario, from canary to verdict, as the next row."""
        item = Item(len(self._places), number, scenario)
        done = self.perform(lab, item)
        self.add(done, item.place)
        return done.result

    def perform(self, lab: Lab, item: Item, attempt: str = "") -> Done:
        """One scenario, from canary to verdict, without adding it; a lab that fails under it is the verdict, too."""
        scenario, number, began = item.scenario, item.number, time.monotonic()
        folder = self.folder / "evidence" / ((scenario.name if number == 1 else f"{scenario.name}-{number}") + attempt)
        folder.mkdir(parents=True)
        logs = {"debug.raw": Slice.begin(lab.target.machine.log("debug.log")),
                "qmp.log": Slice.begin(lab.target.machine.log("qmp.log"))}
        try:
            seed = f"{self.results.run['seed']} {scenario.name} {number}"
            observations = play(lab, scenario, folder / "wire.pcapng", seed)
        except (LabError, MachineError, TimeoutError) as error:  # before the first step, or after the last
            lab.doubt = lab.doubt or str(error) or "something did not happen in the time allowed"
            judgement = Judgement("infra", (f"the lab failed: {lab.doubt}",), {})
            return Done(self._result(scenario, number, judgement, folder, {"total_s": time.monotonic() - began}), [])
        played = time.monotonic()
        judgement = judge(scenario, observations)
        judged = time.monotonic()
        evidence.save(folder, scenario, observations, judgement, logs)
        result = self._result(scenario, number, judgement, folder, {
            "restore_s": lab.last_restore_s, "run_s": played - began, "judge_s": judged - played,
            "total_s": time.monotonic() - began})
        recorded = scenario.expect.characterise and judgement.verdict == "pass"
        return Done(result, report.story(observations), characterise.behaviour(result.observed) if recorded else None)

    def add(self, done: Done, place: int) -> None:
        """Put a row where it belongs, and everything that is known on disk."""
        result = done.result
        if result.verdict != "pass":
            result.findings += self.damage()
        with self._lock:
            if done.behaviour is not None:
                self._characterise(result, done.behaviour)
            at = bisect.bisect(self._places, place)
            self._places.insert(at, place)
            self.results.scenarios.insert(at, result)
            self._stories.insert(at, [] if result.again else done.story)
            self.console.verdict(result)
            self.results.write(self.folder / "results.json")
            if result.again:  # it is on disk; a long run must not grow with what a thousandth pass has to tell
                result.observed, result.expected = {}, {}

    def _characterise(self, result: ScenarioResult, seen: dict[str, object]) -> None:
        """Compare with the behaviour recorded for this target, and write this run's own record."""
        known = characterise.recorded(str(self.results.target.get("name"))).get(result.name)
        result.findings += characterise.compare(result.name, seen, known)
        self._behaviours[result.name] = seen
        write_atomically(self.folder / "characterisation.yaml", characterise.document(self._behaviours))

    def _result(self, scenario: Scenario, number: int, judgement: Judgement, folder: Path,
                timing: dict[str, float]) -> ScenarioResult:
        return ScenarioResult(
            name=scenario.name, title=scenario.title, repeat=number, verdict=judgement.verdict,
            reasons=list(judgement.reasons), findings=list(judgement.remarks), covers=list(scenario.covers),
            expected=evidence.as_document(scenario).get("expect", {}), observed=judgement.observed,
            timing={key: round(value, 4) for key, value in timing.items()},
            evidence=str(folder.relative_to(self.folder)))

    def unload(self, lab: Lab, number: int = 1) -> ScenarioResult:
        """Judge the unload as a row of its own: a driver that hangs or leaks there has not passed."""
        began, mark = time.monotonic(), lab.journal.mark
        folder = self.folder / "evidence" / (UNLOAD if number == 1 else f"{UNLOAD}-{number}")
        folder.mkdir(parents=True, exist_ok=True)
        limit = limits.UNLOAD * lab.slowness
        with phase(UNLOAD, limit + limits.GRACE * lab.slowness, folder), Heartbeat(lab, limit, "the unload"):
            verdict, reasons = unload(lab)
        observations = lab.journal.since(mark)
        observation.write(folder / "observations.jsonl", observations)
        result = ScenarioResult(
            name=UNLOAD, title="The driver unloads and leaves nothing behind", repeat=number, verdict=verdict,
            reasons=reasons, covers=list(UNLOAD_COVERS), expected={}, observed={},
            timing={"total_s": round(time.monotonic() - began, 4)},
            evidence=str(folder.relative_to(self.folder)))
        self.add(Done(result, report.story(observations)), LAST + number)
        return result

    def write(self) -> None:
        """The three files that people and build servers read."""
        self.results.write(self.folder / "results.json")
        write_atomically(self.folder / "junit.xml", junit(self.results))
        evidence = [report.files(self.folder, result.evidence) for result in self.results.scenarios]
        write_atomically(self.folder / "report.html", report.render(self.results.as_dict(), self._stories, evidence))


def order(scenarios: Sequence[Scenario], repeat: int, until_fail: bool) -> Iterator[Item]:
    """All of them, `repeat` times over; `until_fail` without a number goes on for ever."""
    places = itertools.count()
    for number in itertools.count(1) if until_fail and repeat == 1 else range(1, repeat + 1):
        for scenario in scenarios:
            yield Item(next(places), number, scenario)


def new_folder(out: Path | None) -> Path:
    """The run's folder, 0700: `out`, or `wsklab-runs/<time>` here. Raises UsageError if it is in use or too small."""
    folder = out or Path("wsklab-runs") / datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")[:-3]
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        if any(folder.iterdir()):
            raise UsageError(f"{folder}: holds something already; name another folder with --out.")
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise UsageError(f"{folder}: cannot be made: {error.strerror}; name another folder with --out.") from None
    if free < evidence.NEEDED_FREE:
        raise LabError(f"{folder}: only {free >> 20} MiB of disk are free, {evidence.NEEDED_FREE >> 20} are needed; "
                       "make room or name a folder on another disk with --out.")
    return folder


def describe(command: str, seed: int, accelerator: str, versions: dict[str, str], folder: Path) -> dict[str, object]:
    """The `run` part of results.json."""
    return {
        "id": folder.name,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": seed,
        "command": command,
        "host": f"{platform.system()} {platform.release()} {platform.machine()}",
        "accelerator": accelerator,
        "versions": versions,
    }

