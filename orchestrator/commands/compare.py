"""`wsklab compare`: two runs side by side."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from wsklab.common.text import visible
from wsklab.orchestrator.errors import ALL_PASS, SOME_FAIL
from wsklab.orchestrator.history import recorder
from wsklab.orchestrator.history.where import chosen

if TYPE_CHECKING:
    from wsklab.orchestrator.history.records import Row, Run


def _read(word: str, history: str | None) -> tuple[Run, list[Row]]:
    """Return a run by its folder, or by its number or name in the history. Raises UsageError."""
    from wsklab.orchestrator.history import queries, records
    from wsklab.orchestrator.run import janitor

    if "/" in word or Path(word, "results.json").exists():
        return records.read(Path(word), "", janitor.alive(Path(word)))
    from wsklab.orchestrator.commands.history import database_of

    with recorder.opened(database_of(chosen(history))) as database, database.reading() as connection:
        kept = queries.run(connection, word)
        return kept.run, queries.rows(connection, kept.id)


@click.command("compare")
@click.argument("before", metavar="RUN")
@click.argument("after", metavar="RUN")
@click.option("--history", metavar="URL", help="The history (or WSKLAB_HISTORY).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(before: str, after: str, history: str | None, as_json: bool) -> None:
    """Compare two runs, each a folder, or a number or name in the history, or `last`.

    Shown are verdicts that changed, and where both passed: flags, statuses and their order, how each side ended on the
    wire, and times of another class. Exit codes: 0 nothing got worse; 1 something passed before and does not now.
    """
    from wsklab.orchestrator.history.comparison import compare
    from wsklab.orchestrator.history.past import changed

    (old, old_rows), (new, new_rows) = _read(before, history), _read(after, history)
    changes = compare(old_rows, new_rows)
    code = SOME_FAIL if any(change.worse for change in changes) else ALL_PASS
    ingredients = list(changed(old, new))
    if old.environment != new.environment:
        ingredients.insert(0, f"environment {old.environment} -> {new.environment}")
    if as_json:
        document = {"exit_code": code, "changed": ingredients, "scenarios": [asdict(change) for change in changes]}
        click.echo(json.dumps(document, indent=1))
        sys.exit(code)
    click.echo(visible(f"{old.name} ({old.when}) -> {new.name} ({new.when})"))
    click.echo(visible(f"changed: {', '.join(ingredients) or 'nothing that is recorded'}"))
    click.echo()
    for change in changes:
        if change.kind == "only":
            continue
        verdicts = change.before if change.before == change.after else f"{change.before} -> {change.after}"
        click.echo(visible(f"{change.kind:11}  {change.scenario}: {verdicts}"))
        for detail in change.details:
            click.echo(visible(f"             {detail}"))
    for where, missing in (("first", "after"), ("second", "before")):
        if names := [change.scenario for change in changes if getattr(change, missing) == "not run"]:
            click.echo(visible(f"only in the {where} run: {', '.join(names)}"))
    same = len({row.scenario for row in [*old_rows, *new_rows]} - {change.scenario for change in changes})
    click.echo(f"{len({change.scenario for change in changes})} scenarios changed, {same} are as before")
    sys.exit(code)
