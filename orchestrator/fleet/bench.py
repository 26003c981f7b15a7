"""`wsklab bench fleet`: what everything around the labs costs, with labs that only take time, on real dask workers.

Scheduler, workers and client are processes as in a fleet; a slot is a thread of a worker, which waits as long as a row
is said to take. Rows are counted and not kept: what a run's own folder costs is measured elsewhere.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsklab.orchestrator.errors import LabError
from wsklab.orchestrator.fleet.client.dispatch import Dispatch
from wsklab.orchestrator.fleet.client.link import Link
from wsklab.orchestrator.fleet.job import Job, fingerprint
from wsklab.orchestrator.fleet.needs import Needs
from wsklab.orchestrator.fleet.worker.machine import resource as slot
from wsklab.orchestrator.results.console import Console
from wsklab.orchestrator.results.plot import line_chart
from wsklab.orchestrator.results.results import UNLOAD, Plan, Results, ScenarioResult, State
from wsklab.orchestrator.run.order import Item
from wsklab.orchestrator.run.runner import Done, Run
from wsklab.orchestrator.scenario.scenario import Scenario
from wsklab.qemu.deadline import within
from wsklab.qemu.process import Child

NAME = "simulated"
SCENARIO = {"name": NAME, "title": "Only time passes", "steps": [{"lab": "settle"}]}

NOWHERE = "tcp://127.0.0.1:0"

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Figures:
    """One measurement. `ideal_s` is what the rows take on so many slots, if nothing else cost anything."""

    slots: int
    workers: int
    rows: int
    row_s: float
    """Mean of what a row takes."""
    killed: int
    """Workers that were killed half-way."""
    wall_s: float
    rows_a_second: float
    ideal_s: float
    tail_s: float
    """From the first moment at which fewer rows are left than there are slots, to the end."""
    client_ms: float
    """Of a processor, for each row."""
    scheduler_ms: float
    wall_ms: float
    """Of the wall, for each row, beyond the ideal."""
    client_mib: float
    """What the client's memory grew by, at its most."""
    scheduler_mib: float
    """The scheduler's memory, at its most."""
    late: int
    """Rows that came twice."""
    load: float


class Counted(Run):
    """A run that counts its rows."""

    def __init__(self, folder: Path, rows: int) -> None:
        results = Results({"seed": 1, "id": "bench", "uuid": "bench"}, {"name": NAME}, plan=Plan((NAME,), 1))
        super().__init__(folder, results, Console(quiet=True))
        self.count, self.seconds, self.rows = 0, 0.0, rows
        self.tail_began: float | None = None
        self.slots = 0
        self.half = threading.Event()

    def add(self, done: Done) -> ScenarioResult:
        """Count a row."""
        row = done.result
        if row.name == UNLOAD:
            self.results.scenarios.append(row)
            return row
        if row.verdict != "pass":
            raise LabError(f"a simulated row has not passed: {'; '.join(row.reasons)}")
        self.count += 1
        self.seconds += row.timing["total_s"]
        if self.count * 2 >= self.rows:
            self.half.set()
        if self.tail_began is None and self.rows - self.count < self.slots:
            self.tail_began = time.monotonic()
        return row

    def finish(self, state: State = "complete", why: str | None = None) -> None:
        """Conclude nothing."""
        self.half.set()
        self.results.state, self.results.why = self.stop.state or state, self.stop.why or why


def items(rows: int) -> Iterator[Item]:
    """So many repetitions of nothing."""
    scenario = Scenario.model_validate(SCENARIO)
    return (Item(number, scenario) for number in range(1, rows + 1))


def measure(slots: int, rows: int, row_s: float, workers: int = 5, killed: int = 0) -> Figures:
    """Start a fleet, run so many rows on it, and end it. Raises LabError."""
    workers = min(workers, slots)
    with tempfile.TemporaryDirectory(prefix="wsklab-bench-") as name, ExitStack() as stack:
        folder = Path(name)
        scheduler = _child(stack, folder / "scheduler", "wsklab.orchestrator", "fleet", "scheduler", NOWHERE)
        address = _said(scheduler, "scheduler: ")
        shares = [str(share) for share in _shares(slots, workers)]
        forks = _child(stack, folder / "workers", "wsklab.orchestrator.fleet.bench_workers", address, *shares)
        pids, joined = list[int](), 0
        while joined < workers:
            said = _said(forks, "")
            pids += [int(said.removeprefix("pid "))] if said.startswith("pid ") else []
            joined += said.startswith("worker ")
        job = Job("bench", fingerprint(), "simulated", "tcg", 1, simulated={"seconds": row_s, "spread": 0.5})
        run = Counted(folder, rows)
        run.slots = slots
        dispatch = Dispatch(run, job, Needs(slot(False, "tcg")), lambda: Link(address, None, job.run))
        if killed:
            threading.Thread(target=_kill, args=(run.half, pids[:killed]), daemon=True).start()
        before, memory = _cpu(scheduler.pid), _memory()
        own, began = time.process_time(), time.monotonic()
        dispatch.play(items(rows), rows)
        ended, own, spent = time.monotonic(), time.process_time() - own, _cpu(scheduler.pid) - before
        if run.results.state != "complete" or run.count != rows:
            raise LabError(f"{run.count} of {rows} rows came: {run.results.why}")
        ideal = run.seconds / slots
        return Figures(
            slots,
            workers,
            rows,
            row_s,
            killed,
            round(ended - began, 2),
            round(rows / (ended - began), 1),
            round(ideal, 2),
            round(ended - (run.tail_began or began), 2),
            round(1000 * own / rows, 3),
            round(1000 * spent / rows, 3),
            round(1000 * max(0.0, ended - began - ideal) / rows, 3),
            round(_memory() - memory, 1),
            round(_peak(scheduler.pid), 1),
            dispatch.late,
            round(os.getloadavg()[0], 1),
        )


def _shares(slots: int, workers: int) -> Sequence[int]:
    return [slots // workers + (n < slots % workers) for n in range(workers)]


def _child(stack: ExitStack, place: Path, *words: str) -> Child:
    environment = ["env", f"WSKLAB_CACHE={place}", "WSKLAB_ACCEL=tcg"]
    command = [*environment, sys.executable, "-P", "-m", *words]
    child = Child(command, place.with_suffix(".log"), pipes=True)

    def end() -> None:
        child.terminate()
        if child.wait(within(10)) is None:
            child.kill()
            child.wait(within(10))

    stack.callback(end)
    return child


def _said(child: Child, begins: str) -> str:
    for line in child.stdout:
        if line.startswith(begins.encode()):
            return line.decode().removeprefix(begins).strip()
    raise LabError(f"a process of the fleet ended: {child.stderr_tail().strip()[-300:]}")


def _kill(half: threading.Event, pids: Sequence[int]) -> None:
    half.wait()
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _cpu(pid: int) -> float:
    """Seconds of a processor that a process has had."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def _peak(pid: int) -> float:
    """MiB that a process has had at its most."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def _memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def drawings(found: Sequence[Figures]) -> dict[str, str]:
    """Return charts over the number of slots, as SVG by their names."""
    by_slots = sorted(found, key=lambda figures: figures.slots)

    def line(what: Callable[[Figures], float]) -> list[tuple[float, float]]:
        return [(figures.slots, what(figures)) for figures in by_slots]

    return {
        "fleet-cost": line_chart(
            "What a row costs beside its lab",
            "slots",
            "ms of a processor",
            {"client": line(lambda f: f.client_ms), "scheduler": line(lambda f: f.scheduler_ms)},
        ),
        "fleet-rate": line_chart(
            "Rows that come",
            "slots",
            "rows a second",
            {"measured": line(lambda f: f.rows_a_second), "labs alone": line(lambda f: f.rows / f.ideal_s)},
        ),
        "fleet-tail": line_chart(
            "From the first idle slot to the end",
            "slots",
            "seconds",
            {"tail": line(lambda f: f.tail_s), "a row": line(lambda f: f.row_s)},
        ),
        "fleet-memory": line_chart(
            "Memory",
            "slots",
            "MiB",
            {"client, more": line(lambda f: f.client_mib), "scheduler": line(lambda f: f.scheduler_mib)},
        ),
    }


def as_lines(found: Sequence[Figures]) -> list[str]:
    """Return a table for people."""
    heads = (
        *("slots", "rows", "s a row", "killed", "wall s", "rows/s", "ideal s", "tail s", "client ms", "scheduler ms"),
        *("client MiB", "scheduler MiB", "load"),
    )
    lines = ["| " + " | ".join(heads) + " |", "|" + "---:|" * len(heads)]
    for f in found:
        values: tuple[Any, ...] = (
            f"{f.slots} on {f.workers} workers",
            f"{f.rows:,}",
            f.row_s,
            f.killed,
            f.wall_s,
            f.rows_a_second,
            f.ideal_s,
            f.tail_s,
            f.client_ms,
            f.scheduler_ms,
            f.client_mib,
            f.scheduler_mib,
            f.load,
        )
        lines.append("| " + " | ".join(map(str, values)) + " |")
    return lines
