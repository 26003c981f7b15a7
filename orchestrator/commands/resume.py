"""`wsklab run --resume`: the options of the first time, out of the run's folder, and the few that may be new."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import click
from pydantic import TypeAdapter

from wsklab.orchestrator.commands import run
from wsklab.orchestrator.commands.run_options import Options
from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.run import resuming

NEW = ("jobs", "fleet", "view", "hold", "as_json", "quiet", "verbose")
"""What is of the way a run is watched, not of what it is, and counts as it is said now."""


def written(options: Options) -> dict[str, Any]:
    """Options as they are kept in the run's folder."""
    document: dict[str, Any] = json.loads(json.dumps(asdict(options), default=str))
    return document


def read(document: Mapping[str, Any]) -> Options:
    """Options out of a run's folder. Raises ValueError."""
    from wsklab.drivers.build import Toolchain  # noqa: F401  # which Options names, and does not import
    from wsklab.orchestrator.run.hold import When  # noqa: F401

    return TypeAdapter(Options).validate_python(document)


def again(asked: Options) -> int:
    """Let a run go on; returns its exit code. Raises UsageError."""
    assert asked.resume is not None
    folder = asked.resume.absolute()
    new = {name: getattr(asked, name) for name in NEW}
    if asked != replace(Options(), resume=asked.resume, **new):
        raise UsageError(
            "--resume goes on as the run was asked for the first time; beside it there may only be --jobs, --fleet, "
            "--view, --hold, --json, --quiet and --verbose."
        )
    if (code := resuming.complete(folder)) is not None:
        click.echo(f"{folder}: this run is complete, nothing is left to be run.", err=True)
        if asked.as_json:
            click.echo((folder / "results.json").read_text(encoding="utf-8"), nl=False)
        return code
    first = resuming.recall(folder)
    try:
        options = read(first.options)
    except ValueError:
        raise UsageError(f"{folder}: its run was begun by another version of wsklab; begin another run.") from None
    if options.record:
        raise UsageError(f"{folder}: a recording is of one run from its boot to its end: record another run.")
    try:
        os.chdir(first.cwd)  # what its options name is named from there
    except OSError as error:
        raise UsageError(f"{first.cwd}, where this run was begun: {error.strerror}; begin another run.") from None
    for name in ("jobs", "fleet"):  # as it was, unless it is said
        if new[name] == getattr(Options(), name):
            new[name] = getattr(options, name)
    return run.run(replace(options, resume=folder, **new))
