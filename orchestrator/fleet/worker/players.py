"""Who plays the rows of a batch on a worker: a process with a lab, or something simulated that only takes the time."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from wsklab import images
from wsklab.common import json_line
from wsklab.orchestrator.errors import LabError
from wsklab.orchestrator.fleet.job import Back, Job, back_of, job_as_json, row_of, unload_of
from wsklab.orchestrator.judge.observed import Verdict
from wsklab.orchestrator.results.results import UNLOAD
from wsklab.orchestrator.run import janitor
from wsklab.orchestrator.run.order import Item
from wsklab.qemu.deadline import within
from wsklab.qemu.process import Child

TIDYING = 10.0
"""Seconds for a lab's process to stop its machines."""


class Player(Protocol):
    """One slot's lab, kept for the next batch of the same job."""

    job: Job
    settings: Mapping[str, Any]
    """What its target has told of itself."""

    def play(self, item: Item) -> list[Back]:
        """Play an item; returns what has come of it. Raises LabError when nothing has: the lab is gone then."""

    def conclude(self) -> list[Back]:
        """Judge the driver's unload, and stop the lab. Raises LabError."""

    def stop(self) -> None:
        """End at once; whoever waits for an answer gets a LabError."""


def player_of(job: Job) -> Player:
    """Return a player for a job. Raises LabError, OSError."""
    return Simulated(job) if job.simulated is not None else LabPlayer(job)


class LabPlayer:
    """A lab in a process of its own."""

    def __init__(self, job: Job) -> None:
        """Start the process, which fetches what the job needs. Raises LabError, OSError."""
        self.job = job
        self.settings: Mapping[str, Any] = {}
        self._work = works() / f"{job.run[:8]}-{uuid.uuid4().hex[:8]}"
        self._work.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._stderr = self._work.with_suffix(".stderr")
        command = ["env", f"WSKLAB_FLEET_WORK={self._work}", sys.executable, "-P", "-m"]
        self._child = Child([*command, "wsklab.orchestrator.fleet.worker.lab_process"], self._stderr, pipes=True)
        self._stopped = False
        try:
            self._ask(job=job_as_json(job))
        except LabError:
            self.stop()
            raise

    def play(self, item: Item) -> list[Back]:
        """Play an item. Raises LabError."""
        scenario = item.scenario.model_dump_json(by_alias=True, exclude_unset=True)
        return self._rows(self._ask(item={"scenario": scenario, "number": item.number, "variant": item.variant}))

    def conclude(self) -> list[Back]:
        """Judge the driver's unload, and end the process. Raises LabError."""
        try:
            return self._rows(self._ask(end=True))
        finally:
            self.stop()

    def _rows(self, answer: Mapping[str, Any]) -> list[Back]:
        self.settings = answer["target"]
        return [back_of(document) for document in answer["rows"]]

    def _ask(self, **words: object) -> dict[str, Any]:
        try:
            self._child.stdin.write(json_line.encode(words) + b"\n")
            self._child.stdin.flush()
            answer = json_line.decode(self._child.stdout.readline())
        except OSError:
            answer = None
        if answer is None:
            said = self._child.stderr_tail().strip().splitlines()
            raise LabError(f"the process of a lab ended{': ' + said[-1] if said else ''}")
        if "failed" in answer:
            raise LabError(str(answer["failed"]))
        return answer

    def stop(self) -> None:
        """End the process: its machines with it, in order if that is quick."""
        if self._stopped:
            return
        self._stopped = True
        self._child.terminate()
        if self._child.wait(within(TIDYING)) is None:
            self._child.kill()  # the machines end with it
            self._child.wait(within(TIDYING))
        shutil.rmtree(self._work, ignore_errors=True)
        self._stderr.unlink(missing_ok=True)


def works() -> Path:
    """Return the folder in which the labs of this host's workers have theirs."""
    return images.cache_folder() / "fleet" / "work"


def sweep() -> None:
    """Remove what labs of workers that were killed have left."""
    for folder in works().glob("*"):
        if folder.suffix == ".stderr" and not folder.with_suffix("").exists():
            folder.unlink(missing_ok=True)
        elif folder.is_dir() and not janitor.alive(folder):
            shutil.rmtree(folder, ignore_errors=True)


class Simulated:
    """No lab at all: a row after some time, and on demand what goes wrong on a worker.

    The job says how long rows take (`seconds`, log-normal with `spread`), and what happens to scenarios: `faults` has
    names with `kill`, `stop` (SIGSTOP) or `full` (the disk), each done once: `marks` is a folder in which that is
    noted. `failing` names scenarios that fail.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.settings: Mapping[str, Any] = {"simulated": True}
        assert job.simulated is not None, "`player_of` has looked"
        self._about = job.simulated
        self._random = random.Random(f"{job.seed} {uuid.uuid4()}")
        self._stopped = threading.Event()
        self._variant: str | None = None

    def play(self, item: Item) -> list[Back]:
        """Wait, and pass. Raises LabError."""
        backs = [] if self._variant in (None, item.variant) else self.conclude()
        self._variant = item.variant
        if item.scenario.name == UNLOAD:
            return [*backs, *self.conclude()]
        self._fault(item)
        began, mean = time.monotonic(), float(self._about.get("seconds", 0.0))
        if mean:
            self._wait(self._random.lognormvariate(0.0, float(self._about.get("spread", 0.0))) * mean)
        verdict: Verdict = "fail" if item.scenario.name in self._about.get("failing", ()) else "pass"
        reasons = () if verdict == "pass" else ("it is simulated so",)
        return [*backs, Back(row_of(item, verdict, reasons, time.monotonic() - began))]

    def _wait(self, seconds: float) -> None:
        if self._stopped.wait(seconds):
            raise LabError("stopped")

    def conclude(self) -> list[Back]:
        """Unload nothing."""
        variant, self._variant = self._variant, None
        return [] if variant is None else [Back(row_of(unload_of(variant), "pass"))]

    def stop(self) -> None:
        """End the waiting."""
        self._stopped.set()

    def _fault(self, item: Item) -> None:
        kind = self._about.get("faults", {}).get(item.scenario.name)
        if kind is not None and self._first(f"{kind}-{item.scenario.name}"):
            FAULTS[kind]()
        if random.random() < float(self._about.get("deaths", 0.0)):
            os.kill(os.getpid(), signal.SIGKILL)

    def _first(self, name: str) -> bool:
        try:
            (Path(self._about["marks"]) / name).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


def _full() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/somewhere")


FAULTS: Mapping[str, Callable[[], None]] = {
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "stop": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "full": _full,
}
