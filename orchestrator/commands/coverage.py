"""`wsklab scenario coverage`: the table on the screen, as JSON, or as the page of the documentation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click

from wsklab.common.files import why
from wsklab.drivers.twins import twins
from wsklab.orchestrator.errors import ALL_PASS, SOME_FAIL, UsageError
from wsklab.orchestrator.results import results
from wsklab.orchestrator.results.console import Console
from wsklab.orchestrator.scenario import catalogue
from wsklab.orchestrator.trials import coverage
from wsklab.orchestrator.trials.tables import show_coverage


def show(files: Sequence[Path], as_json: bool, as_markdown: bool) -> int:
    """Print the coverage; exit code 1 when a number is checked by nothing and nothing says why."""
    documents = []
    for file in files:
        try:
            documents.append(results.read(file))
        except OSError as error:
            raise UsageError(f"{file}: cannot be read: {why(error)}.") from None
        except ValueError as error:
            raise UsageError(f"{file}: cannot be read as results.json: {error}") from None
    known, scenarios = coverage.catalogue(), catalogue.built_in()
    try:
        newest = coverage.newest(documents)
    except (KeyError, TypeError, AttributeError):
        raise UsageError(f"{', '.join(map(str, files))}: cannot be read as the results.json of a run.") from None
    table = coverage.rows(known, scenarios, twins().values(), newest)
    wrong = list(coverage.problems(known, scenarios, table))
    if as_json:
        click.echo(json.dumps(coverage.as_document(table, wrong), indent=1))
    elif as_markdown:
        click.echo(coverage.markdown(table), nl=False)
    else:
        show_coverage(Console(), table)
    for problem in wrong if not as_json else []:
        click.echo(problem, err=True)
    return SOME_FAIL if wrong else ALL_PASS
