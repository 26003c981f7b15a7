"""A run that was killed or interrupted goes on in its own folder: what is kept for that, and how it is taken up again.

`results.jsonl` is the truth: a row that is in it stays and is not run again. What lies in `evidence/` without a row was
under way when the run ended, proves nothing, and is moved to `lost/`.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import JsonValue, TypeAdapter, ValidationError

from wsklab import images
from wsklab.common import files
from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.results import rows
from wsklab.orchestrator.results.results import (
    UNLOAD,
    Plan,
    Results,
    ScenarioResult,
    labelled,
    observed,
    read,
    write_atomically,
)
from wsklab.orchestrator.run import janitor
from wsklab.orchestrator.run.evidence import as_document
from wsklab.orchestrator.run.order import AGAIN, Item
from wsklab.orchestrator.scenario.scenario import Scenario

NAME = "resume.json"
"""In a run's folder: what it was asked for, so that the same can be asked for again."""

LOST = "lost"
"""In a run's folder: evidence of what was under way when the run ended."""


@dataclass(frozen=True)
class Memo:
    """What a run was asked for: its options, where, and the scenarios as they were read (name -> SHA-256)."""

    options: Mapping[str, JsonValue]
    cwd: str
    scenarios: Mapping[str, str]


def memo(options: Mapping[str, JsonValue], scenarios: Iterable[Scenario]) -> Memo:
    """Return what is to be remembered of a run that begins here and now."""
    return Memo(options, str(Path.cwd()), {scenario.name: _digest(scenario) for scenario in scenarios})


def _digest(scenario: Scenario) -> str:
    return hashlib.sha256(json.dumps(as_document(scenario), sort_keys=True).encode()).hexdigest()


def remember(folder: Path, first: Memo) -> None:
    """Write it into the run's folder. Raises OSError."""
    write_atomically(folder / NAME, json.dumps(asdict(first), indent=1) + "\n")


def recall(folder: Path) -> Memo:
    """Return what the run in a folder was asked for. Raises UsageError."""
    try:
        return TypeAdapter(Memo).validate_python(files.read_json(folder / NAME, files.RESULT))
    except FileNotFoundError:
        why = "is not the folder of a `wsklab run` that can be resumed"
    except OSError as error:
        why = f"cannot be read: {files.why(error)}"
    except (ValueError, ValidationError):
        why = "does not say what the run was asked for"
    raise UsageError(f"{folder / NAME if (folder / NAME).exists() else folder}: {why}; begin another run.")


def complete(folder: Path) -> int | None:
    """Return the exit code of a run that has nothing left to do; None for one that has."""
    try:
        document: Any = read(folder / "results.json")
    except (OSError, ValueError):
        return None
    return int(document["exit_code"]) if document.get("state") == "complete" else None


def enter(folder: Path) -> Path:
    """Take the folder for this process. Raises UsageError when its run still goes on."""
    if janitor.alive(folder):
        raise UsageError(f"{folder}: its run still goes on; stop it first, or wait for its end.")
    try:
        janitor.Lease(folder, images.cache_folder())
        janitor.clear(folder)
    except OSError as error:
        raise UsageError(
            f"{folder}: cannot be written to: {error.strerror}; a run goes on in its own folder."
        ) from None
    return folder


def take_up(folder: Path, first: Memo, now: Memo, results: Results) -> None:
    """Put into `results` what the run has already. Raises UsageError when what is there now is not what was run then.

    Nothing half-written stays in the folder.
    """
    _same(folder, first, now, results)
    _whole_lines(folder / rows.NAME)
    try:
        found = rows.read(folder)
    except FileNotFoundError:
        found = []
    except ValueError as error:
        raise UsageError(f"{error}; the run cannot be resumed.") from None
    results.scenarios[:] = [replace(row, observed=observed(), expected={}) if row.again else row for row in found]
    _put_aside(folder, {row.evidence for row in found})


def _same(folder: Path, first: Memo, now: Memo, results: Results) -> None:
    if changed := [name for name in first.scenarios if now.scenarios.get(name) != first.scenarios[name]]:
        raise UsageError(
            f"{folder}: the scenario {changed[0]} is no longer as it was when this run began, so its rows would be of "
            "two scenarios; begin another run."
        )
    try:
        before: Any = read(folder / "results.json")
    except FileNotFoundError:  # killed before it had written anything
        return
    except (OSError, ValueError) as error:
        raise UsageError(f"{folder / 'results.json'}: cannot be read ({error}); begin another run.") from None
    for what, old, new in (
        ("the driver", before["driver"].get("sha256"), results.driver.get("sha256")),
        ("the image of the target", before["target"].get("image_sha256"), results.target.get("image_sha256")),
        ("the accelerator", before["run"].get("accelerator"), results.run.get("accelerator")),
    ):
        if old != new:
            raise UsageError(
                f"{folder}: {what} is not the one that this run began with ({str(old)[:12]}, now {str(new)[:12]}), so "
                "its rows would be of two; begin another run."
            )
    resumed = [*before["run"].get("resumed", []), datetime.now(UTC).isoformat(timespec="seconds")]
    results.run = {**before["run"], "resumed": resumed}
    results.target = {**results.target, **before["target"]}


def _whole_lines(path: Path) -> None:
    """Cut off a last line that a kill has left half-written: the next row would be glued to it."""
    try:
        with path.open("r+b") as file:
            file.truncate(file.read().rfind(b"\n") + 1)
    except FileNotFoundError:
        pass


def _put_aside(folder: Path, kept: set[str]) -> None:
    """Move away the evidence that has no row: a scenario that is run again needs the place."""
    for found in sorted((folder / "evidence").glob("*")):
        place = str(found.relative_to(folder))
        if place in kept or place + AGAIN in kept:  # the first of two attempts
            continue
        aside = folder / LOST
        aside.mkdir(exist_ok=True)
        found.rename(next(to for n in itertools.count(1) if not (to := aside / f"{found.name}.{n}").exists()))


def left(items: Iterator[Item], plan: Plan, done: Sequence[ScenarioResult]) -> Iterator[Item]:
    """Yield the items that have no row yet; none when a row has come at which the run was to end."""
    if plan.ended_by(done):
        return
    there = {(row.name, row.variant, row.repeat) for row in done}
    yield from (item for item in items if (item.scenario.name, item.variant, item.number) not in there)


def unloads_owed(plan: Plan, done: Sequence[ScenarioResult]) -> list[str]:
    """Return the variants whose scenarios all have their rows, and whose driver nobody has unloaded yet."""
    if plan.repeat is None and not plan.ended_by(done):
        return []
    missing = plan.missing(done)
    return [
        variant
        for variant in plan.variants
        if labelled(UNLOAD, variant) in missing
        and not any(labelled(name, variant) in missing for name in plan.scenarios)
    ]


def first_lab(folder: Path) -> int:
    """Return the number of the next lab in a folder where there have been some."""
    numbers = [int(path.name[4:]) for path in folder.glob("lab-*") if path.name[4:].isdecimal()]
    return max(numbers, default=0) + 1
