"""Which wrong builds of the driver the lab catches, and by what: the matrix twin x scenario. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wsklab.drivers.twins import Twin
from wsklab.orchestrator.scenario.scenario import Scenario
from wsklab.orchestrator.trials.scarcity import short_of

SCHEMA = 1

SHORTEST, ALLOCATIONS = "linger-zero", 40
"""The scenario of which one allocation after the other fails, and more than it has of them."""


@dataclass(frozen=True)
class Row:
    """One judged run: a scenario, or the driver's load or unload."""

    scenario: str
    verdict: str
    reasons: tuple[str, ...] = ()


Rows = Mapping[str, Row]
"""What one build of the driver came to, by scenario, in the order of running."""


def panel(scenarios: Iterable[Scenario]) -> list[Scenario]:
    """Return the scenarios that a twin is tried on unless others are named: the fast ones that judge the driver."""
    return [s for s in scenarios if "fast" in s.tags and "slow" not in s.tags and not s.self_check]


def strict_panel(scenarios: Iterable[Scenario]) -> list[Scenario]:
    """Those that a twin of the strict mode is tried on besides: what only that mode simulates."""
    return [s for s in scenarios if s.socket.needs_strict and "fast" not in s.tags and "slow" not in s.tags]


def likely(twin: Twin, scenarios: Sequence[Scenario]) -> list[Scenario]:
    """Those that should catch it, best first: what covers the rules it breaks, then the smallest set of endings.

    Before all of them comes the scenario that the catalogue names.

    A twin that is wrong only when memory is short meets one of them as often as it has allocations.
    """
    if twin.scarcity:
        return [short_of(s, n) for s in scenarios if s.name == SHORTEST for n in range(1, ALLOCATIONS)]
    rules = set(twin.rules)

    def shared(scenario: Scenario) -> int:
        return len(rules & set(scenario.covers))

    covering = sorted((s for s in scenarios if shared(s)), key=lambda s: -shared(s))
    some = [*covering, *(s for s in scenarios if "smallest" in s.tags and not shared(s))]
    best = [s for s in scenarios if s.name == twin.scenario]
    return [*best, *(s for s in some if s not in best)]


def catches(twin: Twin, rows: Rows, correct: Rows) -> list[Row]:
    """Return the rows that give the verdict of the catalogue, and whose first reason names the fault as it asks for.

    What the correct driver fails as well proves nothing about the twin.
    """
    return [
        row
        for row in rows.values()
        if row.verdict == twin.verdict
        and _sound(row.scenario, correct)
        and row.reasons
        and re.search(twin.says, row.reasons[0])
    ]


def _sound(scenario: str, correct: Rows) -> bool:
    return scenario not in correct or correct[scenario].verdict == "pass"


def document(outcomes: Mapping[str, Rows], twins: Sequence[Twin], correct: Rows) -> dict[str, Any]:
    """`twins.json` (a contract). `outcomes` holds what each twin that was run came to, by its name."""
    entries = [
        entry(twin, outcomes.get(twin.name), correct) for twin in twins if twin.name in outcomes or twin.only_windows
    ]
    return {
        "schema": SCHEMA,
        "twins": entries,
        "correct": {"verdicts": _verdicts(correct)},
        "missed": [e["name"] for e in entries if not e["caught"] and not e["only_windows"]],
        "false_alarms": [
            {"scenario": row.scenario, "verdict": row.verdict, "reasons": list(row.reasons)}
            for row in correct.values()
            if row.verdict != "pass"
        ],
    }


def entry(twin: Twin, rows: Rows | None, correct: Rows) -> dict[str, Any]:
    """One twin's part of the document; without rows it was not run."""
    by = catches(twin, rows or {}, correct)
    return {
        "name": twin.name,
        "title": twin.title,
        "rules": list(twin.rules),
        "expected": twin.verdict,
        "only_windows": twin.only_windows,
        "caught": bool(by),
        "by": [{"scenario": row.scenario, "verdict": row.verdict, "reasons": list(row.reasons)} for row in by],
        "verdicts": _verdicts(rows or {}),
    }


def _verdicts(rows: Rows) -> dict[str, str]:
    return {row.scenario: row.verdict for row in rows.values()}


def all_caught(matrix: Mapping[str, Any]) -> bool:
    """Nothing missed, and no false alarm."""
    return not matrix["missed"] and not matrix["false_alarms"]


def columns(matrix: Mapping[str, Any]) -> list[str]:
    """Return the scenarios that told anything: those which some build did not pass, as the correct one ran them."""
    builds = [matrix["correct"]["verdicts"], *(twin["verdicts"] for twin in matrix["twins"])]
    names = dict.fromkeys(name for verdicts in builds for name in verdicts)
    return [name for name in names if any(verdicts.get(name, "pass") != "pass" for verdicts in builds)]
