"""How runs went from night to night: outcomes and time of each run, as what a page draws. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from wsklab.orchestrator.history.past import Past
from wsklab.orchestrator.history.queries import Cell, Kept
from wsklab.orchestrator.history.records import OUTCOMES, Environment, Outcome

WIDTH, HEIGHT = 730, 120

MOST = 50
"""Flaky and drifting scenarios that are listed."""


@dataclass(frozen=True)
class Night:
    """What one run came to."""

    kept: Kept
    counts: Mapping[Outcome, int]
    seconds: float

    @property
    def rows(self) -> int:
        """All that were judged."""
        return sum(self.counts.values())

    @property
    def told(self) -> str:
        """In words."""
        counts = ", ".join(f"{count} {word}" for word, count in self.counts.items()) or "no rows"
        return f"run {self.kept.id}, {self.kept.run.when}: {counts}; {self.seconds:.0f} s"

    def bars(self) -> Iterator[tuple[Outcome, float, float]]:
        """Yield (outcome, top, height) of the parts of its bar; what passed is at the bottom."""
        bottom = float(HEIGHT)
        for word, count in self.counts.items():
            height = HEIGHT * count / self.rows
            bottom -= height
            yield word, round(bottom, 2), round(height, 2)


@dataclass(frozen=True)
class Trend:
    """The runs of one environment, oldest first, and the scenarios in it that do not hold still."""

    environment: Environment
    nights: Sequence[Night]
    flaky: Sequence[Past]
    """With what the newest run was made with, some rows passed and some did not; the worst first."""
    drifting: Sequence[Past]
    """The time that they take has changed; the largest change first."""

    @property
    def width(self) -> float:
        """Of one run's bar."""
        return WIDTH / len(self.nights)

    @property
    def line(self) -> str:
        """The seconds of each run, as the points of a line."""
        most = self.most or 1.0
        return " ".join(
            f"{(place + 0.5) * self.width:.1f},{HEIGHT - night.seconds * HEIGHT / most:.1f}"
            for place, night in enumerate(self.nights)
        )

    @property
    def most(self) -> float:
        """Seconds of the longest run."""
        return max(night.seconds for night in self.nights)


def trends(
    runs: Sequence[Kept], grid: Mapping[str, Mapping[int, Cell]], past: Mapping[str, Sequence[Past]]
) -> list[Trend]:
    """Return each environment's trend, the one that was run last first; a twin has none. `past`: by scenario."""
    groups: dict[Environment, list[Night]] = {}
    for kept in runs:
        if not kept.run.is_twin:
            groups.setdefault(kept.run.environment, []).append(_night(kept, grid))
    every = [one for ones in past.values() for one in ones]
    newest = sorted(groups, key=lambda environment: groups[environment][-1].kept.run.started, reverse=True)
    return [_trend(environment, groups[environment], every) for environment in newest]


def _night(kept: Kept, grid: Mapping[str, Mapping[int, Cell]]) -> Night:
    counts: dict[Outcome, int] = dict.fromkeys(OUTCOMES, 0)
    spent = 0.0
    for cells in grid.values():
        if kept.id in cells:
            cell = cells[kept.id]
            for verdict, count in cell.counts.items():
                counts[verdict] += count
                spent += count * cell.times[verdict]
    return Night(kept, {verdict: count for verdict, count in counts.items() if count}, spent / 1000)


def _trend(environment: Environment, nights: Sequence[Night], every: Sequence[Past]) -> Trend:
    mine = [past for past in every if past.environment == environment]
    flaky = sorted((past for past in mine if 0 < past.rate.bad < past.rate.all), key=lambda past: -past.rate.low)
    drifting = sorted(
        ((past, past.drift) for past in mine if past.drift),
        key=lambda pair: -abs(pair[1].after - pair[1].before) / max(pair[1].before, 1.0),
    )
    return Trend(environment, nights, flaky[:MOST], [past for past, _ in drifting][:MOST])
