"""All TCP connections of one capture or several, each with its story and its ending. Pure, but for reading files."""

from __future__ import annotations

import gc
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.field.endings.endings import Ending, Named, ending
from wsklab.orchestrator.field.endings.history import follow
from wsklab.orchestrator.field.endings.story import SECOND, History, ordered, split
from wsklab.orchestrator.field.packets import captures, flows
from wsklab.orchestrator.field.packets.captures import Notes
from wsklab.orchestrator.field.packets.flows import Flow, Flows, Unreachable, options_of
from wsklab.orchestrator.field.packets.segments import RECORD, REVERSED, Segment, unpacked

WINDOWS_TTL = range(97, 129)
"""What is left of Windows' 128 after at most 31 hops."""

MOST_CONNECTIONS = 100_000
"""Connections that are told of."""

MANY = 20
"""Connections of one peer that end within a second: one program's end (C20)."""


@dataclass(slots=True)
class Connection:
    """One connection: `number` as in the table, sides in the order of its flow's first segment."""

    number: int
    file: int
    names: tuple[str, str]  # address and port of either side, as people write them
    addresses: tuple[str, str]
    driver: int
    driver_by: str  # how it is known which side is the driver's
    story: History
    errors: tuple[Unreachable, ...]
    flow: Flow
    range: tuple[int, int]  # its records within the flow
    besides: tuple[Named, ...] = ()  # what only shows beside other connections

    @property
    def ending(self) -> Ending:
        """How it ended. It is worked out anew each time: of many connections most are never asked."""
        found = ending(self.story, self.driver, self.errors)
        return replace(found, way=(*found.way, *self.besides)) if self.besides else found

    def segments(self) -> list[Segment]:
        """Return its segments, as captured."""
        begin, end = (at * RECORD.size for at in self.range)
        return list(unpacked([self.flow.records[begin:end]]))

    def side(self, side: int) -> str:
        """Return the role of a side."""
        return "driver" if side == self.driver else "peer"


@dataclass
class Capture:
    """One file, read."""

    path: Path
    flows: Flows
    connections: list[Connection]


def read(path: Path, driver: str | None = None, first: int = 1, file: int = 0) -> Capture:
    """Read a file; `driver` is the address of the driver's side, where the user knows it. Raises UsageError."""
    notes = Notes()
    with _uncollected():
        found = flows.read(captures.packets(path, notes), notes)
        return Capture(path, found, list(connections(found, driver, first, file)))


@contextmanager
def _uncollected() -> Iterator[None]:
    """Spare the search for cycles: of what is made meanwhile there are millions, and none is in one."""
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()


def connections(found: Flows, driver: str | None = None, first: int = 1, file: int = 0) -> Sequence[Connection]:
    """Return the connections in what was read from a file, in the order of their first segments."""
    wanted = None if driver is None else _canonical(driver)
    made: list[Connection] = []
    for flow in found.flows:
        captured, at = list(unpacked([flow.records])), 0
        whole, stepped = ordered(captured)
        if whole is not captured:
            flow.records = bytearray().join(RECORD.pack(*segment) for segment in whole)
        for segments in split(whole):
            if len(made) >= MOST_CONNECTIONS:
                found.notes.add(f"Only the first {MOST_CONNECTIONS:,} connections were looked at.")
                break
            made.append(_connection(found, flow, segments, at, wanted, file))
            made[-1].story.stepped = stepped
            at += len(segments)
    made.sort(key=lambda one: one.story.first_frame)
    for number, one in enumerate(made, first):
        one.number = number
    _together(made)
    return made


def _connection(
    found: Flows, flow: Flow, segments: list[Segment], at: int, wanted: bytes | None, file: int
) -> Connection:
    half = len(flow.addresses) // 2
    raw = flow.addresses[:half], flow.addresses[half:]
    addresses = _text(raw[0]), _text(raw[1])
    ports = int.from_bytes(flow.ports[:2], "big"), int.from_bytes(flow.ports[2:], "big")
    story = follow(segments, found.notes.lab, _shifts(flow, segments))
    driver, by = _driver(story, raw, wanted)
    errors = tuple(
        e
        for e in flow.errors
        if segments[0].frame <= e.frame and e.quoted_reversed == bool(driver) and e.time <= story.end + 120 * SECOND
    )
    return Connection(
        0,
        file,
        (_named(addresses[0], ports[0]), _named(addresses[1], ports[1])),
        addresses,
        driver,
        by,
        story,
        errors[:4],
        flow,
        (at, at + len(segments)),
    )


def _driver(story: History, raw: tuple[bytes, bytes], wanted: bytes | None) -> tuple[int, str]:
    """Which side is the driver's."""
    if wanted is not None and wanted in raw:
        return raw.index(wanted), "as named"
    if story.driver_lane is not None:
        return story.driver_lane, "the lab's recording"
    windows = [any(ttl in WINDOWS_TTL for ttl in half.ttls) for half in story.halves]
    if windows[0] != windows[1]:
        return windows.index(True), "guessed: its TTL is that of Windows"
    return story.opener, "guessed: it opened the connection"


def _shifts(flow: Flow, segments: list[Segment]) -> tuple[int | None, int | None]:
    """Return the window scales, where both sides offered one (RFC 7323)."""
    shifts: list[int | None] = [None, None]
    if not flow.syns:
        return None, None
    for segment in segments[:16]:
        if (options := flow.syns.get(segment.frame)) is not None:
            scale = next((v[0] for k, v in options_of(options) if k == 3 and len(v) == 1), None)
            side = segment.marks & REVERSED
            shifts[side] = min(scale, 14) if scale is not None else shifts[side]
    return (shifts[0], shifts[1]) if None not in shifts else (0, 0)


def _together(made: list[Connection]) -> None:
    """Name C20 where one peer ends many connections at once; name C27 where a connection takes another's ports."""
    by_peer: dict[str, list[Connection]] = {}
    last: dict[int, Connection] = {}
    for one in made:
        before = last.get(id(one.flow))
        if before is not None and one.story.begin - before.story.end < 120 * SECOND:
            why = (f"the same ports as connection {before.number}",)
            one.besides = (*one.besides, Named("C27", why))
        last[id(one.flow)] = one
        if any(e.side != one.driver for e in one.story.ends):
            by_peer.setdefault(one.addresses[1 - one.driver], []).append(one)
    for group in by_peer.values():
        times = sorted(
            ((next(e for e in one.story.ends if e.side != one.driver).segment.time, one) for one in group),
            key=lambda pair: pair[0],
        )
        low, marked, done = 0, set[int](), 0
        for high in range(len(times)):
            while times[high][0] - times[low][0] > SECOND:
                low += 1
            if high - low + 1 >= MANY:
                marked.update(range(max(low, done), high + 1))
                done = high + 1
        why = (f"{len(marked)} connections of this peer ended together",)
        for index in marked:
            one = times[index][1]
            one.besides = (*one.besides, Named("C20", why))


def _text(address: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)


def _named(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _canonical(address: str) -> bytes:
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            return socket.inet_pton(family, address)
        except OSError:
            continue
    raise UsageError(f"'{address}' is no IPv4 or IPv6 address.")
