"""What the lab costs, measured: series of figures, each with its spread, and the comparison of two results."""

from __future__ import annotations

import itertools
import math
import os
import socket
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from wsklab.common import files
from wsklab.drivers.build import BuiltDriver
from wsklab.orchestrator.errors import LabError, UsageError
from wsklab.orchestrator.lab.lab import Lab
from wsklab.orchestrator.lab.resource_usage import resident
from wsklab.orchestrator.results.console import Console
from wsklab.orchestrator.results.plot import Points
from wsklab.orchestrator.run.preparation import Preparation
from wsklab.orchestrator.run.runner import Run
from wsklab.orchestrator.run.supply import LabSupply
from wsklab.orchestrator.scenario.scenario import Scenario
from wsklab.qemu.kd import packet
from wsklab.qemu.kd.messages import DEBUG_IO_HEADER
from wsklab.qemu.kd.packet import Kind, Packet
from wsklab.qemu.kd.session import Session
from wsklab.qemu.wire.control import Wire
from wsklab.qemu.wire.frames import ADDRESSES, MACS, Endpoint, tcp_frame

SCHEMA = 1
PRINT_STRING = 0x3230


@dataclass(frozen=True)
class Figure:
    """One measured thing: median, 95th percentile, least and most of `n` measurements."""

    name: str
    unit: str
    n: int
    median: float
    p95: float
    least: float
    most: float


def figure(name: str, unit: str, values: Iterable[float]) -> Figure:
    """Return the figure of some measurements, of which there is at least one."""
    ranked = sorted(values)
    p95 = ranked[math.ceil(0.95 * len(ranked)) - 1]
    rounded = [round(v, 4) for v in (statistics.median(ranked), p95, ranked[0], ranked[-1])]
    return Figure(name, unit, len(ranked), *rounded)


@dataclass(frozen=True)
class Change:
    """A figure in two results. `real`: their ranges do not even touch."""

    name: str
    unit: str
    before: float
    after: float
    percent: float | None
    real: bool


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Return the figures that both results have, in the order of the first."""
    later = {f["name"]: f for f in after["figures"]}
    changes = []
    for old in before["figures"]:
        new = later.get(old["name"])
        if new is None:
            continue
        percent = 100 * (new["median"] / old["median"] - 1) if old["median"] else None
        apart = new["least"] > old["most"] or new["most"] < old["least"]
        changes.append(
            Change(
                old["name"],
                old["unit"],
                old["median"],
                new["median"],
                None if percent is None else round(percent, 1),
                apart,
            )
        )
    return changes


def read(path: Path) -> dict[str, Any]:
    """Return a bench.json, or the one in a folder. Raises UsageError."""
    path = path / "bench.json" if path.is_dir() else path
    try:
        document: Any = files.read_json(path, files.RESULT)
        if document["schema"] != SCHEMA or not isinstance(document["figures"], list):
            raise ValueError
        compare(document, document)
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError(f"{path}: is not a bench.json of schema {SCHEMA}.") from None
    assert isinstance(document, dict)
    return document


def document(about: Mapping[str, Any], figures: Sequence[Figure], growth: Mapping[str, Points]) -> dict[str, Any]:
    """bench.json; `growth` is name -> points (x, y)."""
    return {"schema": SCHEMA, "about": dict(about), "figures": [asdict(f) for f in figures], "growth": dict(growth)}


# --- without machines ---------------------------------------------------------------------------------------------


def wire_figures(seconds: float) -> list[Figure]:
    """Return the cable alone: frames in at one socket, out at the other."""
    here, there = (Endpoint(MACS[side], ADDRESSES[side], 4000) for side in ("target", "peer"))
    frame = tcp_frame(here, there, 1, 1, 0x10, 1000, bytes(1000))
    latencies, rates = [], []
    folder = Path(os.environ.get("TMPDIR", "/tmp")) / f"wsklab-bench-{os.getpid()}"
    with Wire(folder) as wire:
        wire.target_end.settimeout(5)
        wire.peer_end.settimeout(5)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            began = time.perf_counter()
            wire.target_end.send(frame)
            wire.peer_end.recv(2048)
            latencies.append((time.perf_counter() - began) * 1e6)
        for _ in range(5):
            rates.append(_rate(wire.target_end, wire.peer_end, frame, 2000))
    (folder / "wire.stderr").unlink(missing_ok=True)
    folder.rmdir()
    return [figure("wire: added latency", "us", latencies), figure("wire: frames", "/s", rates)]


def _rate(sender: socket.socket, receiver: socket.socket, frame: bytes, count: int) -> float:
    """Measure frames per second with some under way."""
    began, sent = time.perf_counter(), 0
    for received in range(count):
        while sent < min(count, received + 32):
            sender.send(frame)
            sent += 1
        receiver.recv(2048)
    return count / (time.perf_counter() - began)


def kd_figure(repeats: int) -> Figure:
    """Print packets of 80 characters through a KD session, acknowledgements made, nothing written."""
    text = b"x" * 79 + b"\n"
    payload = DEBUG_IO_HEADER.pack(PRINT_STRING, 6, 0, len(text), 0) + text
    rates = []
    for _ in range(repeats):
        session, count = Session(), 2000
        packets = [
            packet.encode(Packet(Kind.DEBUG_IO, packet.INITIAL_ID | (number & 1), payload)) for number in range(count)
        ]
        began = time.perf_counter()
        events = sum(len(session.feed(data, number * 1e-3).events) for number, data in enumerate(packets))
        rates.append(count / (time.perf_counter() - began))
        assert events >= count - 1, "every line is an event"
    return figure("KD: print packets", "/s", rates)


# --- with machines ------------------------------------------------------------------------------------------------


class Labs:
    """The figures that take a lab. Every scenario is judged, and a verdict other than pass ends the bench."""

    def __init__(self, preparation: Preparation, driver: BuiltDriver, folder: Path) -> None:
        self._preparation = preparation
        self._driver = driver
        self._run = Run(folder, preparation.results(driver, 1), Console(quiet=True))
        self._numbers = itertools.count(1)

    @contextmanager
    def _supply(self, cold: bool = False, isolate: bool = False) -> Iterator[LabSupply]:
        supply = replace(self._preparation, cold=cold).supply(self._driver, isolate)
        try:
            yield supply
        finally:
            supply.retire()

    def one(self, lab: Lab, scenario: Scenario) -> float:
        """Measure the seconds of one scenario, evidence and verdict included."""
        result = self._run.one(lab, scenario, next(self._numbers))
        if result.verdict != "pass":
            raise LabError(f"the bench ends: {scenario.name} was {result.verdict}: {'; '.join(result.reasons)}")
        return result.timing["total_s"]

    def starts(self, scenario: Scenario, repeats: int, cold: bool) -> tuple[list[float], list[float]]:
        """(until the lab is ready, until a scenario has been judged and the lab stopped), a lab for each scenario."""
        ready, whole = [], []
        for _ in range(repeats):
            began = time.monotonic()
            with self._supply(cold) as supply:
                lab = supply.next()
                ready.append(time.monotonic() - began)
                self.one(lab, scenario)
            whole.append(time.monotonic() - began)
        return ready, whole

    def series(self, scenario: Scenario, many: Scenario, repeats: int) -> list[Figure]:
        """One warm lab: shared scenarios, isolated ones, many connections at once, and what it all takes."""
        with self._supply(isolate=True) as supply:
            lab = supply.next()
            self.one(lab, scenario)
            cpu: list[float] = []
            shared = [_with_cpu(cpu, lambda: self.one(lab, scenario)) for _ in range(repeats)]
            restores, isolated = [], []
            for _ in range(repeats):
                lab = supply.next()
                restores.append(lab.last_restore_s)
                isolated.append(lab.last_restore_s + self.one(lab, scenario))
            verdicts = [60 * many.connections / self.one(lab, many) for _ in range(max(2, repeats // 5))]
            return [
                figure("restore with health checks", "s", restores),
                figure("isolated scenario", "s", isolated),
                figure("shared scenario", "s", shared),
                figure("our own Python per scenario", "ms", [1000 * value for value in cpu]),
                figure(f"verdicts per minute, {many.connections} at once", "/min", verdicts),
                *(
                    figure(f"memory of the {name}'s QEMU", "MiB", [resident(lab.machine(name).pid)])
                    for name in ("target", "peer")
                ),
                figure("memory of ours", "MiB", [resident(os.getpid())]),
                figure("disk of a running lab", "MiB", [_blocks(lab.folder)]),
            ]

    def by_connections(self, many: Scenario, counts: Sequence[int], repeats: int) -> Points:
        """Return (connections, seconds of a scenario with so many side by side: the median of `repeats`)."""
        with self._supply() as supply:
            lab = supply.next()
            scenarios = [many.model_copy(update={"connections": count}) for count in counts]
            return [(s.connections, statistics.median(self.one(lab, s) for _ in range(repeats))) for s in scenarios]

    def by_labs(self, scenario: Scenario, most: int, each: int) -> Points:
        """(labs, scenarios per minute of all of them), `each` scenarios on every lab, the labs' starts not counted."""
        labs: list[Lab] = []
        points: list[tuple[float, float]] = []
        with ExitStack() as supplies:
            for count in range(1, most + 1):
                labs.append(supplies.enter_context(self._supply()).next())
                self.one(labs[-1], scenario)
                began = time.monotonic()
                with ThreadPoolExecutor(count) as pool:
                    list(pool.map(lambda lab: [self.one(lab, scenario) for _ in range(each)], labs))
                points.append((count, round(60 * count * each / (time.monotonic() - began), 1)))
        return points


def _with_cpu(cpu: list[float], act: Callable[[], float]) -> float:
    began = time.process_time()
    result = act()
    cpu.append(time.process_time() - began)
    return result


def _blocks(folder: Path) -> float:
    return sum(path.stat().st_blocks for path in folder.rglob("*")) * 512 / 2**20
