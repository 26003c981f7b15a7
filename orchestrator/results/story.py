"""What went wrong, told as a story: what the wire did, what the driver was told, and which rule that breaks. Pure.

The reasons of a verdict say what is wrong; the story puts the first of them between the segment that led to it and the
line of the driver that shows it, with the times and numbers under which both are found in the evidence.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from wsklab.orchestrator.judge.integrity import function
from wsklab.orchestrator.judge.observed import Verdict
from wsklab.orchestrator.judge.reading import Facts
from wsklab.orchestrator.observe.base import Observation
from wsklab.orchestrator.observe.driver_lines import Again, Completion, DisconnectTold, DriverLine, LateCallback
from wsklab.orchestrator.observe.lab_notes import Trouble
from wsklab.orchestrator.observe.machine_events import OfMachine
from wsklab.orchestrator.results import calls, field_bugs
from wsklab.orchestrator.results.segments import Segment, relative
from wsklab.orchestrator.scenario.scenario import Scenario

FLAG = re.compile(r"WSK_FLAG_(?P<flag>\w+) is (?P<told>set|clear), expected (?P<wanted>set|clear)")
RULES = {("ABORTIVE", "set"): "R5", ("ABORTIVE", "clear"): "R6", ("AT_DISPATCH_LEVEL", "set"): "R7"}
"""What says how a flag must be."""

_CONNECTION = re.compile(r"connection (\d+): ")
_COMPLETION = re.compile(r"Wsk(Receive|Send) (\d+) (completed|carried)")


@dataclass(frozen=True, slots=True)
class Proof:
    """What is pointed at: a frame of the recording, or a line of the driver's by its number."""

    ms: float
    source: str
    text: str
    frame: int | None = None
    line: int | None = None

    def __str__(self) -> str:
        where = f"frame {self.frame}" if self.frame else f"line {self.line}" if self.line is not None else ""
        return f"{self.ms:9.1f} ms  {self.source:7} {where:10} {self.text}"


@dataclass(frozen=True, slots=True)
class Story:
    """One or two sentences, what proves them, and what known bug it reminds of."""

    text: str
    proof: tuple[Proof, ...] = ()
    hint: str = ""

    @property
    def lines(self) -> tuple[str, ...]:
        """All of it, as it is printed."""
        return (self.text, *map(str, self.proof), *([self.hint] if self.hint else []))


def tell(
    scenario: Scenario, observations: Sequence[Observation], verdict: Verdict, reasons: Sequence[str]
) -> Story | None:
    """Return the story behind the first reason; None for a pass, and where nothing was observed that could be told."""
    if verdict == "pass" or not reasons or not observations:
        return None
    facts = Facts(scenario, observations)
    start = min(o.t for o in observations)
    named = _CONNECTION.match(reasons[0])
    conn = int(named[1]) if named else 0
    reason = reasons[0][named.end() :] if named else reasons[0]
    effect = _effect(facts, conn, reason)
    cause = _cause(facts, conn, effect)
    parts, proof = [], []
    if cause is not None:
        parts.append(_cause_words(cause, (cause.frame.t - start) / 1e6))
        proof.append(Proof((cause.frame.t - start) / 1e6, "wire", _segment_words(cause), cause.frame.number))
    elif facts.frames:
        parts.append("neither machine ended the connection on the wire")
    parts.append(_effect_words(facts, effect, reason, cause.frame.t if cause else start))
    if effect is not None:
        line = effect.seq if isinstance(effect, DriverLine) else None
        proof.append(Proof((effect.t - start) / 1e6, effect.source, _line_words(effect), line=line))
    text = "; ".join(parts)
    if named:
        text = f"On connection {conn} {text}"
    remark = {"inconclusive": ", so nothing is proven", "infra": ", which is the lab's fault"}.get(verdict, "")
    ending = _letter(cause)
    known = field_bugs.hint(reason, ending) if verdict == "fail" else None
    return Story(
        text[:1].upper() + text[1:] + remark + ".",
        tuple(proof),
        f"Looks like {', '.join(known.bugs)}: {known.says} (docs/reference/wsk.md)." if known else "",
    )


def _effect(facts: Facts, conn: int, reason: str) -> Observation | None:
    """Return what was observed of the fault itself: the event, the completion, the crash."""
    if done := _COMPLETION.search(reason):
        completions = facts.completions(done[1].lower(), conn)
        number = int(done[2])
        return completions[number - 1] if number <= len(completions) else None
    if "completed twice" in reason:
        return next(iter(facts.everywhere(Again)), None)
    if "whose close had completed" in reason:
        return next(iter(facts.everywhere(LateCallback)), None)
    troubles: list[OfMachine | Trouble] = [*facts.everywhere(OfMachine), *facts.everywhere(Trouble)]
    for trouble in troubles:
        if trouble.detail and trouble.detail in reason:
            return trouble
    if "WskDisconnectEvent" in reason or FLAG.search(reason):
        told = [*facts.disconnects(conn), *facts.afterwards(DisconnectTold, conn)]
        if call := re.search(r"\(call (\d+)\)", reason):
            return told[int(call[1]) - 1] if int(call[1]) <= len(told) else None
        return next((one for one in told if one.flags is None or f"flags {one.flags:08x}" in reason), None)
    return None


def _cause(facts: Facts, conn: int, effect: Observation | None) -> Segment | None:
    """Return the segment that led to it: the peer's last ending before the effect, else the first of either side."""
    ports = facts.ports(conn)
    if ports is None:
        return None
    segments = relative(frame for frame in facts.frames if ports.owns(frame))
    endings = [one for one in segments if set(one.frame.flags) & {"R", "F"}]
    peers = [one for one in endings if one.frame.sender == "peer"]
    if effect is not None and (before := [one for one in peers if one.frame.t <= effect.t and not _dropped(one)]):
        resets = [one for one in before if "R" in one.frame.flags]
        return (resets or before)[0]
    return next(iter([*[one for one in peers if not _dropped(one)], *peers, *endings]), None)


def _dropped(segment: Segment) -> bool:
    return segment.frame.fate == "dropped"


def _letter(cause: Segment | None) -> str:
    """How the peer ended the connection."""
    if cause is None or cause.frame.sender != "peer" or _dropped(cause):
        return ""
    return "rst" if "R" in cause.frame.flags else "fin"


def _cause_words(cause: Segment, ms: float) -> str:
    """Who sent what, under which number it is found, and whether it arrived."""
    frame = cause.frame
    name = "RST" if "R" in frame.flags else "FIN"
    number = f"frame {frame.number}, " if frame.number else ""
    owner, other = ("peer", "target") if frame.sender == "peer" else ("target", "peer")
    place = f"({number}{ms:.0f} ms, relative sequence number {cause.seq})"
    if _dropped(cause):
        return f"the {owner}'s {name} {place} was dropped by the wire and did not reach the {other}"
    if frame.fate.startswith("forged"):
        return f"a {name} that the wire forged in the {owner}'s name {place} reached the {other}"
    return f"the {owner}'s {name} {place} reached the {other}"


def _segment_words(segment: Segment) -> str:
    fate = segment.frame.note or segment.frame.fate
    return f"{segment.frame.sender} → {segment}" + (f", {fate}" if fate else "")


def _effect_words(facts: Facts, effect: Observation | None, reason: str, since: int) -> str:
    """When the fault showed, and what is wrong with it."""
    if effect is None:
        return f"until the end of the scenario {_plain(reason)}" if "not at all" in reason else _plain(reason)
    apart = (effect.t - since) / 1e6
    when = f"{apart:.0f} ms later" if apart >= 0 else f"{-apart:.0f} ms before that"
    match effect:
        case DisconnectTold():
            return f"{when} WskDisconnectEvent came with {calls.flags(effect)}: {_plain(reason)}"
        case Completion():
            return f"{when} {function(effect.op)} completed with {calls.status(effect.status)}: {_plain(reason)}"
    return f"{when} {_plain(reason)}"


def _plain(reason: str) -> str:
    """Return the reason as the end of a sentence; of a flag, how it is, how it must be, and what says so."""
    if flag := FLAG.search(reason):
        rule = RULES.get((flag["flag"], flag["wanted"]))
        return f"{flag['flag']} is {flag['told']}, must be {flag['wanted']}" + (f" ({rule})" if rule else "")
    return reason.rstrip(".")


def _line_words(o: Observation) -> str:
    """Return the line that shows it."""
    if isinstance(o, DriverLine):
        return calls.words(o)
    return o.detail if isinstance(o, (OfMachine, Trouble)) else o.kind
