"""The same connection in several captures: found by its sequence numbers, its clocks brought together. Pure.

The offset of two clocks follows from the smallest differences in either direction (Paxson 1998); its error is at most
half the difference of the two delays.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from wsklab.orchestrator.field.endings.connections import Connection
from wsklab.orchestrator.field.packets.segments import REVERSED, Segment
from wsklab.qemu.wire.frames import ACK, FIN, RST, SYN

MOST_COMPARED = 20_000
"""Segments of a connection that are compared."""

_ENOUGH = 3
_Key = tuple[int, int, int, int, int]


@dataclass(frozen=True)
class Pair:
    """One connection in two captures."""

    first: Connection
    second: Connection
    matched: int
    offset: int | None  # ns that the second clock is ahead of the first
    delay: int | None  # ns of the way between the two
    only: tuple[str, ...]  # what only one of the two saw, and what that means


def pairs(first: Sequence[Connection], second: Sequence[Connection]) -> Iterator[Pair]:
    """Yield the connections in both captures: with the same first numbers, whatever a NAT made of the addresses."""
    known: dict[tuple[int, int], Connection] = {}
    by_ports: dict[frozenset[str], list[Connection]] = {}
    for one in second:
        if (key := _first_numbers(one)) is not None:
            known.setdefault(key, one)
        by_ports.setdefault(frozenset(one.names), []).append(one)
    for one in first:
        key = _first_numbers(one)
        other = known.pop(key, None) if key is not None else None
        for candidate in [other] if other is not None else by_ports.get(frozenset(one.names), [])[:4]:
            pair = compare(one, candidate)
            if pair.matched >= (1 if other is not None else _ENOUGH):
                yield pair
                break


def _first_numbers(one: Connection) -> tuple[int, int] | None:
    """Return the sequence numbers of SYN and SYN+ACK."""
    syn = answer = None
    for segment in one.segments()[:8]:
        if segment.flags & SYN and segment.flags & ACK:
            answer = segment.seq if answer is None else answer
        elif segment.flags & SYN:
            syn = segment.seq if syn is None else syn
    return None if syn is None or answer is None else (syn, answer)


def compare(first: Connection, second: Connection) -> Pair:
    """Match segments, estimate the clocks' offset, and name what only one capture saw."""
    ours, theirs = _seen(first), _seen(second)
    gaps: tuple[list[int], list[int]] = ([], [])
    for key, segment in ours.items():
        if (other := theirs.get(key)) is not None:
            gaps[key[0]].append(other.time - segment.time)
    offset, delay = _clocks(*gaps)
    only: list[str] = []
    for seen, unseen, near, far in ((ours, theirs, "first", "second"), (theirs, ours, "second", "first")):
        where = first if near == "first" else second
        for key, segment in seen.items():
            if key not in unseen and (segment.length or segment.flags & (SYN | FIN | RST)) and len(only) < 20:
                who = where.side(segment.marks & REVERSED)
                only.append(
                    f"frame {segment.frame} of the {near} capture ({segment.words}, {segment.length} bytes, as of the "
                    f"{who}) is not in the {far}: lost on the way, or made on it"
                )
    return Pair(first, second, len(gaps[0]) + len(gaps[1]), offset, delay, tuple(only))


def _seen(one: Connection) -> dict[_Key, Segment]:
    """Each segment by what stays the same on its way, with the side counted from the opener; the first of each."""
    found: dict[_Key, Segment] = {}
    for segment in one.segments()[:MOST_COMPARED]:
        side = segment.marks & REVERSED ^ one.story.opener
        found.setdefault((side, segment.seq, segment.ack, segment.flags, segment.length), segment)
    return found


def _clocks(opener: Sequence[int], other: Sequence[int]) -> tuple[int | None, int | None]:
    """Offset and delay from the differences (second - first) in either direction."""
    if not opener or not other:
        return None, None
    near = min(opener), max(other)  # the first capture is nearer to the opener
    if near[0] < near[1]:
        near = max(opener), min(other)
        return (near[0] + near[1]) // 2, abs(near[1] - near[0]) // 2
    return (near[0] + near[1]) // 2, (near[0] - near[1]) // 2
