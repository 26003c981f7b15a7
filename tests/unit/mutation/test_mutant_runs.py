"""Running mutants: what a lab has to say, and how often, before a mutant counts as caught. The lab is played."""

from __future__ import annotations

import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wsklab.drivers.build import BuiltDriver
from wsklab.orchestrator.errors import LabError
from wsklab.orchestrator.mutation import runs as mutant_runs
from wsklab.orchestrator.mutation.mutants import Mutant, generate
from wsklab.orchestrator.mutation.results import Order, Outcome, Row, outcome
from wsklab.orchestrator.mutation.runs import NOTICED, Built, Trial, Workers
from wsklab.orchestrator.run.stopping import Stop
from wsklab.orchestrator.scenario import catalogue
from wsklab.orchestrator.scenario.scenario import Scenario
from wsklab.orchestrator.trials.scarcity import short_of

SOURCE = "static int f(void)\n{\n    g();\n    h();\n}\n"
SCENARIOS = catalogue.select(["linger-zero", "kill", "send-pending", "half-close"])
PASSES = ["pass"]


class PlayedLab:
    """Knows which driver is loaded; a scenario's verdicts are handed out one by one, the last for ever."""

    slowness = 1.0

    def __init__(self, verdicts: dict[str, list[str]], correct: dict[str, str]) -> None:
        self.verdicts, self.correct, self.loaded = verdicts, correct, "correct"
        self.ran: Counter[str] = Counter()
        self.doubt: str | None = None
        self.journal = SimpleNamespace(lost=None)
        self.target = SimpleNamespace(state=lambda: None)

    def judge(self, scenario: Scenario) -> str:
        if self.loaded == "correct":
            return self.correct.get(scenario.name, "pass")
        self.ran[scenario.name] += 1
        verdicts = self.verdicts.get(scenario.name, PASSES)
        return verdicts[min(self.ran[scenario.name], len(verdicts)) - 1]


class PlayedLane:
    def __init__(self, lab: PlayedLab) -> None:
        self.lab, self.fresh_labs = lab, 0

    def next(self) -> PlayedLab:
        self.lab.loaded, self.fresh_labs = "correct", self.fresh_labs + 1
        self.lab.doubt = None
        return self.lab

    def bare(self) -> PlayedLab:
        self.next().loaded = ""
        return self.lab


class PlayedSubject:
    def __init__(self, before: Row | None = None, loads: bool = True) -> None:
        self._before, self._loads = before, loads

    def before(self, built: Built) -> Row | None:
        return self._before

    def put(self, lab: PlayedLab, driver: BuiltDriver) -> None:
        if not self._loads:
            raise LabError("the driver could not be loaded: Win32 error 1359")
        lab.loaded = "mutant"


class PlayedRun:
    folder = Path("/nonexistent")

    def __init__(self) -> None:
        self.seen: set[tuple[str, int]] = set()

    def one(self, lab: PlayedLab, scenario: Scenario, number: int) -> Any:
        assert (scenario.name, number) not in self.seen, "each run of a scenario has evidence of its own"
        self.seen.add((scenario.name, number))
        return SimpleNamespace(name=scenario.name, verdict=lab.judge(scenario), reasons=["why"], evidence="none")


class PlayedCourse:
    """Three trials of a scenario, as one allocation after the other fails."""

    def __init__(self) -> None:
        self.left = [short_of(SCENARIOS[0], number) for number in (1, 2, 3)]
        self.heard: list[str] = []

    def next(self) -> Scenario | None:
        return self.left.pop(0) if self.left else None

    def tell(self, row: Any) -> bool:
        self.heard.append(row.name)
        return True


def built() -> Built:
    driver = BuiltDriver(Path("x.sys"), "0" * 64, "wsklab", None, Path("x.sys"))
    return Built(generate("f.c", SOURCE)[0], SOURCE, driver)


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Outcome, PlayedLane]]:
    def play(
        verdicts: dict[str, list[str]] | None = None,
        correct: dict[str, str] | None = None,
        unload: tuple[str, list[str]] = ("pass", []),
        shortages: Callable[[Mutant], PlayedCourse] | None = None,
        **subject: Any,
    ) -> tuple[Outcome, PlayedLane]:
        monkeypatch.setattr(mutant_runs, "unload", lambda lab: unload)
        worker = PlayedLane(PlayedLab(verdicts or {}, correct or {}))
        played, order = PlayedSubject(**subject), Order(SCENARIOS)
        trial = Trial(worker, played, order, lambda name: PlayedRun(), shortages)  # type: ignore[arg-type, return-value]
        return trial.one(built()), worker

    return play


def test_nothing_unusual_is_a_survivor_that_has_met_everything(played: Any) -> None:
    done, worker = played()
    assert (done.result, done.by, done.rows) == ("survived", None, ())
    assert set(worker.lab.ran) == {s.name for s in SCENARIOS}
    assert done.runs == len(SCENARIOS) + 2  # and the unload after each stage


def test_what_no_scenario_catches_meets_memory_that_is_short(played: Any) -> None:
    course = PlayedCourse()
    done, _ = played({"linger-zero-fails-2": ["fail"]}, shortages=lambda mutant: course)
    assert (done.result, done.by) == ("caught", Row("linger-zero-fails-2", "fail", "why"))
    assert set(course.heard) == {"linger-zero-fails-1", "linger-zero-fails-2"}
    caught, _ = played({"kill": ["fail"]}, shortages=lambda mutant: pytest.fail("it was caught before"))
    assert caught.by.scenario == "kill"


def test_a_fail_that_repeats_catches_and_ends_it(played: Any) -> None:
    done, worker = played({"linger-zero": ["fail"]})
    assert (done.result, done.by) == ("caught", Row("linger-zero", "fail", "why"))
    assert worker.lab.ran == {"linger-zero": 2}


def test_a_fail_that_does_not_repeat_is_a_flake(played: Any) -> None:
    done, worker = played({"linger-zero": ["fail", "pass"]})
    assert (done.result, done.rows) == ("survived", (Row("linger-zero", "flaky", "why"),))
    assert worker.lab.ran["send-pending"] == 1


def test_a_mutant_may_fail_only_what_is_not_its_first_scenario(played: Any) -> None:
    done, worker = played({"linger-zero": ["fail", "pass", "fail"]})
    assert (done.result, done.by) == ("caught", Row("linger-zero", "fail", "why"))
    assert worker.lab.ran == {"linger-zero": 3}


def test_what_the_correct_build_does_not_pass_says_nothing(played: Any) -> None:
    done, _ = played({"linger-zero": ["fail"]}, correct={"linger-zero": "fail"})
    assert (done.result, done.rows) == ("survived", (Row("linger-zero", "unsound", "why"),))


def test_what_is_blamed_on_nobody_is_noticed_unless_a_fail_follows(played: Any) -> None:
    done, _ = played({"linger-zero": ["infra"]})
    assert (done.result, done.rows) == ("noticed", (Row("linger-zero", "infra", "why"),))
    done, _ = played({"linger-zero": ["infra"], "send-pending": ["fail"]})
    assert (done.result, done.by) == ("caught", Row("send-pending", "fail", "why"))


def test_some_verdicts_that_blame_nobody_are_enough(played: Any) -> None:
    done, worker = played({s.name: ["inconclusive"] for s in SCENARIOS})
    assert done.result == "noticed"
    assert len(worker.lab.ran) == NOTICED


def test_one_that_there_was_no_time_for_has_not_survived(played: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutant_runs, "LIMIT", -1.0)
    done, worker = played()
    assert (done.result, done.rows[0].scenario, worker.fresh_labs) == ("noticed", "limit", 0)


def test_a_mutant_that_does_not_load_is_caught(played: Any) -> None:
    done, _ = played(loads=False)
    assert done.by == Row("driver-load", "fail", "the driver could not be loaded: Win32 error 1359")


def test_the_unload_is_judged(played: Any) -> None:
    done, _ = played(unload=("fail", ["the driver leaks at unload: 1 irps"]))
    assert done.by == Row("driver-unload", "fail", "the driver leaks at unload: 1 irps")


def test_tests_without_a_lab_spare_it(played: Any) -> None:
    done, worker = played(before=Row("native tests", "fail", "line 1"))
    assert (done.by, worker.fresh_labs) == (Row("native tests", "fail", "line 1"), 0)


# --- side by side -------------------------------------------------------------------------------------------------


class PlayedTrial:
    def __init__(self, fails: bool = False) -> None:
        self._fails = fails

    def one(self, one: Built) -> Outcome:
        if self._fails:
            raise LabError("no lab boots")
        return outcome(one.mutant, one.source, [], 0.0)


class StoppedLane:
    stopped = 0

    def retire(self) -> None:
        self.stopped += 1


def builds(count: int) -> Iterator[Built]:
    yield from (built() for _ in range(count))


def test_each_build_is_taken_once_and_the_labs_are_stopped() -> None:
    done, workers = list[Outcome](), [StoppedLane(), StoppedLane()]
    Workers(builds(20), done.append, Stop()).play([(worker, PlayedTrial()) for worker in workers])  # type: ignore[misc]
    assert len(done) == 20
    assert [worker.stopped for worker in workers] == [1, 1]


def test_a_lab_that_does_not_boot_ends_the_run_in_words() -> None:
    with pytest.raises(LabError, match="no lab boots"):
        Workers(builds(3), lambda done: None, Stop()).play([(StoppedLane(), PlayedTrial(fails=True))])  # type: ignore[list-item]


class StoppedTrial:
    """Finds its lab stopped in the middle of a mutant, which then looks as if it did not load."""

    def __init__(self, stop: Stop, interrupt: Callable[[], None]) -> None:
        self._stop, self._interrupt, self._stopped = stop, interrupt, threading.Event()
        self._thread = threading.current_thread()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(60)  # so that whatever it has to say is said before the run ends

    def one(self, one: Built) -> Outcome:
        self._thread = threading.current_thread()
        self._stop.watch(self)
        self._interrupt()
        assert self._stopped.wait(60)
        return outcome(one.mutant, one.source, [Row("driver-load", "fail", "the lab was stopped")], 0.0)


def test_an_interruption_catches_no_mutant() -> None:
    stop, done = Stop(), list[Outcome]()
    trial = StoppedTrial(stop, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        Workers(builds(3), done.append, stop).play([(StoppedLane(), trial)])  # type: ignore[list-item]
    assert done == []


def test_a_disk_that_is_full_ends_the_run_too() -> None:
    def keep(done: Outcome) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        Workers(builds(3), keep, Stop()).play([(StoppedLane(), PlayedTrial())])  # type: ignore[list-item]
