"""`wsklab bench fleet`: labs that only take time, on real dask workers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from wsklab.orchestrator.fleet import extra
from wsklab.orchestrator.results.console import Console


def run(
    sizes: Sequence[tuple[int, int]],
    seconds: float,
    workers: int,
    killed: int,
    plots: Path | None,
    as_json: bool,
) -> None:
    """Measure for each pair of slots and rows, print, and draw. Raises UsageError, LabError, OSError."""
    extra.needed()
    from wsklab.orchestrator.fleet import bench

    console, found = Console(quiet=as_json), []
    for count, rows in sizes:
        with console.step(f"{count} slots, {rows} rows of {seconds:g} s") as say:
            found.append(bench.measure(count, rows, seconds, workers, killed))
            say(f"{found[-1].wall_s:.1f} s")
    if plots is not None:
        plots.mkdir(parents=True, exist_ok=True)
        for name, drawing in bench.drawings(found).items():
            (plots / f"{name}.svg").write_text(drawing, encoding="utf-8")
    if as_json:
        click.echo(json.dumps([asdict(figures) for figures in found], indent=1))
        return
    for line in bench.as_lines(found):
        click.echo(line)
