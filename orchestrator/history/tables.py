"""The tables as SQL is written with them; `migrations` makes them. Times are in seconds since 1970, UTC."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
)

ID = BigInteger().with_variant(Integer(), "sqlite")  # only an INTEGER counts up by itself in SQLite

METADATA = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
    }
)
"""SQLite copies a table to alter it, and constraints without a name would be lost."""

ENVIRONMENT = Table(
    "environment",
    METADATA,
    Column("id", ID, primary_key=True),
    Column("key", String(64), nullable=False),
    Column("target", Text, nullable=False),
    Column("profile", Text, nullable=False),
    Column("accelerator", Text, nullable=False),
    Column("verifier", Text, nullable=False),
    UniqueConstraint("key"),
)
"""Under what a scenario was run: only what is of one environment is compared and counted together."""

SCENARIO = Table(
    "scenario",
    METADATA,
    Column("id", ID, primary_key=True),
    Column("name", Text, nullable=False),
    UniqueConstraint("name"),
)


def _texts(name: str) -> Table:
    return Table(
        name,
        METADATA,
        Column("id", ID, primary_key=True),
        Column("key", String(64), nullable=False),
        Column("text", Text, nullable=False),
        UniqueConstraint("key"),
    )


REASON = _texts("reason")
"""The reasons of a verdict, JSON: a list of sentences. Rows that say the same share it."""

BEHAVIOUR = _texts("behaviour")
"""What was observed, JSON: `behaviour.Behaviour`. A thousand passes share one."""

RUN = Table(
    "run",
    METADATA,
    Column("id", ID, primary_key=True),
    Column("key", String(64), nullable=False),
    Column("name", Text, nullable=False),
    Column("node", Text, nullable=False),
    Column("folder", Text, nullable=False),
    Column("started", BigInteger, nullable=False),
    Column("state", String(16), nullable=False),
    Column("why", Text),
    Column("exit_code", Integer, nullable=False),
    Column("asked", Integer),
    Column("not_run", Integer, nullable=False),
    Column("seed", BigInteger, nullable=False),
    Column("command", Text, nullable=False),
    Column("environment", ID, ForeignKey("environment.id"), nullable=False),
    Column("qualifying", Boolean, nullable=False),
    Column("driver", Text, nullable=False),
    Column("driver_sha256", Text, nullable=False),
    Column("image_sha256", Text, nullable=False),
    Column("target_version", Text, nullable=False),
    Column("qemu", Text, nullable=False),
    Column("lab", Text, nullable=False),
    Column("host", Text, nullable=False),
    UniqueConstraint("key"),
    Index(None, "started"),
)
"""`key` is the same however often a run is imported, and from wherever its folder was moved to."""

RESULT = Table(
    "result",
    METADATA,
    Column("run", ID, ForeignKey("run.id"), primary_key=True),
    Column("scenario", ID, ForeignKey("scenario.id"), primary_key=True),
    Column("repeat", Integer, primary_key=True),
    Column("verdict", SmallInteger, nullable=False),
    Column("total_ms", Integer, nullable=False),
    Column("run_ms", Integer),
    Column("restore_ms", Integer),
    Column("judge_ms", Integer),
    Column("expects", String(16), nullable=False),
    Column("reason", ID, ForeignKey("reason.id")),
    Column("behaviour", ID, ForeignKey("behaviour.id")),
    Column("evidence", Text, nullable=False),
    Column("pruned", BigInteger),
    Index("ix_result_past", "scenario", "run", "verdict", "total_ms"),
    sqlite_with_rowid=False,
)
"""A row of a run. `verdict` is a place in `records.OUTCOMES`; `expects` tells whether the scenario asked for the same.

The index has all that a scenario's past needs, so that the table itself is not read for it; in SQLite the table lies in
the order of its key, so that a run is read in one piece.
"""
