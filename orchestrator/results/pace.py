"""How far a run has come, how fast it goes, and how long it will take yet. Pure; the clock is an argument."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

FEW = 3
"""Rows that must have come before the time left is told: the first ones tell little."""

RECENT = 50
"""Rows that the rate is of, so that slow ones at the beginning are forgotten."""


@dataclass
class Pace:
    """Rows come in; `total` is None where nobody knows how many there will be."""

    total: int | None
    began: float
    done: int = 0
    running: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._times: deque[float] = deque([self.began], maxlen=RECENT + 1)

    def start(self, name: str) -> None:
        """Note that a scenario is under way."""
        self.running.append(name)

    def finish(self, name: str, now: float) -> None:
        """Note that its row has come."""
        if name in self.running:
            self.running.remove(name)
        self.done += 1
        self._times.append(now)

    @property
    def rate(self) -> float | None:
        """Rows a second, of the recent ones; None before there are enough of them."""
        if len(self._times) <= FEW or self._times[-1] <= self._times[0]:
            return None
        return (len(self._times) - 1) / (self._times[-1] - self._times[0])

    def left(self, now: float) -> float | None:
        """Return the seconds that it will take yet, by the rate until now."""
        if self.rate is None or self.total is None:
            return None
        waited = max(0.0, now - self._times[-1])
        return max(0.0, (self.total - self.done) / self.rate - waited)

    @property
    def count(self) -> str:
        """`12/200`, or `12` where there is no total."""
        return f"{self.done}/{self.total}" if self.total is not None else str(self.done)

    def line(self, now: float) -> str:
        """Return what runs, how many of how many, how fast, how long yet."""
        parts = [", ".join(self.running[:3]) + (" …" if len(self.running) > 3 else "")] if self.running else []
        parts.append(f"{self.done} of {self.total}" if self.total is not None else f"{self.done} done")
        if self.rate is not None:
            parts.append(f"{self.rate * 60:.1f} a minute")
        if (left := self.left(now)) is not None and self.total is not None and self.done < self.total:
            parts.append(f"about {span(left)} left")
        return " · ".join(parts)


def span(seconds: float) -> str:
    """Return a time as it is said: `40 s`, `12 min`, `1 h 20 min`."""
    whole = round(seconds)
    if whole < 90:
        return f"{whole} s"
    minutes = round(whole / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"
