"""How long making an image will take yet, by how long it took here before. Pure, but for the file that remembers."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from wsklab.common import files
from wsklab.orchestrator.results.pace import span
from wsklab.orchestrator.results.results import write_atomically

NAME = "durations.json"
"""In the cache."""


@dataclass(frozen=True, slots=True)
class Before:
    """The last time that it was made here: after how many seconds each note came, and when all was done."""

    notes: tuple[float, ...]
    seconds: float


@dataclass
class Estimate:
    """Notes come in; each is told with its number, and with the time left where it is known."""

    before: Before | None
    began: float
    clock: Callable[[], float]
    notes: list[float] = field(default_factory=list)

    def tell(self, text: str) -> str:
        """Return the note, with which of how many it is and how long it will take yet."""
        at = self.clock() - self.began
        self.notes.append(at)
        if self.before is None:
            return text
        known, place = self.before.notes, len(self.notes)
        passed = known[place - 1] if place <= len(known) else at
        left = max(0.0, self.before.seconds - max(passed, 0.0))
        return f"{text} ({place} of {max(place, len(known))}, about {span(left)} left)"

    def made(self) -> Before | None:
        """Return what to remember; None where nothing was done."""
        return Before(tuple(self.notes), self.clock() - self.began) if self.notes else None


def remembered(cache: Path) -> dict[str, Before]:
    """Return what is known of earlier times; nothing where the file is not as it was written."""
    try:
        document = files.read_json(cache / NAME, files.RESULT)
        if not isinstance(document, dict):
            return {}
        return {
            str(name): Before(tuple(map(float, one["notes"])), float(one["seconds"])) for name, one in document.items()
        }
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def remember(cache: Path, known: Mapping[str, Before]) -> None:
    """Write it down. A cache that cannot be written to is no reason to fail: the next build has no estimate."""
    try:
        write_atomically(cache / NAME, json.dumps({name: asdict(one) for name, one in known.items()}, indent=1))
    except OSError:
        return
