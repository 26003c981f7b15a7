"""Which evidence is kept, and removing the rest: all that did not pass stays, and so do the newest passes."""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import sqlalchemy as sa

from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.history import records
from wsklab.orchestrator.history.database import Database
from wsklab.orchestrator.history.tables import RESULT, RUN
from wsklab.orchestrator.results.results import VERDICTS
from wsklab.orchestrator.run import janitor

TRASH = ".pruned"
"""In a run's folder: what is being removed, so that a removal which is cut short leaves no half of an evidence."""


@dataclass(frozen=True)
class Pass:
    """A row that passed and whose evidence is there."""

    run: int
    scenario: int
    repeat: int
    environment: int
    started: int
    evidence: str


@dataclass
class Pruned:
    """What was removed, and what was left alone and why."""

    rows: int = 0
    bytes: int = 0
    runs: int = 0
    left: list[str] = field(default_factory=list)


def superfluous(passes: Iterable[Pass], keep: int) -> list[Pass]:
    """Return the passes beyond the newest `keep` of each scenario and environment. Pure."""
    groups: dict[tuple[int, int], list[Pass]] = defaultdict(list)
    for one in passes:
        groups[one.scenario, one.environment].append(one)
    return [
        one
        for group in groups.values()
        for one in sorted(group, key=lambda one: (one.started, one.run, one.repeat), reverse=True)[keep:]
    ]


def prune(database: Database, keep: int, node: str, now: int, dry_run: bool = False) -> Pruned:
    """Remove superfluous evidence of the runs of this host. Raises LabError."""
    question = (
        sa.select(RESULT.c.run, RESULT.c.scenario, RESULT.c.repeat, RUN.c.environment, RUN.c.started, RESULT.c.evidence)
        .join(RUN, RUN.c.id == RESULT.c.run)
        .where(RUN.c.node == node, RESULT.c.verdict == VERDICTS.index("pass"), RESULT.c.pruned.is_(None))
    )
    with database.reading() as connection:
        chosen = superfluous([Pass(*row) for row in connection.execute(question)], keep)
        folders = {
            number: (Path(folder), key)
            for number, folder, key in connection.execute(
                sa.select(RUN.c.id, RUN.c.folder, RUN.c.key).where(RUN.c.node == node)
            )
        }
    found, by_run = Pruned(), defaultdict[int, list[Pass]](list)
    for one in chosen:
        by_run[one.run].append(one)
    for number, passes in by_run.items():
        folder, key = folders[number]
        if reason := _strange(folder, key, node):
            found.left.append(reason)
            continue
        freed = [size for one in passes if (size := _remove(folder, one.evidence, dry_run)) is not None]
        found.rows += len(freed)
        found.bytes += sum(freed)
        found.runs += bool(freed)
        if not dry_run:
            _mark(database, passes, now)
    return found


def _strange(folder: Path, key: str, node: str) -> str | None:
    """Why nothing is removed from a folder, as it is not this run's alone; None when it is."""
    if not folder.exists():
        return None
    if janitor.alive(folder):
        return f"{folder}: a run works there"
    try:
        run, _ = records.read(folder, node)
    except UsageError as error:
        return str(error)
    return None if run.key == key else f"{folder}: holds another run now"


def _remove(folder: Path, evidence: str, dry_run: bool) -> int | None:
    """Remove one evidence folder; returns its bytes, None when it is not there. Nothing beyond the run's is touched."""
    path = folder / evidence
    inside = (folder / "evidence").resolve()
    if path.is_symlink() or not path.is_dir() or inside not in path.resolve().parents:
        return None
    size = sum(file.lstat().st_size for file in path.rglob("*") if file.is_file())
    if not dry_run:
        trash = folder / TRASH
        with suppress(OSError):
            trash.mkdir(exist_ok=True)
            gone = trash / f"{path.name}.{os.getpid()}"
            path.rename(gone)
            shutil.rmtree(gone, ignore_errors=True)
            trash.rmdir()
    return size


def _mark(database: Database, passes: Sequence[Pass], now: int) -> None:
    """Note in the rows since when their evidence is gone."""
    statement = (
        sa.update(RESULT)
        .where(
            RESULT.c.run == sa.bindparam("of_run"),
            RESULT.c.scenario == sa.bindparam("of_scenario"),
            RESULT.c.repeat == sa.bindparam("of_repeat"),
        )
        .values(pruned=now)
    )
    with database.writing() as connection:
        connection.execute(
            statement,
            [{"of_run": one.run, "of_scenario": one.scenario, "of_repeat": one.repeat} for one in passes],
        )
