"""A scenario whose driver cannot do what it is asked to: it may refuse, but neither crash, nor leak, nor lie. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from wsklab.orchestrator.judge import consistency, integrity, witness
from wsklab.orchestrator.judge.integrity import Statement
from wsklab.orchestrator.judge.reading import Facts
from wsklab.orchestrator.observe.driver_lines import AllocationFailed

FAILED = "the allocation that the scenario has fail was"
"""The beginning of the remark on it."""


def failure(facts: Facts) -> Iterator[Statement]:
    """Which allocation has failed: a remark, as that is nobody's fault."""
    for o in facts.everywhere(AllocationFailed):
        yield "pass", f"{FAILED} number {o.number}: {o.routine}{f', called at {o.at}' if o.at else ''}"


CHECKS = (
    integrity.crashes,
    integrity.silence,
    witness.complete,
    witness.contexts,
    witness.contradictions,
    consistency.accounts,
    consistency.refusals,
    integrity.leftovers,
    witness.left_behind,
    failure,
)
"""In the order of blame."""
