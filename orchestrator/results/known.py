"""`known.yaml`: failures that are known, with why, a link, and until when. Pure but for reading the file.

A known failure is told as such and breaks no run. What breaks one: that it passes (the entry is out of date, and would
hide the next failure), and that its time is over (somebody has promised to look at it again).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from pydantic import Field

from wsklab.common import document
from wsklab.common.strict import Strict
from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.results.results import Met, Results, ScenarioResult

NAME = "known.yaml"
"""In the folder where `wsklab run` is called, it is read unasked."""

OFF = "off"
"""Instead of a file: none."""


class Erratum(Strict):
    """One known failure: four globs say where, and `reason` stands in one of the row's reasons."""

    scenario: str = Field(min_length=1, description="the scenario's name, or a glob")
    target: str = Field(default="*", description="the target's name, or a glob")
    environment: str = Field(
        default="*", description="a glob on `PROFILE on TARGET (ACCELERATOR)`, as history shows it"
    )
    variant: str = Field(default="*", description="a glob on the variant of the machine, which is empty as a rule")
    reason: str = Field(min_length=4, description="text that stands in one of the reasons")
    verdict: Literal["fail", "inconclusive"] = "fail"
    why: str = Field(min_length=4, description="what is known of it")
    link: str = Field(default="", pattern=r"^(https?://[^\s<>\"]+)?$", description="where more is said of it")
    until: date = Field(description="the last day on which it is known; then somebody looks at it again")
    sometimes: bool = Field(default=False, description="it passes now and then, so that a pass is no surprise")

    def met(self, name: str, target: str, environment: str, variant: str) -> bool:
        """Whether the entry is about this scenario here."""
        return all(
            fnmatchcase(text, glob)
            for text, glob in (
                (name, self.scenario),
                (target, self.target),
                (environment, self.environment),
                (variant, self.variant),
            )
        )

    def explains(self, verdict: str, reasons: Iterable[str]) -> bool:
        """Whether a row with that verdict did not pass in the way that is known."""
        return verdict == self.verdict and any(self.reason in reason for reason in reasons)

    @property
    def said(self) -> str:
        """What is known, for people."""
        return f"{self.why}{f' ({self.link})' if self.link else ''}"


class Errata(Strict):
    """The file."""

    known: tuple[Erratum, ...] = Field(default=(), max_length=1000)


@dataclass(frozen=True)
class Known:
    """The entries, on the day and under the circumstances of one run."""

    entries: Sequence[Erratum] = ()
    today: date = date.min
    target: str = ""
    environment: str = ""

    def mark(self, row: ScenarioResult) -> ScenarioResult:
        """Return the row with what is known of it.

        Another failure than the known one is a failure like any.
        """
        about = [entry for entry in self.entries if entry.met(row.name, self.target, self.environment, row.variant)]
        explaining = [entry for entry in about if entry.explains(row.verdict, row.reasons)]
        if row.verdict == "pass":
            certain = [entry for entry in about if not entry.sometimes]
            if certain:
                said = f"it passes, but is to fail: {certain[0].said}; take its entry out of {NAME}"
                return replace(row, known=Met("unexpected-pass", said))
        elif fresh := _in_time(explaining, self.today):
            return replace(row, known=Met("known", f"{fresh.said}; until {fresh.until}"))
        if over := next((entry for entry in explaining or about if entry.until < self.today), None):
            return replace(row, known=Met("expired", f"{over.said}; it was known until {over.until}: look at it again"))
        return row


def under(entries: Sequence[Erratum], results: Results, today: date) -> Known:
    """Return the entries under the circumstances of a run."""
    target, run, driver = str(results.target.get("name", "")), results.run, results.driver
    profile = driver.get("profile") or driver.get("name", "")
    return Known(entries, today, target, f"{profile} on {target} ({run.get('accelerator', '')})")


def _in_time(entries: Iterable[Erratum], today: date) -> Erratum | None:
    return next((entry for entry in entries if today <= entry.until), None)


def load(option: Path | None, here: Path) -> Sequence[Erratum]:
    """Return the entries of the file that the user has named, else of `known.yaml` in `here`. Raises UsageError."""
    if option is not None and str(option) == OFF:
        return ()
    path = option or here / NAME
    if option is None and not path.exists():
        return ()
    try:
        return document.load(path, Errata).known
    except document.Refused as error:
        raise UsageError(str(error)) from None
