"""The search for a trial that fails: scenarios as they are and near to that, and when to stop. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from wsklab.orchestrator.field.search import chances
from wsklab.orchestrator.field.search.smaller import Document, valid
from wsklab.orchestrator.field.search.vary import varied
from wsklab.orchestrator.scenario.scenario import Scenario

SPOILT = 10
"""Trials in a row that the lab spoils before the search is given up."""


@dataclass(frozen=True)
class Try:
    """One trial: its number, what it plays, and how that differs from what was named."""

    number: int
    seed: str
    document: Document
    varied: tuple[str, ...]


@dataclass
class Search:
    """Says what is tried next, and hears what came of it. Every other trial is varied, where variation is wanted."""

    documents: Sequence[tuple[Document, bool]]
    """The scenarios, and which of them are varied."""
    most: int
    seed: int
    begun: int = 0
    passed: int = 0
    spoilt: int = 0
    failing: Try | None = None
    in_a_row: int = field(default=0, init=False)

    def next(self) -> tuple[Try, Scenario] | None:
        """Return the next trial; None when enough is known."""
        if self.failing is not None or self.begun >= self.most + self.spoilt or self.in_a_row >= SPOILT:
            return None
        number = self.begun = self.begun + 1
        turn, place = divmod(number - 1, len(self.documents))
        document, vary = self.documents[place]
        seed, words = f"{self.seed} {document['name']} {number}", list[str]()
        if vary and turn % 2:
            document, words = varied(document, seed)
        scenario = valid(document)
        assert scenario is not None, "a variation is valid"
        return Try(number, seed, document, tuple(words)), scenario

    def tell(self, tried: Try, verdict: str) -> bool:
        """Hear of a trial; returns whether it is a failure."""
        self.in_a_row = self.in_a_row + 1 if verdict == "infra" else 0
        if verdict == "infra":
            self.spoilt += 1
        elif verdict == "pass":
            self.passed += 1
        elif self.failing is None:
            self.failing = tried
        return verdict not in ("pass", "infra")

    @property
    def proves(self) -> str:
        """What the trials come to, in a sentence."""
        failed = int(self.failing is not None)
        said = chances.stopping(failed, self.passed + failed)
        return f"{said}{f'; {self.spoilt} more were spoilt by the lab' if self.spoilt else ''}"
