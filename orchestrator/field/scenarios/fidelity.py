"""How near a run came to the capture: the two connections side by side, with a number. Pure.

Half of the number is the ending (each FIN and RST, and what was unacknowledged then), three tenths how far either
side was at these points, two tenths the bytes of either direction. Times, addresses, first sequence numbers, the pace
of ACKs and the cut into segments are not compared: they differ with every run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import NamedTuple

from wsklab.orchestrator.field.endings.connections import Connection
from wsklab.orchestrator.field.scenarios.course import Turn, turns

_ENDING, _POINTS, _BYTES = 0.5, 0.3, 0.2


class Event(NamedTuple):
    """One thing that must come again: bytes of a turn, or a FIN or RST."""

    who: str
    what: str  # "data", "fin", "rst"
    detail: tuple[object, ...]

    def __str__(self) -> str:
        if self.what == "data":
            return f"{self.who} sends {self.detail[0]:,} bytes"
        return f"{self.who} {self.what.upper()}{''.join(f', {text}' for text in self.detail)}"


@dataclass(frozen=True)
class Fidelity:
    """The number, its three parts, and the two connections side by side."""

    number: float
    ending: float
    points: float
    bytes: float
    rows: tuple[tuple[str, str, bool], ...]  # capture, run, whether they are alike

    @property
    def same(self) -> bool:
        """Whether the run may be called a reproduction: the ending and what led to it are the same."""
        return self.ending == 1.0 and self.points == 1.0

    @property
    def first_difference(self) -> str | None:
        """Where the two part."""
        for captured, run, alike in self.rows:
            if not alike:
                return f"the capture has {captured or 'nothing more'}, the run {run or 'nothing more'}"
        return None


def compare(captured: Connection, run: Connection) -> Fidelity:
    """Set a run's connection beside the captured one."""
    ours, theirs = _without_tidying(_until_reset(turns(captured)), _until_reset(turns(run)))
    endings = _ratio(_ends(ours), _ends(theirs))
    points = _ratio(_points(ours), _points(theirs))
    sent = _bytes(
        ours, theirs, [d for d in (True, False) if _cut_off(captured, d) and (_cut_off(run, d) or _reset(theirs))]
    )
    rows = tuple(_rows(_events(ours), _events(theirs)))
    return Fidelity(round(_ENDING * endings + _POINTS * points + _BYTES * sent, 3), endings, points, sent, rows)


def best(captured: Connection, runs: Sequence[Connection]) -> tuple[Connection, Fidelity] | None:
    """Return the connection of a run's recording that is nearest to the captured one."""
    compared = [(run, compare(captured, run)) for run in runs]
    return max(compared, key=lambda pair: pair[1].number, default=None)


def _until_reset(found: list[Turn]) -> list[Turn]:
    """Return the story up to the RST that the driver's side took, or sent: what follows reaches a dead socket.

    What the driver's side answers from a dead socket may leave it before the RST with which the socket died.
    """
    kept: list[Turn] = []
    for turn in found:
        end = turn.end
        dead = any(t.kind == "rst" and t.driver == turn.driver and t.end and t.end.arrived for t in kept)
        dead = dead or (turn.driver and any(t.kind == "rst" and t.driver and t.end and not t.end.bare for t in found))
        if not (turn.kind == "rst" and end is not None and end.bare and dead and not end.offset):
            kept.append(turn)
        if turn.kind == "rst" and not turn.driver and end is not None and end.arrived and not end.offset:
            break
    return kept


def _cut_off(one: Connection, driver: bool) -> bool:
    """Whether a window or an RST stopped one side in the middle: how far it came is chance."""
    side = one.driver if driver else 1 - one.driver
    resets = (end for end in one.story.ends if end.word == "rst")
    return bool(one.story.halves[side].filled_windows) or any(end.unacked[side] for end in resets)


def _reset(found: Sequence[Turn]) -> bool:
    """Return whether an RST ended it: of a transfer that it cuts off, nothing need be on its way just then."""
    return any(turn.kind == "rst" for turn in found)


def _without_tidying(captured: list[Turn], run: list[Turn]) -> tuple[list[Turn], list[Turn]]:
    """Leave out the RST with which a socket is closed after the story, where only one of the two has it."""

    def tidied(found: list[Turn]) -> bool:
        return len(found) > 1 and found[-1].driver and found[-1].kind == "rst"

    if tidied(run) and not tidied(captured):
        return captured, run[:-1]
    if tidied(captured) and not tidied(run):
        return captured[:-1], run
    if run and not captured and run[-1].driver and run[-1].kind == "rst":
        return captured, run[:-1]
    return captured, run


def _ends(found: Sequence[Turn]) -> list[tuple[object, ...]]:
    ends: list[tuple[object, ...]] = []
    for turn in found:
        if turn.end is not None:
            bare = turn.kind == "rst" and turn.end.bare
            one = (turn.who, turn.kind, bare, turn.end.offset, turn.end.damaged)
            if turn.kind != "rst" or one not in ends:  # an RST for each segment that reaches a dead socket
                ends.append(one)
    return ends


def _points(found: Sequence[Turn]) -> list[tuple[object, ...]]:
    """How many bytes either side had sent when one of them ended, and whether some were unacknowledged."""
    sent = {True: 0, False: 0}
    points: list[tuple[object, ...]] = []
    seen: set[tuple[bool, str]] = set()
    for turn in found:
        if turn.kind == "data":
            sent[turn.driver] += turn.length
        elif turn.end is not None and (turn.driver, turn.kind) not in seen:
            seen.add((turn.driver, turn.kind))
            points.append((turn.who, turn.kind, sent[True] > 0, sent[False] > 0))
    return points


def _bytes(ours: Sequence[Turn], theirs: Sequence[Turn], by_chance: Sequence[bool]) -> float:
    parts: list[float] = []
    for driver in (True, False):
        first, second = (sum(t.length for t in found if t.driver == driver) for found in (ours, theirs))
        alike = first == second or (driver in by_chance and first and second)
        parts.append(1.0 if alike else min(first, second) / max(first, second))
    return sum(parts) / 2


def _events(found: Sequence[Turn]) -> list[Event]:
    events: list[Event] = []
    for turn in found:
        if turn.kind == "data":
            events.append(Event(turn.who, "data", (turn.length,)))
        elif turn.end is None:
            events.append(Event(turn.who, turn.kind, ()))
        else:
            detail = tuple(
                text
                for text, true in (
                    ("without ACK", turn.kind == "rst" and turn.end.bare),
                    (f"{turn.end.offset:+d} off", turn.end.offset),
                    ("damaged", turn.end.damaged),
                )
                if true
            )
            events.append(Event(turn.who, turn.kind, detail))
    return events


def _rows(ours: Sequence[Event], theirs: Sequence[Event]) -> list[tuple[str, str, bool]]:
    rows: list[tuple[str, str, bool]] = []
    for tag, i, j, k, m in SequenceMatcher(None, ours, theirs, autojunk=False).get_opcodes():
        left, right = [str(e) for e in ours[i:j]], [str(e) for e in theirs[k:m]]
        for at in range(max(len(left), len(right))):
            rows.append((left[at] if at < len(left) else "", right[at] if at < len(right) else "", tag == "equal"))
    return rows


def _ratio(ours: Sequence[tuple[object, ...]], theirs: Sequence[tuple[object, ...]]) -> float:
    return SequenceMatcher(None, list(ours), list(theirs), autojunk=False).ratio()
