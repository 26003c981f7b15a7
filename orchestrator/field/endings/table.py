"""The connections of a capture for people and for programs. Pure."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

from wsklab.common.text import visible
from wsklab.orchestrator.field.endings.connections import Capture, Connection
from wsklab.orchestrator.field.endings.endings import Named
from wsklab.orchestrator.field.endings.resets import OWN
from wsklab.orchestrator.field.endings.story import SECOND, End, Half
from wsklab.orchestrator.field.packets.segments import REVERSED, Segment

WIDTH = 132
"""Columns of a line."""

DETAILED = 20
"""So many connections are told in full; of more there is a line each, and `--connection N` tells of one."""


def file_lines(capture: Capture) -> Iterator[str]:
    """Yield what there is to say of a file as a whole."""
    found, made = capture.flows, capture.connections
    span = (found.end - found.begin) / SECOND
    many = "1 connection" if len(made) == 1 else f"{len(made):,} connections"
    counts = f"{found.packets:,} packets, {found.segments:,} TCP segments, {many}, {span:.3f} s"
    yield visible(f"{capture.path}: {counts}")
    if found.unread:
        yield f"  {found.unread:,} packets are no IP, or were cut too short"
    if found.notes.dropped:
        yield f"  the capture lost {found.notes.dropped:,} packets by its own count: what is missing may have been sent"
    yield from (f"  {text}" for text in found.notes.texts)


def row(one: Connection) -> str:
    """One connection in one line."""
    driver, peer = one.driver, 1 - one.driver
    first = one.ending.named[0]
    halves = one.story.halves
    arrow = "->" if one.story.opener == driver else "<-"
    return (
        f"{one.number:>5}  {one.names[driver]:>21} {arrow} {one.names[peer]:<21} "
        f"{halves[driver].payload:>11,} {halves[peer].payload:>11,}  {first.number or '-':>3}  {first.text}"
    )


HEAD = f"{'no.':>5}  {'driver':>21}    {'peer':<21} {'bytes out':>11} {'bytes in':>11}  ending"


def details(one: Connection) -> Iterator[str]:
    """One connection in full."""
    story, driver, peer, ending = one.story, one.driver, 1 - one.driver, one.ending
    yield row(one)
    sure = "SYN seen" if story.opened[0] or story.opened[1] else "guessed"
    through = f"; seen through {', '.join(one.flow.through)}" if one.flow.through else ""
    whose = f"the driver's side is {one.names[driver]} ({one.driver_by})"
    yield f"         opened by the {one.side(story.opener)} ({sure}); {whose}{through}"
    yield from _grouped(ending.named, "ended")
    yield from _grouped(ending.way, "before")
    for end, origin in zip(story.ends, ending.origins, strict=True):
        yield f"         {_end(one, end)}"
        if origin.word != OWN:
            yield from _wrapped(f"   {origin.word}: ", "; ".join(origin.signs))
    for side in (driver, peer):
        if told := _half(story.halves[side], story.unacked(side)):
            yield f"         {one.side(side)}: {told}"
    if one.flow.left_out:
        yield f"         {one.flow.left_out:,} segments in its middle were not kept"
    yield from (f"         the capture cannot tell {text}" for text in ending.unknown)


def _grouped(named: tuple[Named, ...], word: str) -> Iterator[str]:
    """Yield endings with what speaks for them and against; those that the same facts speak for stand together."""
    groups: dict[tuple[tuple[str, ...], tuple[str, ...]], list[Named]] = {}
    for one in named:
        groups.setdefault((one.why, one.against), []).append(one)
    for (why, against), members in groups.items():
        names = "; ".join(f"{one.number} {one.text}" if one.number else one.text for one in members)
        yield from _wrapped(f"{word}: ", names)
        if members[0].number:
            yield from _wrapped("   for it: ", "; ".join(why))
        if against:
            yield from _wrapped("   against it: ", "; ".join(against))
        word = "or" if word in ("ended", "or") else "and"


def _wrapped(label: str, text: str) -> list[str]:
    """Return a text in lines of a page's width, its label before it."""
    first = f"         {label}"
    return textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=" " * len(first), break_long_words=False)


def _end(one: Connection, end: End) -> str:
    begin = one.story.begin
    after = (end.segment.time - begin) / SECOND
    unacked = f"unacknowledged then: driver {end.unacked[one.driver]:,}, peer {end.unacked[1 - one.driver]:,} bytes"
    more = "".join(
        text
        for text, true in (
            (f", {end.copies} more of it", end.copies),
            (f", {end.offset:+d} off the expected number", end.offset),
            (", answering a segment", end.answers),
            (", did not arrive", not end.arrived and not end.damaged),
            (", damaged", end.damaged),
            (", acknowledged", end.acked),
        )
        if true
    )
    return f"{after:11.6f} s  frame {end.segment.frame}: {one.side(end.side)} {end.segment.words}{more}; {unacked}"


def _half(half: Half, unacked: int) -> str:
    facts = (
        ("retransmissions", half.retransmissions),
        ("out of order", half.out_of_order),
        ("seen twice", half.copies),
        ("zero windows", half.zero_windows),
        ("window probes", half.window_probes),
        ("keepalive probes", half.keepalives),
        ("bytes not captured", half.missing),
        ("bytes unacknowledged at the end", unacked),
    )
    return ", ".join(f"{count:,} {what}" for what, count in facts if count)


def segment_lines(one: Connection, most: int = 400) -> Iterator[str]:
    """Yield a connection's segments, numbered from its first bytes."""
    segments = one.segments()
    base: list[int | None] = [None, None]
    for number, segment in enumerate(segments):
        side = segment.marks & REVERSED
        base[side] = segment.seq if base[side] is None else base[side]
        if segment.flags & 16 and base[1 - side] is None:
            base[1 - side] = (segment.ack - 1) & 0xFFFFFFFF
        if most // 2 <= number < len(segments) - most // 2:
            if number == most // 2:
                yield f"         ... {len(segments) - most:,} segments"
            continue
        yield f"         {_segment(one, segment, base)}"


def _segment(one: Connection, segment: Segment, base: list[int | None]) -> str:
    side = segment.marks & REVERSED
    after = (segment.time - one.story.begin) / SECOND
    seq = (segment.seq - (base[side] or 0)) & 0xFFFFFFFF
    ack = f" ack {(segment.ack - (base[1 - side] or 0)) & 0xFFFFFFFF}" if segment.flags & 16 else ""
    return (
        f"{after:11.6f} s  frame {segment.frame}  {one.side(side):>6} {segment.words:<12} seq {seq}{ack} "
        f"length {segment.length} window {segment.window}"
    )


def document(capture: Capture) -> dict[str, Any]:
    """Return a file for a program, without its connections."""
    found = capture.flows
    return {
        "file": str(capture.path),
        "packets": found.packets,
        "segments": found.segments,
        "unread": found.unread,
        "lost_by_the_capture": found.notes.dropped,
        "notes": found.notes.texts,
    }


def connection_document(one: Connection) -> dict[str, Any]:
    """One connection for a program."""
    story, ending = one.story, one.ending
    return {
        "number": one.number,
        "driver": one.names[one.driver],
        "peer": one.names[1 - one.driver],
        "driver_known_by": one.driver_by,
        "opened_by": one.side(story.opener),
        "handshake": dict(zip(("syn", "syn_ack", "ack"), story.opened, strict=True)),
        "through": list(one.flow.through),
        "begin": story.begin,
        "end": story.end,
        "endings": [_named(named) for named in ending.named],
        "before": [_named(named) for named in ending.way],
        "cannot_tell": list(ending.unknown),
        "ends": [
            {
                "by": one.side(end.side),
                "segment": end.segment.words,
                "frame": end.segment.frame,
                "time": end.segment.time,
                "offset": end.offset,
                "arrived": end.arrived,
                "acknowledged": end.acked,
                "copies": end.copies,
                "unacknowledged": {"driver": end.unacked[one.driver], "peer": end.unacked[1 - one.driver]},
                "origin": origin.word,
                "signs": list(origin.signs),
            }
            for end, origin in zip(story.ends, ending.origins, strict=True)
        ],
        **{one.side(side): _half_document(story.halves[side], story.unacked(side)) for side in (0, 1)},
    }


def _named(named: Named) -> dict[str, Any]:
    return {"number": named.number, "text": named.text, "for": list(named.why), "against": list(named.against)}


def _half_document(half: Half, unacked: int) -> dict[str, Any]:
    return {
        "segments": half.segments,
        "bytes": half.payload,
        "retransmissions": half.retransmissions,
        "out_of_order": half.out_of_order,
        "copies": half.copies,
        "zero_windows": half.zero_windows,
        "window_probes": half.window_probes,
        "keepalives": half.keepalives,
        "bytes_not_captured": half.missing,
        "unacknowledged": unacked,
        "wrong_checksums": half.wrong_sums,
        "cut": half.cut,
    }
