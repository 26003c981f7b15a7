"""`wsklab bench fleet`: labs that only take time, on real dask workers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict

import click

from wsklab.orchestrator.fleet import extra
from wsklab.orchestrator.results.console import Console


def run(slots: Sequence[int], rows: int, seconds: float, killed: int, as_json: bool) -> None:
    """Measure for each number of slots, and print. Raises UsageError, LabError."""
    extra.needed()
    from wsklab.orchestrator.fleet import bench

    console, found = Console(quiet=as_json), []
    for count in slots:
        with console.step(f"{count} slots, {rows} rows of {seconds:g} s") as say:
            found.append(bench.measure(count, rows, seconds, killed=killed))
            say(f"{found[-1].wall_s:.1f} s")
    if as_json:
        click.echo(json.dumps([asdict(figures) for figures in found], indent=1))
        return
    for line in bench.as_lines(found):
        click.echo(line)
