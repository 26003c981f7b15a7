"""A fleet in processes of its own, whose labs are simulated: a scheduler, workers, and a client of a run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from support.rows import some
from support.simulated_run import scenario

from wsklab.orchestrator.fleet import extra
from wsklab.orchestrator.results.console import Console
from wsklab.orchestrator.results.results import Results, ScenarioResult
from wsklab.orchestrator.run import resuming
from wsklab.orchestrator.run.order import order, plan
from wsklab.orchestrator.run.runner import Done, Run
from wsklab.orchestrator.scenario.scenario import Scenario

extra.needed()

from wsklab.orchestrator.fleet.client.dispatch import Dispatch  # noqa: E402  # dask is set up first
from wsklab.orchestrator.fleet.client.link import Link  # noqa: E402
from wsklab.orchestrator.fleet.job import Job, fingerprint  # noqa: E402
from wsklab.orchestrator.fleet.needs import Needs  # noqa: E402


class Process:
    """One process of a fleet."""

    def __init__(self, *words: str, **environment: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "wsklab.orchestrator", "fleet", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=os.environ | {"PYTHONUNBUFFERED": "1", "WSKLAB_ACCEL": "tcg"} | environment,
        )

    def said(self, text: str) -> str:
        """Return the rest of the next line that begins so."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith(text.encode()):
                return line.decode().removeprefix(text).strip()
        raise AssertionError(f"it never said {text!r}")

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def end(self) -> None:
        """End it, whatever state it is in."""
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()


@contextmanager
def fleet(cache: Path, workers: int = 2, labs: int = 2, address: str = "tcp://127.0.0.1:0") -> Iterator[Fleet]:
    """Start a scheduler and workers, each with a cache of its own."""
    made = Fleet(cache, address)
    try:
        for _ in range(workers):
            made.add(labs)
        for worker in made.workers:
            worker.said("worker ")
        yield made
    finally:
        for process in (*made.workers, made.scheduler):
            process.end()


class Fleet:
    """The processes."""

    def __init__(self, cache: Path, address: str) -> None:
        self.cache = cache
        self.scheduler = Process("scheduler", address)
        self.address = self.scheduler.said("scheduler: ")
        self.workers: list[Process] = []

    def restart_scheduler(self) -> None:
        """Kill the scheduler, and start another one at the same address."""
        self.scheduler.end()
        self.scheduler = Process("scheduler", self.address)
        self.scheduler.said("scheduler: ")

    def add(self, labs: int, *more: str) -> Process:
        """Another worker."""
        own = str(self.cache / f"worker-{len(self.workers)}")
        words = ["worker", self.address, "--labs", str(labs), "--host", "127.0.0.1", *more]
        self.workers.append(Process(*words, WSKLAB_CACHE=own))
        return self.workers[-1]


NAMES = ("first", "second", "third", "fourth")


class Client:
    """A run of simulated scenarios on a fleet."""

    def __init__(
        self,
        folder: Path,
        address: str,
        repeat: int = 5,
        names: Sequence[str] = NAMES,
        variants: Sequence[str] = ("",),
        **simulated: Any,
    ) -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        scenarios: list[Scenario] = [scenario(name) for name in names]
        each: Mapping[str, Sequence[Scenario]] = dict.fromkeys(variants, scenarios)
        self.items = list(order(scenarios, repeat, False, each))
        self.results = Results(**{**vars(some()), "plan": plan(scenarios, repeat, False, each), "state": "running"})
        self.results.scenarios = []
        self.run = Run(folder, self.results, Console(quiet=True))
        marks = folder / "marks"
        marks.mkdir(exist_ok=True)
        job = Job(
            folder.name + os.urandom(4).hex(),
            fingerprint(),
            "standin",
            "tcg",
            1,
            simulated={"seconds": 0.05, "spread": 0.5, "marks": str(marks), **simulated},
        )
        self.dispatch = Dispatch(self.run, job, Needs("lab-tcg", fingerprint()), lambda: Link(address, None, job.run))

    def each_row(self, do: Callable[[], object]) -> None:
        """Do something when a row has been added."""
        add = self.run.add

        def added(done: Done) -> ScenarioResult:
            row = add(done)
            do()
            return row

        self.run.add = added  # type: ignore[method-assign]

    def after(self, rows: int) -> threading.Event:
        """Return what is set when so many rows have been added."""
        reached = threading.Event()
        self.each_row(lambda: reached.set() if len(self.results.scenarios) >= rows else None)
        return reached

    def play(self) -> Results:
        """To the end."""
        self.run.begin()
        self.dispatch.play(resuming.left(iter(self.items), self.results.plan, []), len(self.items))
        return self.results

    def go_on(self) -> Results:
        """Let a run that was killed go on."""
        memo = resuming.memo({}, [])
        resuming.take_up(self.folder, memo, memo, self.results)
        done = list(self.results.scenarios)
        self.run = Run(self.folder, self.results, Console(quiet=True))
        self.dispatch.run = self.run
        self.dispatch.__post_init__()
        self.run.begin()
        self.dispatch.play(resuming.left(iter(self.items), self.results.plan, done), self.results.plan.left(done))
        return self.results


if __name__ == "__main__":
    told = Client(Path(sys.argv[1]), sys.argv[2], repeat=20, seconds=0.5)
    told.each_row(lambda: print("row", flush=True))
    told.play()
