"""Checks of the steps: each did what it should, in time. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from wsklab.orchestrator.judge.integrity import Statement, function, waiting
from wsklab.orchestrator.judge.reading import FEW, Facts, outcome_matches, succeeded
from wsklab.orchestrator.judge.wording import status_words
from wsklab.orchestrator.observe.lab_notes import StepNote

PEER_WAITS = frozenset({"receive", "await_", "accept"})
"""Peer steps that wait for the driver to do something: when they run out of time, the driver is asked first."""


def steps(facts: Facts) -> Iterator[Statement]:
    """Every step did what it should, in time; what the driver was to report has a check of its own."""
    for step, text in failed(facts):
        if _waits_for_driver(step):
            continue
        lab_fault = step.actor in ("lab", "wire") or (step.actor == "peer" and step.verb not in PEER_WAITS)
        yield ("infra" if lab_fault else "fail"), describe(step, text)
    unstarted = len(facts.scenario.steps) - len(facts.steps())
    if unstarted > 0 and not list(failed(facts)):
        yield "infra", f"{unstarted} steps of the scenario were not started"


def waits(facts: Facts) -> Iterator[Statement]:
    """Check that what a step waited for was reported.

    Later than the checks that know what it was, and why it did not come.
    """
    for step, text in failed(facts):
        if _waits_for_driver(step):
            yield "fail", describe(step, text)


def _waits_for_driver(step: StepNote) -> bool:
    return (step.actor, step.verb) == ("driver", "await_")


def describe(step: StepNote, text: str) -> str:
    """Describe a step, and what went wrong in it."""
    return f"step {step.index + 1} ({step.text}): {text}"


def failed(facts: Facts) -> Iterator[tuple[StepNote, str]]:
    """Yield steps with what went wrong in them."""
    for step in facts.steps():
        if step.outcome != "done":
            yield step, step.detail + (waiting(facts) if step.actor == "driver" else "")
            continue
        for op in step.ops:
            for text in _operation(facts, step, op):
                yield step, text


def _operation(facts: Facts, step: StepNote, op: int) -> Iterator[str]:
    """Yield what went wrong in one operation of a step: its end, its function's return, the bytes that it carried."""
    refused, done, returned = facts.refusals.get(op), facts.outcomes.get(op), facts.returns.get(op)
    own, ended = returned.ret if returned else None, refused or done
    status = ended.status if ended else own if step.synchronous else None
    wanted = step.expect
    if refused is not None:
        if wanted is None or not outcome_matches(wanted, status):
            yield (
                f"should {f'end in {wanted}' if wanted else 'be done'}, was refused with {refused.status:08x} "
                "before any WSK call"
            )
        return
    if done is None and returned is None and facts.scenario.connections <= FEW:
        yield "the driver made no such call"
        return
    if done is not None and done.op == "receive" and step.verb != "receive":
        return  # it followed a connect or an accept: `expect.receive` says what comes of it
    if wanted is not None and not outcome_matches(wanted, status):
        yield f"should end in {wanted}, ended in {status_words(status)}"
    if step.returns is not None and not outcome_matches(step.returns, own):
        yield f"should return {step.returns}, returned {status_words(own)}"
    if done is None or done.op != "send" or not succeeded(done.status):
        return
    if step.length and done.length != step.length:
        yield f"{function('send')} sent {done.length} of {step.length} bytes"
