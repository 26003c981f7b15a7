"""What mutants came to, and which scenarios are likely to catch the next. Pure, but for the file of outcomes."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.mutation.mutants import OPERATORS, Mutant
from wsklab.orchestrator.scenario.scenario import Scenario

SCHEMA = 1

FIRST = 8
"""Beside the smallest set of endings, so many scenarios that caught others of the same file are run at first."""

ODD = ("infra", "inconclusive")
"""Verdicts that blame nobody."""

Result = Literal["caught", "noticed", "survived"]
"""`noticed`: some verdict was not pass, but none blamed the driver (infra, inconclusive)."""


@dataclass(frozen=True)
class Row:
    """A judged run of a scenario with a mutant in the lab, or of its load, unload, or unit test.

    `unsound`: the correct build did not pass it either; `flaky`: the mutant passed it the second time. Neither counts.
    """

    scenario: str
    verdict: str
    reason: str = ""


@dataclass(frozen=True)
class Outcome:
    """What one mutant came to. `by`: the row that caught it; `rows`: everything else that was not a pass.

    `why`: the reason why it survives, where that is known beforehand.
    """

    id: str
    file: str
    line: int
    function: str
    operator: str
    diff: str
    result: Result
    by: Row | None
    rows: tuple[Row, ...]
    runs: int
    seconds: float
    why: str = ""


def outcome(mutant: Mutant, source: str, rows: Sequence[Row], seconds: float) -> Outcome:
    """Return what became of a mutant: the first fail catches it; any other verdict but pass has only noticed it."""
    by = next((row for row in rows if row.verdict == "fail"), None)
    odd = tuple(row for row in rows if row.verdict not in ("pass", "fail"))
    result: Result = "caught" if by else "noticed" if any(row.verdict in ODD for row in odd) else "survived"
    return Outcome(
        mutant.id,
        mutant.file,
        mutant.line,
        mutant.function,
        mutant.operator,
        mutant.diff(source),
        result,
        by,
        odd,
        len(rows),
        round(seconds, 2),
    )


class Order:
    """The scenarios in the order in which they catch soonest, which is learned from every catch."""

    def __init__(self, scenarios: Sequence[Scenario], outcomes: Iterable[Outcome] = ()) -> None:
        self._scenarios = list(scenarios)
        self._catches: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()
        for done in outcomes:
            self.learn(done)

    def learn(self, done: Outcome) -> None:
        """Note what caught a mutant: that scenario is likely to catch the next one of the same function."""
        if done.by is not None:
            with self._lock:
                for place in (f"{done.file} {done.function}", done.file, ""):
                    self._catches[place, done.by.scenario] += 1

    def stages(self, mutant: Mutant) -> tuple[list[Scenario], list[Scenario]]:
        """Those to begin with, and the others."""
        with self._lock:

            def rank(scenario: Scenario) -> tuple[int, ...]:
                places = (f"{mutant.file} {mutant.function}", mutant.file, "")
                return tuple(-self._catches[place, scenario.name] for place in places)

            ranked = sorted(self._scenarios, key=rank)  # stable: before there is a catch, as in the catalogue
            proven = [s for s in ranked if any(rank(s)[:2])][:FIRST]
        first = proven + [s for s in ranked if "smallest" in s.tags and s not in proven]
        return first, [s for s in ranked if s not in first]


def document(about: Mapping[str, Any], outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """mutants.json (a contract)."""
    return {
        "schema": SCHEMA,
        "about": dict(about),
        "totals": _totals(outcomes),
        "operators": {
            name: _totals(mine) for name in OPERATORS if (mine := [done for done in outcomes if done.operator == name])
        },
        "files": {
            name: _totals([done for done in outcomes if done.file == name])
            for name in sorted({done.file for done in outcomes})
        },
        "mutants": [asdict(done) for done in outcomes],
    }


def _totals(outcomes: Sequence[Outcome]) -> dict[str, int]:
    counts = Counter(done.result for done in outcomes)
    return {
        "all": len(outcomes),
        "caught": counts["caught"],
        "noticed": counts["noticed"],
        "survived": counts["survived"],
    }


# --- the file of outcomes: a line each, so that a run that was cut short can go on ----------------------------------


def append(path: Path, done: Outcome) -> None:
    """Add one outcome at once."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(done)) + "\n")


def read(path: Path) -> list[Outcome]:
    """All that the file holds, the last of each mutant; a last line that was cut off is not one. Raises UsageError."""
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
        return list({done.id: done for done in (_outcome(json.loads(line)) for line in lines[:-1])}.values())
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError(f"{path}: is not the file of outcomes of a `wsklab mutate`; name the folder of one.") from None


def _outcome(data: dict[str, Any]) -> Outcome:
    by = data["by"]
    return Outcome(**{**data, "by": Row(**by) if by else None, "rows": tuple(Row(**row) for row in data["rows"])})
