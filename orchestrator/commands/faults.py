"""`wsklab doctor --faults`: the lab on trial, with every part of it broken on purpose, and the times measured."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.table import Table
from rich.text import Text

from wsklab import images
from wsklab.common.text import visible
from wsklab.drivers.build import build_driver
from wsklab.orchestrator.results.console import Console
from wsklab.orchestrator.results.results import write_atomically
from wsklab.orchestrator.run import runner
from wsklab.orchestrator.run.preparation import Preparation
from wsklab.orchestrator.trials import faults
from wsklab.orchestrator.trials.fault import Outcome, Setup, do
from wsklab.orchestrator.trials.faults import Measured


def run(out: Path | None, as_json: bool) -> int:
    """Do all faults on the stand-in, one after the other; returns the exit code: 0 when each got its verdict.

    What was measured so far is on disk after each.
    """
    console, folder = Console(quiet=as_json), runner.new_folder(out)
    started, host = datetime.now(UTC).isoformat(timespec="seconds"), faults.host_in_words(os.getloadavg()[0])
    with console.step("drivers", makes=True):
        driver = build_driver(None, images.cache_folder(), console.progress)
    preparation = Preparation.prepare(folder, console)
    setup, outcomes = Setup(preparation.quietly(), driver), list[Outcome]()
    measured = Measured(host, started, preparation.accelerator, ())
    for number, case in enumerate(faults.CASES, 1):
        outcomes.append(do(case, setup, folder / f"{number:02}"))
        measured = Measured(host, started, preparation.accelerator, tuple(outcomes))
        write_atomically(folder / "faults.json", json.dumps(faults.as_document(measured), indent=1) + "\n")
        _tell(console, outcomes[-1])
    write_atomically(folder / "faults.md", faults.as_page(measured))
    if as_json:
        console.document((folder / "faults.json").read_text(encoding="utf-8"))
        return measured.exit_code
    wrong = sum(bool(one.problems) for one in outcomes)
    console.line("")
    console.show(_table(measured))
    console.line("")
    console.show(
        Text.assemble(
            (f"{len(outcomes) - wrong} as promised", "green"), "  ", (f"{wrong} not", "red" if wrong else "green")
        )
    )
    click.echo(f"Table: {folder / 'faults.md'}, all that was seen: {folder / 'faults.json'}")
    return measured.exit_code


def _tell(console: Console, outcome: Outcome) -> None:
    """One line as soon as a fault has been done."""
    mark, colour = ("✗", "red") if outcome.problems else ("✓", "green")
    seen = outcome.seen
    console.show(
        Text.assemble(
            (f"{seen.ended_after_s:6.1f} s  ", "dim"), (f"{mark} ", colour), outcome.fault, ": ", seen.verdict
        )
    )
    for problem in outcome.problems:
        console.show(Text(f"          {visible(problem)}; said: {visible(seen.reason)}", style="red"))


def _table(measured: Measured) -> Table:
    """Return the same as on the page, without what is kept, for which a terminal is too narrow."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in faults.HEAD[:-1]:
        seconds = heading.endswith("after")
        table.add_column(heading, overflow="fold", no_wrap=seconds, justify="right" if seconds else "left")
    for outcome in measured.outcomes:
        cells = [Text(visible(cell)) for cell in faults.row(outcome)[:-1]]
        cells[2].stylize("red" if outcome.problems else "green")
        table.add_row(*cells)
    return table
