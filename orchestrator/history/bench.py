"""How fast the history is when it has grown: many runs are made up and put in, then asked for."""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from sqlalchemy.engine import Connection

from wsklab.orchestrator.errors import LabError
from wsklab.orchestrator.history import behaviour, queries, site, writing
from wsklab.orchestrator.history.database import Database
from wsklab.orchestrator.history.past import pasts
from wsklab.orchestrator.history.records import Environment, Ingredients, Row, Run
from wsklab.orchestrator.results import chromium
from wsklab.orchestrator.results.results import Verdict

SCENARIOS, REPEATS, BUILDS = 200, 5, 30

YEAR = 365
"""Runs of the site."""

ASKED = 7
"""Times that each question is asked; the median is told."""


@dataclass(frozen=True)
class Figures:
    """What was measured, in milliseconds; `..._cpu_ms` is our processor's time in it, all there is to SQLite's work."""

    rows: int
    row_ms: float
    row_cpu_ms: float
    scenario_ms: float
    scenario_cpu_ms: float
    grid_ms: float
    grid_cpu_ms: float
    runs_ms: float
    runs_cpu_ms: float
    site_ms: float
    """Writing the site of a year."""
    site_cpu_ms: float
    opened_ms: float | None
    """From opening its first page until the grid is drawn, in Chromium; None where that is not installed."""


def run_of(number: int, every: int) -> Run:
    """Return a run that never was, one a day; each driver build is run for some days."""
    build = number * BUILDS // every
    return Run(
        key=f"bench-{number}",
        name=f"nightly-{number}",
        node="bench",
        folder=f"/nightly/{number}",
        started=1_600_000_000 + 86_400 * number,
        state="complete",
        why=None,
        exit_code=0,
        asked=SCENARIOS * REPEATS,
        not_run=0,
        seed=1,
        command="wsklab run --repeat 5",
        environment=Environment("standin", "wsklab", "kvm"),
        qualifying=False,
        driver="wsklab",
        ingredients=Ingredients(f"{build:064x}", "0" * 64, "Wine 8.0", "7.2", "0.1.0", "Linux"),
    )


def rows_of(number: int, scenarios: int = SCENARIOS, repeats: int = REPEATS) -> list[Row]:
    """Its rows: some scenarios are flaky, some broke, and each takes its time."""
    found = []
    for place in range(scenarios):
        usual = behaviour.of({"wire": {"peer": [["rst"]], "driver": [[]], "frames": 9}, "receives": []})
        for repeat in range(1, repeats + 1):
            verdict = _verdict(number, place, repeat)
            found.append(
                Row(
                    scenario=f"scenario-{place:03}",
                    repeat=repeat,
                    verdict=verdict,
                    reasons=() if verdict == "pass" else (f"R5: WSK_FLAG_ABORTIVE is clear, {number % 7} ms late",),
                    behaviour=usual,
                    expects="0" * 16,
                    total_ms=400 + place + number * 7 % 50 + repeat,
                    run_ms=300,
                    restore_ms=80,
                    judge_ms=5,
                    evidence=f"evidence/scenario-{place:03}-{repeat}",
                )
            )
    return found


def _verdict(number: int, place: int, repeat: int) -> Verdict:
    chance = (number * 7919 + place * 104_729 + repeat * 1_299_709) % 1000  # prime steps: it looks drawn, and never is
    if place % 40 == 7 and number % 500 > 400:
        return "fail"
    return "fail" if place % 20 == 3 and chance < 30 else "infra" if chance == 500 else "pass"


def measure(database: Database, rows: int, progress: Callable[[str], None]) -> Figures:
    """Fill an empty database with this many rows, and ask it what `wsklab history` asks. Raises LabError."""
    runs = max(1, rows // (SCENARIOS * REPEATS))
    spent, busy, written = 0.0, 0.0, 0
    for number in range(runs):
        run, made = run_of(number, runs), rows_of(number)
        began, worked = time.perf_counter(), time.process_time()
        with database.writing() as connection:
            written += writing.record(connection, run, made)
        spent, busy = spent + time.perf_counter() - began, busy + time.process_time() - worked
        if (number + 1) % 100 == 0:
            progress(f"{written} rows are in, {1000 * spent / written:.3f} ms each")
    with database.reading() as connection:
        newest = [kept.id for kept in queries.runs(connection, last=YEAR)]
    site_ms, site_cpu_ms, opened_ms = _site(database)
    return Figures(
        written,
        1000 * spent / written,
        1000 * busy / written,
        *_asked(database, lambda connection: _scenario(connection)),
        *_asked(database, lambda connection: queries.grid(connection, newest)),
        *_asked(database, lambda connection: queries.runs(connection, last=20)),
        site_ms=site_ms,
        site_cpu_ms=site_cpu_ms,
        opened_ms=opened_ms,
    )


def _site(database: Database) -> tuple[float, float, float | None]:
    """Return (writing it, and of that our processor's time, opening it), the median of the openings."""
    with tempfile.TemporaryDirectory(prefix="wsklab-bench-") as folder:
        began, worked = time.perf_counter(), time.process_time()
        first = site.write(database, Path(folder), YEAR)
        written = 1000 * (time.perf_counter() - began), 1000 * (time.process_time() - worked)
        program = chromium.program()
        if program is None:
            return *written, None
        return *written, median(drawn(chromium.run(program, first, "--dump-dom")) for _ in range(ASKED))


def drawn(page: str) -> float:
    """Return after how many milliseconds the page says that its grid was drawn. Raises LabError."""
    found = re.search(r'<html[^>]* data-drawn="(\d+)"', page)
    if found is None:
        raise LabError("Chromium did not draw the site; open the one that `wsklab history --html` writes to see why.")
    return float(found[1])


def _scenario(connection: Connection) -> None:
    cells = queries.past(connection, "scenario-007")
    pasts("scenario-007", queries.runs(connection), cells)


def _asked(database: Database, question: Callable[[Connection], object]) -> tuple[float, float]:
    """Return (time, our processor's time), the medians."""
    times, works = [], []
    for _ in range(ASKED):
        began, worked = time.perf_counter(), time.process_time()
        with database.reading() as connection:
            question(connection)
        times.append(1000 * (time.perf_counter() - began))
        works.append(1000 * (time.process_time() - worked))
    return median(times), median(works)
