"""What is asked of the database, as typed answers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.history import behaviour
from wsklab.orchestrator.history.records import OUTCOMES, Environment, Ingredients, Outcome, Row, Run
from wsklab.orchestrator.history.tables import BEHAVIOUR, ENVIRONMENT, REASON, RESULT, RUN, SCENARIO


@dataclass(frozen=True)
class Kept:
    """A run in the database."""

    id: int
    run: Run


@dataclass
class Cell:
    """One scenario in one run: how many rows of each verdict, and how long they took on average (ms)."""

    counts: dict[Outcome, int] = field(default_factory=dict)
    times: dict[Outcome, float] = field(default_factory=dict)

    @property
    def bad(self) -> int:
        """Rows that did not pass; what the lab did wrong is not among them, nor what is known to fail."""
        return self.counts.get("fail", 0) + self.counts.get("inconclusive", 0)

    @property
    def judged(self) -> int:
        """Rows that say something of the driver."""
        return self.bad + self.counts.get("pass", 0)

    def add(self, verdict: int, count: int, time: float) -> None:
        """Return the rows of one verdict, by its place among them."""
        word = OUTCOMES[verdict]
        self.counts[word] = count
        self.times[word] = float(time)


def runs(
    connection: Connection, last: int | None = None, ids: Sequence[int] | None = None, after: int = 0
) -> list[Kept]:
    """Return runs, oldest first: the `last` of them, or those of `ids`, from the time `after` on."""
    question = (
        sa.select(RUN, *(column.label(f"environment_{column.name}") for column in ENVIRONMENT.c))
        .join(ENVIRONMENT, RUN.c.environment == ENVIRONMENT.c.id)
        .where(RUN.c.started >= after)
        .order_by(RUN.c.started.desc(), RUN.c.id.desc())
    )
    if ids is not None:
        question = question.where(RUN.c.id.in_(ids))
    if last is not None:
        question = question.limit(last)
    return [_kept(found._asdict()) for found in connection.execute(question)][::-1]


def run(connection: Connection, word: str) -> Kept:
    """Return the run that a user means: its number, its name (the newest of that name), or `last`.

    Raises UsageError.
    """
    if word == "last":
        found = runs(connection, last=1)
    else:
        match = RUN.c.name == word
        if word.isdecimal() and len(word) < 18:
            match = sa.or_(match, RUN.c.id == int(word))
        ids = connection.execute(sa.select(RUN.c.id).where(match).order_by(RUN.c.started.desc())).scalars().all()
        found = runs(connection, ids=list(ids)[:1])
    if not found:
        raise UsageError(f"there is no run '{word}' in the history; `wsklab history` lists them.")
    return found[-1]


def _kept(row: Mapping[str, Any]) -> Kept:
    return Kept(
        row["id"],
        Run(
            **{
                name: row[name]
                for name in (
                    *("key", "name", "node", "folder", "started", "state", "why", "exit_code", "asked", "not_run"),
                    *("seed", "command", "qualifying", "driver"),
                )
            },
            environment=Environment(
                row["environment_target"],
                row["environment_profile"],
                row["environment_accelerator"],
                row["environment_verifier"],
            ),
            ingredients=Ingredients(**{name: row[name] for name in Ingredients.__dataclass_fields__}),
        ),
    )


def scenarios(connection: Connection) -> list[str]:
    """All names, sorted."""
    return list(connection.execute(sa.select(SCENARIO.c.name).order_by(SCENARIO.c.name)).scalars())


def past(connection: Connection, scenario: str) -> dict[int, Cell]:
    """Run -> what became of one scenario in it. Read from the index alone."""
    number = _scenario(connection, scenario)
    if number is None:
        return {}
    question = (
        sa.select(RESULT.c.run, RESULT.c.verdict, sa.func.count(), sa.func.avg(RESULT.c.total_ms))
        .where(RESULT.c.scenario == number)
        .group_by(RESULT.c.run, RESULT.c.verdict)
    )
    cells: dict[int, Cell] = {}
    for found, *some in connection.execute(question):
        cells.setdefault(found, Cell()).add(*some)
    return cells


def grid(connection: Connection, ids: Sequence[int]) -> dict[str, dict[int, Cell]]:
    """Scenario -> run -> what became of it, of some runs."""
    if not ids:
        return {}
    names = {row.id: row.name for row in connection.execute(sa.select(SCENARIO.c.id, SCENARIO.c.name))}
    question = (
        sa.select(RESULT.c.run, RESULT.c.scenario, RESULT.c.verdict, sa.func.count(), sa.func.avg(RESULT.c.total_ms))
        .where(RESULT.c.run.between(min(ids), max(ids)))
        .group_by(RESULT.c.run, RESULT.c.scenario, RESULT.c.verdict)
    )
    wanted, found = set(ids), dict[str, dict[int, Cell]]()
    for number, scenario, *some in connection.execute(question):
        if number in wanted:
            found.setdefault(names[scenario], {}).setdefault(number, Cell()).add(*some)
    return found


def rows(connection: Connection, number: int, but: Outcome | None = None) -> list[Row]:
    """Return the rows of a run, by name and repeat; without those of one verdict. Times but the total are left out."""
    question = (
        sa.select(
            SCENARIO.c.name,
            RESULT.c.repeat,
            RESULT.c.verdict,
            RESULT.c.total_ms,
            RESULT.c.run_ms,
            RESULT.c.restore_ms,
            RESULT.c.judge_ms,
            RESULT.c.expects,
            RESULT.c.evidence,
            REASON.c.text.label("reasons"),
            BEHAVIOUR.c.text.label("behaviour"),
        )
        .join(SCENARIO, SCENARIO.c.id == RESULT.c.scenario)
        .outerjoin(REASON, REASON.c.id == RESULT.c.reason)
        .outerjoin(BEHAVIOUR, BEHAVIOUR.c.id == RESULT.c.behaviour)
        .where(RESULT.c.run == number)
        .order_by(SCENARIO.c.name, RESULT.c.repeat)
    )
    if but is not None:
        question = question.where(RESULT.c.verdict != OUTCOMES.index(but))
    known: dict[str, behaviour.Behaviour] = {}
    found = []
    for row in connection.execute(question):
        text = row.behaviour or "[]"
        if text not in known:
            known[text] = behaviour.from_document(json.loads(text))
        found.append(
            Row(
                row.name,
                row.repeat,
                OUTCOMES[row.verdict],
                tuple(json.loads(row.reasons)) if row.reasons else (),
                known[text],
                row.expects,
                row.total_ms,
                row.run_ms,
                row.restore_ms,
                row.judge_ms,
                row.evidence,
            )
        )
    return found


def reasons(connection: Connection, scenario: str, number: int) -> tuple[str, ...]:
    """Why a scenario did not pass in a run: the reasons of its first row that did not."""
    question = (
        sa.select(REASON.c.text)
        .join(RESULT, RESULT.c.reason == REASON.c.id)
        .where(RESULT.c.run == number, RESULT.c.scenario == _scenario(connection, scenario), RESULT.c.verdict != 0)
        .order_by(RESULT.c.repeat)
        .limit(1)
    )
    found = connection.execute(question).scalar()
    return tuple(json.loads(found)) if found else ()


def expects(connection: Connection, scenario: str, number: int) -> str | None:
    """Return what tells whether a scenario asked for the same in two runs."""
    question = sa.select(RESULT.c.expects).where(
        RESULT.c.run == number, RESULT.c.scenario == _scenario(connection, scenario)
    )
    return connection.execute(question.limit(1)).scalar()


def _scenario(connection: Connection, name: str) -> int | None:
    return connection.execute(sa.select(SCENARIO.c.id).where(SCENARIO.c.name == name)).scalar()
