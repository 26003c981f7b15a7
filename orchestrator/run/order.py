"""What a run goes through: every scenario, on every variant of the machine, as often as it is to be repeated. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from wsklab.orchestrator.results.results import Plan, labelled
from wsklab.orchestrator.scenario.scenario import Scenario


@dataclass(frozen=True)
class Item:
    """One run of one scenario."""

    number: int
    scenario: Scenario
    variant: str = ""
    """Of the machine that it is run on."""

    @property
    def folder(self) -> str:
        """The name of its evidence."""
        return evidence_name(self.scenario.name, self.number, self.variant)


AGAIN = "-again"
"""The name of the evidence of a second attempt, on a fresh lab, ends with it."""


def evidence_name(name: str, number: int, variant: str) -> str:
    """Return the name of the folder of a row's evidence; no scenario's name has an @."""
    return (f"{name}@{variant}" if variant else name) + (f"-{number}" if number > 1 else "")


def order(
    scenarios: Sequence[Scenario],
    repeat: int,
    until_fail: bool,
    variants: Mapping[str, Sequence[Scenario]] | None = None,
) -> Iterator[Item]:
    """Yield all of them, `repeat` times over; `until_fail` without a number goes on for ever.

    `variants` has the scenarios as each variant of the machine plays them: one variant after another, as each change
    takes another lab.
    """
    each = variants or {"": scenarios}
    if until_fail and repeat == 1:
        for number in itertools.count(1):
            for variant, played in each.items():
                yield from (Item(number, scenario, variant) for scenario in played)
    for variant, played in each.items():
        for number in range(1, repeat + 1):
            yield from (Item(number, scenario, variant) for scenario in played)


def plan(
    scenarios: Sequence[Scenario],
    repeat: int,
    until_fail: bool,
    variants: Mapping[str, Sequence[Scenario]] | None = None,
) -> Plan:
    """Return what `order` goes through, in numbers."""
    names = tuple(s.name for s in scenarios)
    left_out = {
        labelled(name, variant): True
        for variant, played in (variants or {}).items()
        for name in names
        if name not in {s.name for s in played}
    }
    endless = until_fail and repeat == 1
    return Plan(names, None if endless else repeat, until_fail, tuple(variants or ("",)), tuple(left_out))
