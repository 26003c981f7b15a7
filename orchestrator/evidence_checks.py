"""Checks that do not depend on what the scenario expects: crash, silence, lost lines, things left behind. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from wsklab.orchestrator.facts import Facts
from wsklab.orchestrator.observation import FATAL, Observation, describe_loss

Verdict = Literal["pass", "fail", "inconclusive", "infra"]
Finding = tuple[Verdict, str]
"""Whom a sentence blames, and the sentence."""


CALLBACKS = {"disc": "WskDisconnectEvent", "recv": "WskReceiveEvent", "accept": "WskAcceptEvent",
             "backlog": "WskSendBacklogEvent"}

FUNCTIONS = {"close": "WskCloseSocket", "socket_connect": "WskSocketConnect", "control": "WskControlSocket",
             "enable": "WskControlSocket", "disable": "WskControlSocket", "local": "WskGetLocalAddress",
             "remote": "WskGetRemoteAddress"}
"""Operations whose WSK function is not called Wsk and the operation's name."""


def function(op: str) -> str:
    """The WSK function behind an operation of the driver."""
    return FUNCTIONS.get(op, f"Wsk{op.capitalize()}")


def waiting(facts: Facts) -> str:
    """Which IRPs are still with WSK, and for how long, as the end of a sentence; empty when none is."""
    now = facts.all[-1].t
    calls = [f"the IRP of {function(o.data['op'])} (operation {o.data['id']}) for {(now - o.t) / 1e9:.1f} s"
             for o in facts.outstanding()]
    more = f" and {len(calls) - 3} more" if len(calls) > 3 else ""
    return f"; outstanding: {', '.join(calls[:3])}{more}" if calls else ""


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
    for late in facts.everywhere("driver", "late"):
        callback = CALLBACKS.get(late.data.get("cb", ""), "a callback")
        yield "fail", (f"{callback} was called with the context of a socket whose close had completed, or with none "
                       "(R42, R73)")
    for again in facts.everywhere("driver", "again"):
        yield "fail", f"the IRP of {function(again.data['op'])} (operation {again.data['id']}) completed twice (R83)"


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
    heard = any(o.source == "driver" and o.kind != "rule" and "seq" not in o.data for o in facts.all)
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
        noted = facts.everywhere("lab", "left")
        kept = _counts(noted[-1], ("sockets", "irps", "indications")) if noted else ""
        what = f"{kept} left" if kept else "a close never completed"
        yield "fail", f"the driver did not finish cleaning up: {what}{waiting(facts)}"
        return
    left = _counts(cleaned[-1], ("sockets", "irps", "indications", "allocs"))
    if left:
        yield "fail", f"the driver leaks: {left} left after everything was closed"


def _counts(observation: Observation, names: Sequence[str]) -> str:
    """What is not 0 of the driver's counters."""
    return ", ".join(f"{observation.data[name]} {name}" for name in names if observation.data.get(name))
