"""`wsklab report` and `wsklab results`: a run's files made anew from its rows, and the contract they keep."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import click
from pydantic import ValidationError

from wsklab.orchestrator.errors import ALL_PASS, SOME_FAIL, UsageError
from wsklab.orchestrator.results import publish, rows
from wsklab.orchestrator.results.results import Document, Results, ScenarioResult
from wsklab.orchestrator.run import janitor


def schema() -> None:
    """Print the JSON Schema of `results.json`."""
    click.echo(json.dumps(Document.model_json_schema(), indent=1))


def check(files: list[Path], as_json: bool) -> int:
    """Check that files are as the contract says, and that their sums are those of their rows; returns the exit code."""
    found = [{"file": str(file), "problems": problems(file)} for file in files]
    if as_json:
        click.echo(json.dumps(found, indent=1))
    for entry in found if not as_json else []:
        for problem in entry["problems"]:
            click.echo(f"{entry['file']}: {problem}", err=True)
        if not entry["problems"]:
            click.echo(f"{entry['file']}: ok")
    return SOME_FAIL if any(entry["problems"] for entry in found) else ALL_PASS


def problems(file: Path) -> list[str]:
    """Return what is wrong with a results file, a sentence for each point."""
    try:
        text = file.read_bytes()
        document = Document.model_validate_json(text)
    except OSError as error:
        return [f"cannot be read: {error.strerror}"]
    except ValidationError as error:
        return [f"{'.'.join(map(str, e['loc'])) or 'the file'}: {e['msg']}" for e in error.errors()]
    if document.state == "running":
        return []
    again = _results(document, document.scenarios).document
    return [
        f"{name} is {getattr(document, name)!r}, of these rows it must be {getattr(again, name)!r}"
        for name in ("totals", "asked", "not_run", "exit_code")
        if getattr(document, name) != getattr(again, name)
    ]


def report(folder: Path) -> int:
    """Make the files of a run anew from its rows; returns the run's exit code. Raises UsageError."""
    try:
        document = Document.model_validate_json((folder / "results.json").read_bytes())
        results = _results(document, rows.read(folder))
    except FileNotFoundError as error:
        raise UsageError(f"{folder}: is not the folder of a run: it has no {Path(str(error.filename)).name}.") from None
    except OSError as error:
        raise UsageError(f"{folder}: cannot be read: {error.strerror}.") from None
    except ValidationError:
        raise UsageError(
            f"{folder / 'results.json'}: is not as `wsklab results schema` says; `wsklab results check` tells where."
        ) from None
    except ValueError as error:
        raise UsageError(f"{error}.") from None
    if results.state == "running" and not janitor.alive(folder):
        results.conclude("aborted", "the run was killed")
    publish.whole(folder, results)
    results.scenarios = rows.read(folder)
    if results.shortfall:
        click.echo(results.shortfall)
    click.echo(f"Report: {folder / 'report.html'}")
    return results.exit_code


def _results(document: Document, scenarios: Sequence[ScenarioResult]) -> Results:
    return Results(
        dict(document.run),
        dict(document.target),
        dict(document.driver),
        list(scenarios),
        document.plan,
        document.state,
        document.why,
    )


@click.command("report")
@click.argument("folder", type=click.Path(path_type=Path))
def report_command(folder: Path) -> None:
    """Make results.json, junit.xml and report.html anew from the rows of a run, also of one that was killed.

    The exit code is the run's.
    """
    sys.exit(report(folder))


@click.group("results")
def results_command() -> None:
    """Print the contract of results.json, or check a file against it."""


@results_command.command("schema")
def schema_command() -> None:
    """results.json as JSON Schema."""
    schema()


@results_command.command("check")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check_command(files: tuple[Path, ...], as_json: bool) -> None:
    """Check results files: their form, and that their totals are those of their rows."""
    sys.exit(check(list(files), as_json))
