"""Checks that do not depend on what the scenario expects: crash, silence, lost lines, things left behind. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from wsklab.orchestrator.judge.observed import Verdict
from wsklab.orchestrator.judge.reading import Facts
from wsklab.orchestrator.judge.wording import broken_rule
from wsklab.orchestrator.observe.base import Observation
from wsklab.orchestrator.observe.driver_lines import (
    Again,
    AllocationFailed,
    BrokenRule,
    Clean,
    Counted,
    DriverLine,
    LateCallback,
    Load,
    OfProvider,
    UnheldReference,
    Unload,
    Unsupported,
    Waiting,
)
from wsklab.orchestrator.observe.lab_notes import (
    AgentGone,
    Barrier,
    CanaryNote,
    Failure,
    ForeignStarted,
    Hang,
    Left,
    Overflow,
    PeerGone,
    Refusal,
    RingTaken,
    Silence,
    StillRunning,
    Trouble,
    Unplayed,
    WireCounters,
    WrongAnswer,
)
from wsklab.orchestrator.observe.machine_events import (
    Complaint,
    Died,
    KernelException,
    KernelPrompt,
    KernelStops,
    LastWords,
    LostText,
    MachineGone,
)
from wsklab.orchestrator.observe.observation import Loss, describe_loss

Statement = tuple[Verdict, str]
"""Whom a sentence blames, and the sentence."""


COMPLAINTS: dict[type[Complaint], str] = {
    KernelException: "the kernel of the target stopped on an exception and called its debugger",
    KernelPrompt: "the kernel of the target (an assert, or Driver Verifier) asked its debugger what to do, and was "
    "told to go on",
    KernelStops: "the target stands in its kernel debugger",
}
"""What a kernel tells its debugger: nothing of that comes from a driver that does right."""

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
    """Return the WSK function behind an operation of the driver."""
    return FUNCTIONS.get(op, f"Wsk{op.capitalize()}")


def waiting(facts: Facts) -> str:
    """Which IRPs are still with WSK, and for how long, as the end of a sentence; empty when none is."""
    now = facts.all[-1].t
    calls = [
        f"the IRP of {function(o.op)} (operation {o.id}) for {(now - o.t) / 1e9:.1f} s" for o in facts.outstanding()
    ]
    more = f" and {len(calls) - 3} more" if len(calls) > 3 else ""
    return f"; outstanding: {', '.join(calls[:3])}{more}" if calls else ""


def blame(loss: Loss) -> Verdict:
    """Whose fault it is that a machine went away: QEMU's own end is the lab's, what the target does is its own.

    What a guest's own init says last is of the lab's programs in it.
    """
    if isinstance(loss, Trouble):
        return "fail" if isinstance(loss, (Hang, Silence, Refusal)) else "infra"
    return "fail" if loss.machine == "target" and not isinstance(loss, (Died, LastWords)) else "infra"


def complaints(observations: Sequence[Observation]) -> Iterator[Statement]:
    """Yield what made the target's kernel stop and call its debugger; the debugger always says: go on."""
    for o in observations:
        if isinstance(o, Complaint) and o.machine == "target":
            when = " before the scenario began" if o.early else ""
            yield "fail", f"{COMPLAINTS[type(o)]}{when}: {o.detail}"


def lost_text(observations: Sequence[Observation]) -> Iterator[Statement]:
    """Debug text that the target's kernel dropped, as it took its debugger for gone."""
    for o in observations:
        if isinstance(o, LostText):
            yield "inconclusive", f"debug text is lost: {o.detail}"


def crashes(facts: Facts) -> Iterator[Statement]:
    """Tell when the target or the driver's host is gone, or the driver no longer returns, or the lab itself failed."""
    for loss in facts.everywhere(MachineGone):
        yield blame(loss), describe_loss(loss)
    yield from complaints(facts.all)
    rules, hangs = facts.everywhere(BrokenRule), facts.everywhere(Hang)
    hung = hangs[0].t if hangs else 0
    for rule in rules:
        if rule.t < hung:  # why it hangs: a socket that was left open, or code that is gone
            yield "fail", broken_rule(facts, rule)
    for hang in hangs:
        yield "fail", f"the driver hangs: {hang.detail}"
    for refusal in facts.everywhere(Refusal):
        yield "fail", f"the driver refuses a call: {refusal.detail}"
    for wrong in facts.everywhere(WrongAnswer):
        yield "fail", f"the driver answers a request of the lab's with what cannot be: {wrong.detail}"
    for silent in facts.everywhere(Silence):
        yield "fail", f"silence, nothing is heard of the target any more: {silent.detail}"
    for agent in facts.everywhere(AgentGone):
        yield "infra", f"the agent is gone: {agent.detail}"
    for peer in facts.everywhere(PeerGone):
        yield "infra", f"the peer is gone: {peer.detail}"
    for failure in (*facts.everywhere(Failure), *facts.everywhere(Unplayed)):
        yield "infra", f"the lab failed: {failure.detail}"
    for rule in rules:
        if rule.t >= hung:
            yield "fail", broken_rule(facts, rule)
    for late in facts.everywhere(LateCallback):
        callback = CALLBACKS.get(late.cb, "a callback")
        yield (
            "fail",
            (f"{callback} was called with the context of a socket whose close had completed, or with none (R42, R73)"),
        )
    for unheld in facts.everywhere(UnheldReference):
        yield "fail", f"the driver drops a reference to a connection that nobody holds (its line {unheld.seq})"
    for again in facts.everywhere(Again):
        yield "fail", f"the IRP of {function(again.op)} (operation {again.id}) completed twice (R83)"


def unsupported(facts: Facts) -> Iterator[Statement]:
    """Yield what the driver asked for and the stand-in has not.

    It decides nothing, but may be why something else failed.
    """
    for text in dict.fromkeys(o.text for o in facts.everywhere(Unsupported)):
        yield "inconclusive", f"the stand-in does not offer what the driver asked for (STATUS_NOT_SUPPORTED): {text}"


def silence(facts: Facts) -> Iterator[Statement]:
    """Silence is not evidence: canary lines, unbroken numbers, and the driver's ring vouch for the debug line."""
    seen = {o.when: o.seen for o in facts.everywhere(CanaryNote)}
    for when in ("before", "after"):
        if not seen.get(when):
            yield "inconclusive", f"the canary {when} the scenario was not seen on the debug line"
    for barrier in facts.of(Barrier):
        if not barrier.complete:
            yield "inconclusive", f"the recording may be incomplete: {barrier.detail}"
    for overflow in facts.everywhere(Overflow):
        yield "inconclusive", overflow.detail
    yield from lost_text(facts.all)
    lost = sum(o.lost for o in facts.everywhere(WireCounters))
    if lost:
        yield "inconclusive", f"the wire lost {lost} frames of its own"
    yield from _text(facts)
    yield from _numbers(facts)


def _text(facts: Facts) -> Iterator[Statement]:
    """Look for the canary, which is the lab's own driver's.

    Another driver's lines may be filtered, or match no pattern. One whose allocation has failed may say nothing; that
    failure was seen then.
    """
    if facts.scenario.socket.survival and facts.everywhere(AllocationFailed):
        return
    heard = any(o.seq is None and not isinstance(o, OfProvider) for o in facts.everywhere(DriverLine))
    for foreign in facts.everywhere(ForeignStarted):
        if not heard:
            yield (
                "inconclusive",
                (
                    f"nothing of the debug text of {foreign.name} was read: it printed nothing, "
                    "the target does not show it, or no pattern of its profile matches"
                ),
            )


def _numbers(facts: Facts) -> Iterator[Statement]:
    """Compare the debug line with the driver's ring: same numbers, same text.

    A driver that is loaded again begins anew.
    """
    if not facts.everywhere(RingTaken):
        yield "inconclusive", "the driver's ring could not be read, so the debug line has no second witness"
        return
    for load in _loads(facts.all):
        rings = [o for o in load if isinstance(o, RingTaken)]
        if rings:
            yield from _compared(rings[-1], [o for o in load if isinstance(o, DriverLine)])


def _loads(observations: Sequence[Observation]) -> list[list[Observation]]:
    """Return what was observed from one load of the driver to the next."""
    loads: list[list[Observation]] = [[]]
    for o in observations:
        if isinstance(o, Load):
            loads.append([])
        loads[-1].append(o)
    return loads


MANY = 3
"""Lines of one number, which damage on the way would not have made alike."""


def _compared(taken: RingTaken, lines: list[DriverLine]) -> Iterator[Statement]:
    """Compare the lines of one load with what was taken from the ring.

    For what came up to the unload its last line vouches.
    """
    ring = {record.seq: record.text for record in taken.records}
    numbered = [(o.seq, o) for o in lines if o.seq is not None]
    for number, count in Counter(seq for seq, _ in numbered).most_common(1):
        if count >= MANY:
            yield "fail", f"the driver gives {count} of its lines the number {number}"
    # Read after the driver has cleaned up, a ring that ends before that line is no witness of anything.
    cleaned = (o.seq for o in lines if isinstance(o, Clean) and o.t <= taken.t)
    first, last = taken.first, max([taken.last, *cleaned])
    end = max([last, *(o.seq for o in lines if isinstance(o, Unload))])
    printed = {seq: o.text for seq, o in numbered if first <= seq <= end}
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


TOO_SOON = 5_000_000_000
"""Nanoseconds; an unload tells what it waits for after ten seconds."""


def leftovers(facts: Facts) -> Iterator[Statement]:
    """After cleaning up nothing of the scenario may be left in the driver (R69, R73, BF21, BF71)."""
    for unload in facts.everywhere(Unload):
        if left := counts(unload):
            yield "fail", f"the driver leaks at unload: {left}"
    began = max((step.began for step in facts.steps() if step.verb in ("unload", "reload")), default=None)
    for waits in facts.everywhere(Waiting):
        if began is not None and 0 <= waits.t - began < TOO_SOON:
            yield (
                "fail",
                f"the driver says {(waits.t - began) / 1e9:.1f} s after it was unloaded that it waits for long",
            )
            break
    cleaned = facts.everywhere(Clean)
    if not cleaned:
        noted = facts.everywhere(Left)
        kept = counts(noted[-1]) if noted else ""
        what = f"{kept} left" if kept else "a close never completed"
        yield "fail", f"the driver did not finish cleaning up: {what}{waiting(facts)}"
    elif left := counts(cleaned[-1]):
        yield "fail", f"the driver leaks: {left} left after everything was closed"
    for still in facts.everywhere(StillRunning) if cleaned else ():
        yield "fail", f"the driver counts {still.callbacks} callbacks that run although every socket is closed (R70)"


def counts(told: Counted | Left) -> str:
    """Return what the driver has not given back, by its counters that are not 0."""
    counters = [(told.sockets, "sockets"), (told.irps, "irps"), (told.indications, "indications")]
    if isinstance(told, (Unload, Clean)):
        counters.append((told.allocs, "allocs"))
    return ", ".join(f"{count} {what}" for count, what in counters if count)
