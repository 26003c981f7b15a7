"""Checks that do not depend on what the scenario expects: crash, silence, lost lines, things left behind. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal

from wsklab.orchestrator.judge.reading import Facts
from wsklab.orchestrator.observe.observation import FATAL, Observation, describe_loss

COUNTERS = ("sockets", "irps", "indications", "allocs")
"""What the driver counts as not given back."""

Verdict = Literal["pass", "fail", "inconclusive", "infra"]
Finding = tuple[Verdict, str]
"""Whom a sentence blames, and the sentence."""


COMPLAINTS = {
    "exception": "the kernel of the target stopped on an exception and called its debugger",
    "prompt": "the kernel of the target (an assert, or Driver Verifier) asked its debugger what to do, and was told to "
    "go on",
    "stops": "the target stands in its kernel debugger",
}
"""What a kernel tells its debugger, by kind: nothing of that comes from a driver that does right."""

CALLBACKS = {
    "disc": "WskDisconnectEvent",
    "recv": "WskReceiveEvent",
    "accept": "WskAcceptEvent",
    "backlog": "WskSendBacklogEvent",
}

FUNCTIONS = {
    "close": "WskCloseSocket",
    "socket_connect": "WskSocketConnect",
    "control": "WskControlSocket",
    "enable": "WskControlSocket",
    "disable": "WskControlSocket",
    "local": "WskGetLocalAddress",
    "remote": "WskGetRemoteAddress",
}
"""Operations whose WSK function is not called Wsk and the operation's name."""


def function(op: str) -> str:
    """The WSK function behind an operation of the driver."""
    return FUNCTIONS.get(op, f"Wsk{op.capitalize()}")


def waiting(facts: Facts) -> str:
    """Which IRPs are still with WSK, and for how long, as the end of a sentence; empty when none is."""
    now = facts.all[-1].t
    calls = [
        f"the IRP of {function(o.data['op'])} (operation {o.data['id']}) for {(now - o.t) / 1e9:.1f} s"
        for o in facts.outstanding()
    ]
    more = f" and {len(calls) - 3} more" if len(calls) > 3 else ""
    return f"; outstanding: {', '.join(calls[:3])}{more}" if calls else ""


def blame(loss: Observation) -> Verdict:
    """Whose fault it is that a machine went away: QEMU's own end is the lab's, what the target does is its own.

    What a guest's own init says last is of the lab's programs in it.
    """
    if loss.source == "lab":
        return "fail" if loss.kind in ("hang", "silence", "refusal") else "infra"
    return "fail" if loss.data.get("machine") == "target" and loss.kind not in ("died", "last-words") else "infra"


def complaints(observations: Sequence[Observation]) -> Iterator[Finding]:
    """What made the target's kernel stop and call its debugger; the debugger always says: go on."""
    for o in observations:
        if o.source == "machine" and o.kind in COMPLAINTS and o.data.get("machine") == "target":
            when = " before the scenario began" if o.data.get("early") else ""
            yield "fail", f"{COMPLAINTS[o.kind]}{when}: {o.data.get('detail', '')}"


def lost_text(observations: Sequence[Observation]) -> Iterator[Finding]:
    """Debug text that the target's kernel dropped, as it took its debugger for gone."""
    for o in observations:
        if o.source == "machine" and o.kind == "lost-text":
            yield "inconclusive", f"debug text is lost: {o.data.get('detail', '')}"


def crashes(facts: Facts) -> Iterator[Finding]:
    """The target or the driver's host is gone, or the driver no longer returns, or the lab itself failed."""
    for observation in facts.all:
        if observation.source == "machine" and observation.kind in FATAL and not observation.data.get("wanted"):
            yield blame(observation), describe_loss(observation)
    yield from complaints(facts.all)
    for hang in facts.everywhere("lab", "hang"):
        yield "fail", f"the driver hangs: {hang.data['detail']}"
    for refusal in facts.everywhere("lab", "refusal"):
        yield "fail", f"the driver refuses a call: {refusal.data['detail']}"
    for wrong in facts.everywhere("lab", "misanswer"):
        yield "fail", f"the driver answers a request of the lab's with what cannot be: {wrong.data['detail']}"
    for silence in facts.everywhere("lab", "silence"):
        yield "fail", f"silence, nothing is heard of the target any more: {silence.data['detail']}"
    for gone in facts.everywhere("lab", "agent-gone"):
        yield "infra", f"the agent is gone: {gone.data['detail']}"
    for gone in facts.everywhere("lab", "peer-gone"):
        yield "infra", f"the peer is gone: {gone.data['detail']}"
    for failure in (*facts.everywhere("lab", "failure"), *facts.everywhere("lab", "unplayed")):
        yield "infra", f"the lab failed: {failure.data['detail']}"
    for rule in facts.everywhere("driver", "rule"):
        yield "fail", f"the driver breaks {rule.data['rule']}: {rule.data['text']}"
    for late in facts.everywhere("driver", "late"):
        callback = CALLBACKS.get(late.data.get("cb", ""), "a callback")
        yield (
            "fail",
            (f"{callback} was called with the context of a socket whose close had completed, or with none (R42, R73)"),
        )
    for again in facts.everywhere("driver", "again"):
        yield "fail", f"the IRP of {function(again.data['op'])} (operation {again.data['id']}) completed twice (R83)"


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
    for overflow in facts.everywhere("lab", "overflow"):
        yield "inconclusive", overflow.data["detail"]
    yield from lost_text(facts.all)
    lost = sum(o.data.get("lost", 0) for o in facts.everywhere("lab", "counters"))
    if lost:
        yield "inconclusive", f"the wire lost {lost} frames of its own"
    yield from _text(facts)
    yield from _numbers(facts)


def _text(facts: Facts) -> Iterator[Finding]:
    """The canary is the lab's own driver's; another driver's lines may be filtered, or match no pattern."""
    provider = ("rule", "unsupported")
    heard = any(o.source == "driver" and o.kind not in provider and "seq" not in o.data for o in facts.all)
    for foreign in facts.everywhere("lab", "foreign"):
        if not heard:
            yield (
                "inconclusive",
                (
                    f"nothing of the debug text of {foreign.data['name']} was read: it printed nothing, "
                    "the target does not show it, or no pattern of its profile matches"
                ),
            )


def _numbers(facts: Facts) -> Iterator[Finding]:
    """The debug line against the driver's ring: same numbers, same text; a driver that is loaded again begins anew."""
    if not facts.everywhere("lab", "ring"):
        yield "inconclusive", "the driver's ring could not be read, so the debug line has no second witness"
        return
    for load in _loads(facts.all):
        rings = [o for o in load if o.source == "lab" and o.kind == "ring"]
        if rings:
            yield from _compared(rings[-1], [o for o in load if o.source == "driver" and "seq" in o.data])


def _loads(observations: Sequence[Observation]) -> list[list[Observation]]:
    """What was observed from one load of the driver to the next."""
    loads: list[list[Observation]] = [[]]
    for o in observations:
        if o.source == "driver" and o.kind == "load" and "seq" in o.data:
            loads.append([])
        loads[-1].append(o)
    return loads


def _compared(taken: Observation, lines: list[Observation]) -> Iterator[Finding]:
    """The lines of one load with what was taken from the ring; for what came up to the unload its last line vouches."""
    ring = {record["seq"]: record["text"] for record in taken.data["records"]}
    # Read after the driver has cleaned up, a ring that ends before that line is no witness of anything.
    cleaned = (o.data["seq"] for o in lines if o.kind == "clean" and o.t <= taken.t)
    first, last = taken.data["first"], max([taken.data["last"], *cleaned])
    end = max([last, *(o.data["seq"] for o in lines if o.kind == "unload")])
    printed = {o.data["seq"]: o.data["text"] for o in lines if first <= o.data["seq"] <= end}
    missing = [seq for seq in range(first, end + 1) if seq not in printed]
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
    for unload in facts.everywhere("driver", "unload"):
        if left := _counts(unload, COUNTERS):
            yield "fail", f"the driver leaks at unload: {left}"
    cleaned = facts.everywhere("driver", "clean")
    if not cleaned:
        noted = facts.everywhere("lab", "left")
        kept = _counts(noted[-1], COUNTERS[:3]) if noted else ""
        what = f"{kept} left" if kept else "a close never completed"
        yield "fail", f"the driver did not finish cleaning up: {what}{waiting(facts)}"
    elif left := _counts(cleaned[-1], COUNTERS):
        yield "fail", f"the driver leaks: {left} left after everything was closed"


def _counts(observation: Observation, names: Sequence[str]) -> str:
    """What is not 0 of the driver's counters."""
    return ", ".join(f"{observation.data[name]} {name}" for name in names if observation.data.get(name))
