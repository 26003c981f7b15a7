"""The judge: (scenario, observations) -> verdict with reasons. Pure; what a pass means stands in docs/verdicts.md.

The checks run in the order in which blame can be given:

1. the driver's host crashed or the driver hung            -> fail
2. evidence is missing (canary, line numbers, ring)        -> inconclusive
3. the wire does not show the ending that was intended     -> infra, or fail when the driver's own side deviates, or
                                                              had gone wrong before the peer did
4. an expectation does not hold, or an event came unasked  -> fail
5. something was left behind at the end                    -> fail
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wsklab.orchestrator.judge import (
    consistency,
    event_checks,
    expectations,
    integrity,
    payload,
    step_checks,
    survival,
    wire_checks,
    witness,
)
from wsklab.orchestrator.judge.observed import Observed, Verdict
from wsklab.orchestrator.judge.reading import Facts
from wsklab.orchestrator.observe.base import Observation
from wsklab.orchestrator.observe.lab_notes import Unplayed
from wsklab.orchestrator.scenario.scenario import Scenario

MOST = 12
"""Reasons that are listed; a thousand connections may fail for one cause."""


CHECKS = (
    integrity.crashes,
    integrity.silence,
    witness.complete,
    witness.contexts,
    witness.contradictions,
    event_checks.uninvited,
    consistency.ports,
    consistency.malformed,  # what it has carried out changes the wire, too
    wire_checks.wire,
    step_checks.steps,
    consistency.accounts,
    consistency.addresses,
    consistency.accepts,
    consistency.cancels,
    consistency.alone,
    consistency.lines,
    consistency.clock,
    consistency.refusals,
    consistency.takes,
    consistency.depths,
    witness.returns,
    witness.running,
    event_checks.disconnects,
    step_checks.waits,
    event_checks.late_disconnects,
    event_checks.unasked,
    payload.payload,
    expectations.transfers,
    expectations.indications,
    expectations.order,
    expectations.peer,
    expectations.as_recorded,
    integrity.leftovers,
    witness.left_behind,
)
"""In the order of blame."""


@dataclass(frozen=True)
class Reason:
    """Why the verdict is what it is: one sentence, and whom it blames; `pass` is a remark that blames nobody."""

    verdict: Verdict
    text: str


@dataclass(frozen=True)
class Judgement:
    """What is written to `results.json` about one run of one scenario; `remarks` have no part in the verdict."""

    verdict: Verdict
    reasons: tuple[str, ...]
    observed: Observed
    remarks: tuple[str, ...] = ()


def judge(scenario: Scenario, observations: Sequence[Observation]) -> Judgement:
    """Judge one run of one scenario. The same observations always give the same judgement."""
    facts = Facts(scenario, observations)
    reasons: list[Reason] = []
    for check in survival.CHECKS if scenario.socket.survival else CHECKS:
        reasons += [Reason(verdict, text) for verdict, text in check(facts)]
    if reasons:
        reasons += [Reason(verdict, text) for verdict, text in integrity.unsupported(facts)]
    verdict = _decide(reasons)
    unplayed = facts.everywhere(Unplayed)
    if unplayed and (verdict != "fail" or scenario.self_check):  # else the target went away by its own fault
        return Judgement("infra", (f"the lab failed: {unplayed[-1].detail}",), facts.summary())
    texts = tuple(dict.fromkeys(reason.text for reason in reasons if reason.verdict != "pass"))
    remarks = tuple(dict.fromkeys(reason.text for reason in reasons if reason.verdict == "pass"))
    if len(texts) > MOST:
        texts = (*texts[:MOST], f"and {len(texts) - MOST} more")
    if scenario.self_check:
        verdict, texts = _on_trial(scenario.expect.verdict, verdict, texts)
    return Judgement(verdict, texts, facts.summary(), remarks)


def _decide(reasons: list[Reason]) -> Verdict:
    """Return the verdict of the first reason, remarks left out: the checks stand in the order of blame."""
    return next((reason.verdict for reason in reasons if reason.verdict != "pass"), "pass")


def _on_trial(wanted: Verdict, got: Verdict, texts: tuple[str, ...]) -> tuple[Verdict, tuple[str, ...]]:
    """Judge a self-check, which passes when the lab gives exactly the verdict that the scenario provokes."""
    if got == wanted:
        return "pass", (f"self-check: the verdict was {got}, as it must be: {'; '.join(texts)}",)
    return "infra", (f"self-check: the verdict should have been {wanted}, but was {got}", *texts)
