"""Checks that do not depend on what the scenario expects: crash, silence, lost lines, things left behind. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from wsklab.orchestrator.facts import Facts
from wsklab.orchestrator.observation import FATAL, Observation, describe_loss

Verdict = Literal["pass", "fail", "inconclusive", "infra"]
Finding = tuple[Verdict, str]
"""Whom a sentence blames, and the sentence."""


def blame(loss: Observation) -> Verdict:
    """Whose fault it is that a machine went away: QEMU's own end is the lab's, what the target does is its own."""
    return "fail" if loss.data.get("machine") == "target" and loss.kind != "died" else "infra"


def crashes(facts: Facts) -> Iterator[Finding]:
    """The target or the driver's host is gone, or the driver no longer returns, or the lab itself failed."""
    for observation in facts.all:
        if observation.source == "machine" and observation.kind in FATAL and not observation.data.get("wanted"):
            yield blame(observation), describe_loss(observation)
    for hang in facts.everywhere("lab", "hang"):
        yield "fail", f"the driver hangs: {hang.data['detail']}"
    for refusal in facts.everywhere("lab", "refusal"):
        yield "fail", f"the driver refuses a call: {refusal.data['detail']}"
    for silence in facts.everywhere("lab", "silence"):
        yield "fail", f"silence, nothing is heard of the target any more: {silence.data['detail']}"
    for gone in facts.everywhere("lab", "agent-gone"):
        yield "infra", f"the agent is gone: {gone.data['detail']}"
    for failure in facts.everywhere("lab", "failure"):
        yield "infra", f"the lab failed: {failure.data['detail']}"
    for rule in facts.everywhere("driver", "rule"):
        yield "fail", f"the driver breaks {rule.data['rule']}: {rule.data['text']}"


def unsupported(facts: Facts) -> Iterator[Finding]:
    """What the driver asked for and the stand-in has not. It decides nothing, but may be why something else failed."""
    for text in dict.fromkeys(o.data["text"] for o in facts.everywhere("driver", "unsupported")):
        yield "inconclusive", f"the stand-in does not offer what the driver asked for (STATUS_NOT_SUPPORTED): {text}"


def silence(facts: Facts) -> Iterator[Finding]:
    """Silence is not evidence: canary lines, unbroken numbers, and the driver's ring vouch for the debug line."""
    seen = {o.data["when"]: o.data["seen"] for o in facts.everywhere("lab", "canary")}
    for when in ("before", "after"):
        if not seen.get(when):
            yield "inconclusive", f"the canary {when} the scenario was not seen on the debug line"
    for barrier in facts.of("lab", "barrier"):
        if not barrier.data["complete"]:
            yield "inconclusive", f"the recording may be incomplete: {barrier.data['detail']}"
    lost = sum(o.data.get("lost", 0) for o in facts.everywhere("lab", "counters"))
    if lost:
        yield "inconclusive", f"the wire lost {lost} frames of its own"
    yield from _text(facts)
    yield from _numbers(facts)


def _text(facts: Facts) -> Iterator[Finding]:
    """The canary is the lab's own driver's; another driver's lines may be filtered, or match no pattern."""
    provider = ("rule", "unsupported")
    heard = any(o.source == "driver" and o.kind not in provider and "seq" not in o.data for o in facts.all)
    for visitor in facts.everywhere("lab", "visitor"):
        if not heard:
            yield "inconclusive", (f"nothing of the debug text of {visitor.data['name']} was read: it printed nothing, "
                                   "the target does not show it, or no pattern of its profile matches")


def _numbers(facts: Facts) -> Iterator[Finding]:
    """The debug line against the driver's ring: same numbers, same text."""
    rings = facts.everywhere("lab", "ring")
    if not rings:
        yield "inconclusive", "the driver's ring could not be read, so the debug line has no second witness"
        return
    ring = {record["seq"]: record["text"] for record in rings[-1].data["records"]}
    first, last = rings[-1].data["first"], rings[-1].data["last"]
    printed = {o.data["seq"]: o.data["text"] for o in facts.all
               if o.source == "driver" and "seq" in o.data and first <= o.data["seq"] <= last}
    missing = [seq for seq in range(first, last + 1) if seq not in printed]
    absent = [seq for seq in range(first, last + 1) if seq not in ring]
    if missing:
        where = "nor in the driver's ring" if set(missing) <= set(absent) else "but in the driver's ring"
        yield "inconclusive", f"{_lines(missing)} not on the debug line {where}"
    elif absent:
        yield "inconclusive", f"{_lines(absent)} not in the driver's ring"
    differing = [seq for seq, text in ring.items() if seq in printed and printed[seq] != text]
    if differing:
        yield "inconclusive", f"{_lines(differing)} damaged on the debug line (the ring has another text)"


def _lines(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:5])) + (", ..." if len(numbers) > 5 else "")
    return f"line {shown} is" if len(numbers) == 1 else f"lines {shown} are"


def leftovers(facts: Facts) -> Iterator[Finding]:
    """After cleaning up nothing of the scenario may be left in the driver (R69, R73, BF21, BF71)."""
    cleaned = facts.everywhere("driver", "clean")
    if not cleaned:
        yield "fail", "the driver did not finish cleaning up: a close never completed"
        return
    counts = {key: cleaned[-1].data.get(key, 0) for key in ("sockets", "irps", "indications", "allocs")}
    left = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    if left:
        yield "fail", f"the driver leaks: {left} left after everything was closed"
