"""Two runs side by side: verdicts that changed, and behaviour that changed where both passed. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from wsklab.orchestrator.history import behaviour
from wsklab.orchestrator.history.records import Row
from wsklab.orchestrator.history.statistics import DRIFT_P, different

TIMES, MILLISECONDS = 2.0, 250
"""A scenario is of another timing class when it takes so many times as long, and so much longer, or the reverse."""


@dataclass(frozen=True)
class Change:
    """What became of one scenario, before and after."""

    scenario: str
    before: str
    after: str
    kind: str
    """`verdict`, `behaviour`, `timing`, `expectation`, or `only` (one of the runs did not have it)."""
    details: tuple[str, ...] = ()

    @property
    def worse(self) -> bool:
        """Whether it passed before and does not now."""
        return self.kind == "verdict" and self.before == "pass"


def compare(before: Iterable[Row], after: Iterable[Row]) -> list[Change]:
    """All changes, what got worse first."""
    old, new = _grouped(before), _grouped(after)
    found: list[Change] = []
    for name in sorted({*old, *new}):
        if name not in old or name not in new:
            found.append(Change(name, _verdicts(old.get(name, ())), _verdicts(new.get(name, ())), "only", ()))
            continue
        found += _changes(name, old[name], new[name])
    kinds = ("verdict", "behaviour", "expectation", "timing", "only")
    return sorted(found, key=lambda change: (not change.worse, kinds.index(change.kind), change.scenario))


def _changes(name: str, old: Sequence[Row], new: Sequence[Row]) -> list[Change]:
    was, now = _verdicts(old), _verdicts(new)
    found = []
    if old[0].expects != new[0].expects:
        found.append(Change(name, was, now, "expectation", ("the scenario expects something else",)))
    if {row.verdict for row in old} != {row.verdict for row in new}:
        bad = [row for row in new if row.verdict != "pass"] or [row for row in old if row.verdict != "pass"]
        return [Change(name, was, now, "verdict", tuple(bad[0].reasons)), *found]
    passed = [[row for row in rows if row.verdict == "pass"] for rows in (old, new)]
    if not all(passed):
        return found
    if details := _behaviour(*passed):
        found.append(Change(name, was, now, "behaviour", details))
    if detail := _timing([row.total_ms for row in passed[0]], [row.total_ms for row in passed[1]]):
        found.append(Change(name, was, now, "timing", (detail,)))
    return found


def _behaviour(old: Sequence[Row], new: Sequence[Row]) -> tuple[str, ...]:
    """Return what the new rows did that no old one did, compared with what the old ones did most often."""
    before = Counter(row.behaviour for row in old)
    fresh = Counter(row.behaviour for row in new if row.behaviour not in before)
    if not fresh:
        return ()
    usual, seen = before.most_common(1)[0][0], fresh.most_common(1)[0]
    details = tuple(behaviour.differences(usual, seen[0]))
    share = f"in {sum(fresh.values())} of {len(new)}: " if len(new) > 1 else ""
    return tuple(f"{share}{detail}" for detail in details)


def _timing(old: Sequence[int], new: Sequence[int]) -> str | None:
    was, now = median(old), median(new)
    least, most = sorted((was, now))
    if most < TIMES * least or most - least < MILLISECONDS:
        return None
    if min(len(old), len(new)) >= 5 and different(old, new) > DRIFT_P:
        return None
    return f"took {was / 1000:.2f} s, now {now / 1000:.2f} s"


def _verdicts(rows: Sequence[Row]) -> str:
    """`pass`, or of several that are not alike `3 pass, 1 fail`."""
    counts = Counter(row.verdict for row in rows)
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{count} {verdict}" for verdict, count in counts.most_common()) or "not run"


def _grouped(rows: Iterable[Row]) -> Mapping[str, list[Row]]:
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.scenario, []).append(row)
    return found
