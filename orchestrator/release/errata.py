"""Which errata, entries of `known.yaml`, speak of a row. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

from wsklab.orchestrator.results.known import Erratum


@dataclass(frozen=True)
class Where:
    """Under what a row came about."""

    target: str
    environment: str
    variant: str = ""

    def has(self, entry: Erratum, scenario: str) -> bool:
        """Return whether the entry is about this scenario here."""
        return entry.met(scenario, self.target, self.environment, self.variant)


def explains(
    errata: Iterable[Erratum], scenario: str, where: Where, verdict: str, reasons: Sequence[str], day: date
) -> bool:
    """Return whether a row did not pass in a way that is known on this day."""
    return any(
        where.has(entry, scenario) and entry.explains(verdict, reasons) and day <= entry.until for entry in errata
    )
