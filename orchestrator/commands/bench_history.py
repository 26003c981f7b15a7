"""`wsklab bench history`: the history with a million rows in it."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from pathlib import Path

import click

from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.history import bench, queries
from wsklab.orchestrator.history.database import opened, url_of
from wsklab.orchestrator.results.console import Console


def run(history: str | None, rows: int, as_json: bool) -> None:
    """Measure, and print. Raises UsageError for a database that holds runs already."""
    console = Console(quiet=as_json)
    with tempfile.TemporaryDirectory(prefix="wsklab-bench-") as folder:
        file = str(Path(folder) / "history.sqlite")
        with opened(url_of(history or file)) as database:
            with database.reading() as connection:
                taken = bool(queries.runs(connection, last=1))
            if taken:
                raise UsageError(f"{database.name}: holds runs already; name an empty database.")
            figures = bench.measure(database, rows, console.progress)
            name = database.name
    if as_json:
        click.echo(json.dumps({"history": name, **asdict(figures)}, indent=1))
        return
    console.line(f"{figures.rows} rows in {name}")
    for what, value, busy in (
        ("putting a row in", figures.row_ms, figures.row_cpu_ms),
        ("the past of a scenario", figures.scenario_ms, figures.scenario_cpu_ms),
        ("the grid of 365 runs", figures.grid_ms, figures.grid_cpu_ms),
        ("the newest 20 runs", figures.runs_ms, figures.runs_cpu_ms),
        (f"writing a site of {bench.YEAR} runs", figures.site_ms, figures.site_cpu_ms),
    ):
        console.line(f"{what:26} {value:10.3f} ms, {busy:10.3f} ms of our processor's time")
    drawn = figures.opened_ms
    console.line(f"{'opening it in Chromium':26} " + ("(not installed)" if drawn is None else f"{drawn:10.3f} ms"))
