"""`wsklab scenario`: the catalogue of scenarios, and checks of one's own."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from wsklab.orchestrator.errors import WRONG_USAGE, UsageError


@click.group("scenario")
def command() -> None:
    """List the catalogue of scenarios, and check your own."""


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_command(as_json: bool) -> None:
    """List the built-in scenarios: name, tags, what each covers."""
    from wsklab.orchestrator.scenario.catalogue import any_driver, built_in

    rows = [
        {"name": s.name, "title": s.title, "tags": s.tags, "covers": s.covers} for s in (*built_in(), *any_driver())
    ]
    if as_json:
        _print_json(rows)
        return
    width = max(len(str(row["name"])) for row in rows)
    for row in rows:
        click.echo(f"{row['name']:{width}}  {row['title']}  [{', '.join(row['tags'])}]")


@command.command("check")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check_command(paths: tuple[Path, ...], as_json: bool) -> None:
    """Check scenario files or folders of them, without booting anything."""
    from wsklab.orchestrator.scenario.catalogue import files
    from wsklab.orchestrator.scenario.scenario import load

    findings: list[dict[str, Any]] = []
    for path in files(paths):
        try:
            findings.append({"file": str(path), "ok": True, "name": load(path).name, "problems": []})
        except UsageError as error:
            findings.append({"file": str(path), "ok": False, "problems": str(error).splitlines()})
    if as_json:
        _print_json(findings)
    for finding in findings if not as_json else []:
        for problem in finding["problems"]:
            click.echo(problem, err=True)
        if finding["ok"]:
            click.echo(f"{finding['file']}: ok ({finding['name']})")
    sys.exit(0 if all(finding["ok"] for finding in findings) else WRONG_USAGE)


@command.command("schema")
def schema_command() -> None:
    """Print the scenario format as JSON Schema, for editors."""
    from wsklab.orchestrator.scenario.scenario import Scenario

    _print_json(Scenario.model_json_schema(by_alias=True))


@command.command("coverage")
@click.option(
    "--results",
    "files",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A results.json of a real run (may be repeated): shows the newest verdicts.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print docs/coverage.md.")
def coverage_command(files: tuple[Path, ...], as_json: bool, as_markdown: bool) -> None:
    """Every requirement, ending and field bug: what checks it here, and why not where nothing does."""
    from wsklab.orchestrator.commands import coverage

    sys.exit(coverage.show(files, as_json, as_markdown))


def _print_json(document: Any) -> None:
    click.echo(json.dumps(document, indent=1))
