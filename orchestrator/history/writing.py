"""Putting runs into the database: each one once, in one transaction, however often it is imported."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from wsklab.orchestrator.history import behaviour
from wsklab.orchestrator.history.records import OUTCOMES, Row, Run, digest
from wsklab.orchestrator.history.tables import BEHAVIOUR, ENVIRONMENT, REASON, RESULT, RUN, SCENARIO

MANY = 500
"""Values that one question asks for; SQLite takes 999 in old versions."""

NUMBERS = {verdict: number for number, verdict in enumerate(OUTCOMES)}


def record(connection: Connection, run: Run, rows: Iterable[Row]) -> int:
    """Put a run in, or what has come since it was last put in; returns how many of its rows were not there yet."""
    number = _run(connection, run)
    rows = list(rows)
    scenarios = _numbers(connection, SCENARIO, "name", {row.scenario: {"name": row.scenario} for row in rows})
    reasons = _texts(connection, REASON, [list(row.reasons) for row in rows if row.reasons])
    behaviours = _texts(connection, BEHAVIOUR, [behaviour.document(row.behaviour) for row in rows])
    values = [
        {
            "run": number,
            "scenario": scenarios[row.scenario],
            "repeat": row.repeat,
            "verdict": NUMBERS[row.verdict],
            "total_ms": row.total_ms,
            "run_ms": row.run_ms,
            "restore_ms": row.restore_ms,
            "judge_ms": row.judge_ms,
            "expects": row.expects,
            "reason": reasons[digest(list(row.reasons))] if row.reasons else None,
            "behaviour": behaviours[digest(behaviour.document(row.behaviour))],
            "evidence": row.evidence,
        }
        for row in rows
    ]
    before = _count(connection, number)
    if values:
        connection.execute(_insert(connection, RESULT).on_conflict_do_nothing(), values)
    return _count(connection, number) - before


def _count(connection: Connection, run: int) -> int:
    return connection.execute(sa.select(sa.func.count()).select_from(RESULT).where(RESULT.c.run == run)).scalar_one()


def _run(connection: Connection, run: Run) -> int:
    environment = _numbers(
        connection, ENVIRONMENT, "key", {run.environment.key: {"key": run.environment.key, **asdict(run.environment)}}
    )
    values = {key: value for key, value in asdict(run).items() if key not in ("environment", "ingredients")}
    values |= asdict(run.ingredients) | {"environment": environment[run.environment.key]}
    changing = {key: values[key] for key in ("folder", "node", "state", "why", "exit_code", "not_run", "environment")}
    statement = _insert(connection, RUN).values(values).on_conflict_do_update(index_elements=["key"], set_=changing)
    connection.execute(statement)
    return int(connection.execute(sa.select(RUN.c.id).where(RUN.c.key == run.key)).scalar_one())


def _texts(connection: Connection, table: sa.Table, documents: Sequence[Any]) -> dict[str, int]:
    """Key -> number of each document."""
    keyed = {digest(document): document for document in documents}
    return _numbers(
        connection, table, "key", {key: {"key": key, "text": json.dumps(text)} for key, text in keyed.items()}
    )


def _numbers(
    connection: Connection, table: sa.Table, unique: str, wanted: Mapping[str, Mapping[str, Any]]
) -> dict[str, int]:
    """Key -> number of what is `wanted`; what is not there is put in, in one order, so that two writers never block."""
    column = table.c[unique]

    def present() -> dict[str, int]:
        keys, found = list(wanted), dict[str, int]()
        for start in range(0, len(keys), MANY):
            question = sa.select(column, table.c.id).where(column.in_(keys[start : start + MANY]))
            found |= {row[0]: row[1] for row in connection.execute(question)}
        return found

    found = present()
    if missing := sorted(wanted.keys() - found.keys()):
        connection.execute(_insert(connection, table).on_conflict_do_nothing(), [dict(wanted[key]) for key in missing])
        found = present()
    return found


def _insert(connection: Connection, table: sa.Table) -> sqlite.Insert | postgresql.Insert:
    return postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)
