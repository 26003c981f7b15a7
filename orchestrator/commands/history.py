"""`wsklab history`: what earlier runs were, where a scenario broke, a site of all of it; importing and pruning."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table
from rich.text import Text

from wsklab.common.text import visible
from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.history import recorder
from wsklab.orchestrator.history.where import OFF, chosen
from wsklab.orchestrator.results.console import COLOURS, Console

if TYPE_CHECKING:
    from wsklab.orchestrator.history.past import Past
    from wsklab.orchestrator.history.queries import Kept

RUNS = 20
"""Runs that are listed when no number is named."""

SIGNS = {
    "p": ("✓", "green"),
    "f": ("✗", "red"),
    "i": ("?", "yellow"),
    "x": ("!", "magenta"),
    "k": ("k", "yellow"),
    "~": ("~", "red"),
}
"""How a scenario's past is drawn, a sign for each run."""

NEWEST = 80
"""Signs that are drawn; earlier runs are in `--json` and on the site."""


def database_of(option: str | None) -> str:
    """Return the history's URL or file. Raises UsageError when there is none."""
    if named := chosen(option):
        return named
    raise UsageError(f"WSKLAB_HISTORY is '{OFF}', so no history is kept; name one with --history.")


def show_runs(history: str, last: int, as_json: bool) -> None:
    """Show the newest runs, and the scenarios that are in trouble."""
    from wsklab.orchestrator.history import queries
    from wsklab.orchestrator.history.past import pasts

    with recorder.opened(history) as database, database.reading() as connection:
        runs = queries.runs(connection, last=last)
        grid = queries.grid(connection, [kept.id for kept in runs])
    if as_json:
        click.echo(json.dumps([{"number": kept.id, **asdict(kept.run)} for kept in runs], indent=1))
        return
    console = Console()
    if not runs:
        console.line(
            "No run is recorded yet. `wsklab run` records itself; `wsklab history import FOLDER...` adds older runs."
        )
        return
    totals: dict[int, dict[str, int]] = {kept.id: {} for kept in runs}
    for cells in grid.values():
        for number, cell in cells.items():
            for verdict, count in cell.counts.items():
                totals[number][verdict] = totals[number].get(verdict, 0) + count
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("run", "started", "name", "driver", "target", "came to"):
        table.add_column(heading, overflow="fold")
    for kept in runs:
        run = kept.run
        table.add_row(
            str(kept.id),
            run.when,
            Text(visible(run.name)),
            Text(visible(f"{run.driver} {run.ingredients.driver_sha256[:12]}")),
            Text(visible(f"{run.environment.target} ({run.environment.accelerator})")),
            _came_to(kept, totals[kept.id]),
        )
    console.show(table)
    trouble = [past for name, cells in grid.items() for past in pasts(name, runs, cells)[:1] if past.trouble]
    for past in trouble:
        console.line("")
        _tell(console, past)
    if not trouble:
        console.line(f"\nNo scenario is known to be broken by the last {len(runs)} runs.")


def _came_to(kept: Kept, totals: dict[str, int]) -> Text:
    parts = [(f"{count} {verdict}  ", COLOURS.get(verdict, "")) for verdict, count in sorted(totals.items(), key=str)]
    if kept.run.state != "complete":
        parts.append((f"{kept.run.state}, {kept.run.not_run} not run", "yellow"))
    return Text.assemble(*parts)


def show_scenario(history: str, scenario: str, as_json: bool) -> None:
    """One scenario's past under each environment. Raises UsageError for one that no run had."""
    from wsklab.orchestrator.history import queries
    from wsklab.orchestrator.history.past import pasts

    with recorder.opened(history) as database, database.reading() as connection:
        cells = queries.past(connection, scenario)
        if not cells:
            raise UsageError(
                f"no run in the history had a scenario '{scenario}'; `wsklab scenario list` names those there are."
            )
        found = pasts(scenario, queries.runs(connection), cells)
        why = {
            past.environment: queries.reasons(connection, scenario, past.runs[past.broke.first_bad].id)
            for past in found
            if past.broke
        }
    if as_json:
        click.echo(json.dumps([_document(past) for past in found], indent=1))
        return
    console = Console()
    for past in found:
        _tell(console, past, why.get(past.environment, ()))
        console.line("")


def _document(past: Past) -> dict[str, Any]:
    runs = [
        {"number": kept.id, "name": kept.run.name, "started": kept.run.started, "state": kept.run.state}
        | {"verdicts": cell.counts, "total_ms": cell.times, "driver_sha256": kept.run.ingredients.driver_sha256}
        for kept, cell in zip(past.runs, past.cells, strict=True)
    ]
    return {
        "scenario": past.scenario,
        "environment": asdict(past.environment),
        "runs": runs,
        "rate": asdict(past.rate),
        "broke": asdict(past.broke) | {"sentence": _sentence(past)} if past.broke else None,
        "drift": asdict(past.drift) if past.drift else None,
    }


def _sentence(past: Past) -> str:
    from wsklab.orchestrator.history.past import sentence

    return sentence(past)


def _tell(console: Console, past: Past, reasons: Sequence[str] = ()) -> None:
    console.show(Text.assemble((visible(past.scenario), "bold"), (f"  {visible(str(past.environment))}", "dim")))
    marks = past.marks
    signs = [SIGNS[sign] for sign in marks[-NEWEST:] if sign in SIGNS]
    earlier = f"  {len(marks) - NEWEST} earlier runs, then " if len(marks) > NEWEST else "  "
    console.show(Text.assemble((earlier, "dim"), *signs))
    rate = past.rate
    if rate.all:
        console.line(
            f"  With driver, image and lab as in the newest run, rows that did not pass: {rate}; at 95 % confidence."
        )
    if past.broke:
        console.line(f"  {_sentence(past)}", "red")
        for reason in reasons:
            console.line(f"    {reason}", "red")
    if past.drift:
        before, after = past.drift.before / 1000, past.drift.after / 1000
        console.line(f"  It takes {after:.2f} s now, {before:.2f} s before (chance: p = {past.drift.p:.1g}).", "yellow")


class Words(click.Group):
    """A group in which a word that is no command is a scenario."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `show` before what is no command."""
        if not args or (args[0] not in self.commands and args[0] not in ("-h", "--help")):
            args = ["show", *args]
        return super().parse_args(ctx, args)


history_option = click.option(
    "--history", metavar="URL", help="The history: a file, sqlite:///FILE or postgresql://... (or WSKLAB_HISTORY)."
)


@click.group("history", cls=Words)
def command() -> None:
    """Show what earlier runs were: `wsklab history`, `wsklab history SCENARIO`, `wsklab history --html DIR`.

    Every run records itself when it ends. See `wsklab history show --help` for the options.
    """


@command.command("show")
@click.argument("scenario", required=False)
@history_option
@click.option("--last", type=click.IntRange(1), metavar="N", help=f"So many runs (default {RUNS}; of the site 365).")
@click.option("--html", type=click.Path(path_type=Path), metavar="DIR", help="Write a static site into this folder.")
@click.option(
    "--twins",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="With --html: the twins.json of a `wsklab run --twins`, for a page of it.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show_command(
    scenario: str | None, history: str | None, last: int | None, html: Path | None, twins: Path | None, as_json: bool
) -> None:
    """List the newest runs and what is broken, or the past of one SCENARIO; --html writes a site of all of it."""
    found = database_of(history)
    if twins is not None and html is None:
        raise UsageError("--twins is for the site; name its folder with --html.")
    if html is not None:
        from wsklab.orchestrator.history import site
        from wsklab.orchestrator.trials import pages

        matrix = pages.matrix_of(twins) if twins else None
        with recorder.opened(found) as database:
            page = site.write(database, html, last or 365, lambda told: pages.further(told, matrix))
        click.echo(f"Site: {page}")
    elif scenario is None:
        show_runs(found, last or RUNS, as_json)
    else:
        show_scenario(found, scenario, as_json)


@command.command("import")
@click.argument("folders", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FOLDER...")
@history_option
def import_command(folders: tuple[Path, ...], history: str | None) -> None:
    """Record runs by their folders, or by a folder that holds them. What is recorded already is not counted twice."""
    from wsklab.orchestrator.history import records

    found = database_of(history)
    runs, rows, refused = 0, 0, []
    with recorder.opened(found) as database:
        for folder in records.runs_in(folders):
            try:
                rows += recorder.save(database, folder)
                runs += 1
            except UsageError as error:
                refused.append(str(error))
    for reason in refused:
        click.echo(visible(reason, lines=True), err=True)
    click.echo(f"{runs} runs read, {rows} rows are new in {visible(database.name)}")
    if refused:
        raise UsageError(f"{len(refused)} of {runs + len(refused)} folders could not be recorded.")


@command.command("prune")
@history_option
@click.option(
    "--keep-passes",
    default=10,
    show_default=True,
    type=click.IntRange(0),
    metavar="N",
    help="Of each scenario and environment, keep the evidence of the newest N passes.",
)
@click.option("--dry-run", is_flag=True, help="Say what would be removed, and remove nothing.")
def prune_command(history: str | None, keep_passes: int, dry_run: bool) -> None:
    """Remove evidence of passes; all that did not pass is kept, and so is every row.

    Only runs of this host are looked at, and only folders that still hold the run that is recorded.
    """
    from wsklab.orchestrator.history import retention

    with recorder.opened(database_of(history)) as database:
        pruned = retention.prune(database, keep_passes, platform.node(), int(time.time()), dry_run)
    what = "would be removed" if dry_run else "removed"
    click.echo(f"evidence of {pruned.rows} passes {what} ({pruned.bytes / (1 << 20):.1f} MiB) from {pruned.runs} runs")
    for reason in pruned.left:
        click.echo(visible(f"left alone: {reason}", lines=True))
