"""Known failures with a reason and a date, in the format of `known.yaml`. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from fnmatch import fnmatchcase
from typing import Literal

from pydantic import Field

from wsklab.common.strict import Strict


class Erratum(Strict):
    """One known failure: globs say where, and `reason` stands in one of the row's reasons."""

    scenario: str = Field(min_length=1, description="the scenario's name, or a glob")
    target: str = Field(default="*", description="the target's name, or a glob")
    environment: str = Field(default="*", description="a glob on `PROFILE on TARGET (ACCELERATOR)`")
    variant: str = Field(default="*", description="a glob on the variant of the machine, which is empty as a rule")
    reason: str = Field(min_length=4, description="text that stands in one of the reasons")
    verdict: Literal["fail", "inconclusive"] = "fail"
    why: str = Field(min_length=4, description="what is known of it")
    link: str = Field(default="", pattern=r"^(https?://[^\s<>\"]+)?$", description="where more is said of it")
    until: date = Field(description="the last day on which it is known; then somebody looks at it again")
    sometimes: bool = Field(default=False, description="it passes now and then, so that a pass is no surprise")

    def about(self, scenario: str, where: Where) -> bool:
        """Return whether the entry is about this scenario there."""
        return all(
            fnmatchcase(text, glob)
            for text, glob in (
                (scenario, self.scenario),
                (where.target, self.target),
                (where.environment, self.environment),
                (where.variant, self.variant),
            )
        )


class Errata(Strict):
    """The file."""

    known: tuple[Erratum, ...] = Field(default=(), max_length=1000)


class Where(Strict):
    """Under what a row came about."""

    target: str
    environment: str
    variant: str = ""


def explains(
    errata: Iterable[Erratum], scenario: str, where: Where, verdict: str, reasons: Sequence[str], day: date
) -> bool:
    """Return whether a row did not pass in a way that is known on this day."""
    return any(
        entry.about(scenario, where)
        and entry.verdict == verdict
        and day <= entry.until
        and any(entry.reason in reason for reason in reasons)
        for entry in errata
    )
