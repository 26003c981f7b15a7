"""A driver's debug text beside the wire: what it says of each connection's end, and where the two contradict. Pure.

Nothing is run: flags that do not fit the segments are a finding as they stand.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from wsklab.common import files
from wsklab.common.text import quoted
from wsklab.drivers.patterns import read
from wsklab.drivers.profile import DriverProfile
from wsklab.drivers.protocol import parse_line
from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.field.connections import Connection
from wsklab.orchestrator.field.resets import FOREIGN, origin
from wsklab.orchestrator.field.story import End

LOG = 256 << 20
"""Bytes of a log that are read."""

_MOST_LINES = 2_000_000
_LONGEST = 5000
_ABORTIVE = 1

# What the lines of the lab's own driver are, in the words of profiles; `disconnect` is its own call of WskDisconnect.
_EVENTS = {"accept": "open", "recv": "indication"}
_OPERATIONS = {
    ("done", "connect"): "open",
    ("done", "accept"): "open",
    ("done", "receive"): "recv",
    ("done", "send"): "sent",
    ("call", "disconnect"): "disconnect",
}


@dataclass(frozen=True)
class Told:
    """One line that the driver's profile knows."""

    line: int
    text: str
    kind: str
    conn: int | None
    data: Mapping[str, object]

    @property
    def abortive(self) -> bool | None:
        """What it says of WSK_FLAG_ABORTIVE."""
        flags, word = self.data.get("flags"), self.data.get("abortive")
        if isinstance(flags, int) and not isinstance(flags, bool):
            return bool(flags & _ABORTIVE)
        return word if isinstance(word, bool) else bool(word) if isinstance(word, int) else None


@dataclass
class Side:
    """What the log says of one connection."""

    connection: Connection | None
    conn: int | None
    lines: list[Told] = field(default_factory=list)

    def of(self, kind: str) -> list[Told]:
        """Return its lines of one kind."""
        return [one for one in self.lines if one.kind == kind]


def read_log(path: Path, profile: DriverProfile) -> list[Told]:
    """Return the lines that the profile's patterns know, or the grammar of the lab's own driver. Raises UsageError."""
    told: list[Told] = []
    try:
        with files.open_file(path, LOG) as file:
            for number in range(1, _MOST_LINES):
                raw = file.readline(_LONGEST)
                if not raw:
                    break
                if (one := _line(number, raw.decode(errors="replace").rstrip("\r\n"), profile)) is not None:
                    told.append(one)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {files.why(error)}.") from None
    if not told:
        raise UsageError(
            f"{path}: no line of it is known to the driver profile '{profile.name}'; see the profile's patterns."
        )
    return told


def _line(number: int, text: str, profile: DriverProfile) -> Told | None:
    if not profile.patterns:
        record = parse_line(text)
        if record is None:
            return None
        numbers = {key: record.number(key) for key in record.fields}
        data = {key: value for key, value in numbers.items() if value is not None}
        if "ab" in data:
            data["abortive"] = data.pop("ab")
        conn, kind = record.conn, _EVENTS.get(record.ev, record.ev)
        if record.ev == "accept":
            conn = data.get("new", conn)
            data.pop("cookie", None)  # the listener's
        elif record.ev in ("done", "call"):
            kind = _OPERATIONS.get((record.ev, record.fields.get("op", "")), "call")
            if record.ev == "done" and data.get("st") != 0:
                kind = "refused" if kind == "open" else "failed"
        return Told(number, text, kind, conn, data)
    reading = read(profile.patterns, text)
    return None if reading is None else Told(number, text, reading.kind, reading.conn, dict(reading.data))


def beside(told: Sequence[Told], connections: Sequence[Connection]) -> list[Side]:
    """Put the log's connections beside those on the wire: by port where a line names one, else in their order."""
    sides: list[Side] = []
    open_now: dict[int | None, Side] = {}
    for one in told:
        if one.kind in ("canary", "load", "unload", "note"):
            continue
        if one.conn is None and one.kind not in ("open", "disc", "close"):
            continue
        if one.kind == "open" or one.conn not in open_now:
            open_now[one.conn] = Side(None, one.conn)
            sides.append(open_now[one.conn])
        open_now[one.conn].lines.append(one)
    sides = [side for side in sides if side.of("open") or side.of("disc")]
    finder = _Finder(connections)
    for side in sides:
        side.connection = finder.by_ports(_ports(side))
    for side in sides:
        side.connection = side.connection or finder.next()
    return sides


def _ports(side: Side) -> set[int]:
    """Return the ports that the line of its opening names."""
    named = ((key, value) for one in side.of("open") for key, value in one.data.items())
    return {value for key, value in named if key in ("port", "lport", "rport") and isinstance(value, int)}


class _Finder:
    """Connections of the wire, each given away once."""

    def __init__(self, connections: Sequence[Connection]) -> None:
        self.given: set[int] = set()  # their identities
        self.at: dict[int, deque[Connection]] = {}
        for one in connections:
            for port in _ports_of(one):
                self.at.setdefault(port, deque()).append(one)
        self.rest = iter([c for c in connections if c.story.opened[1] or not c.story.opened[0]])

    def by_ports(self, ports: set[int]) -> Connection | None:
        """Return the first one that has all of these ports."""
        if not ports:
            return None
        fewest = min((self.at.get(port, deque()) for port in ports), key=len)
        while fewest and id(fewest[0]) in self.given:
            fewest.popleft()
        return self._give(one for one in fewest if ports <= _ports_of(one))

    def next(self) -> Connection | None:
        """Return the next one that was established, or was under way when the capture began."""
        return self._give(self.rest)

    def _give(self, candidates: Iterable[Connection]) -> Connection | None:
        for one in candidates:
            if id(one) not in self.given:
                self.given.add(id(one))
                return one
        return None


def _ports_of(one: Connection) -> set[int]:
    return {int(name.rpartition(":")[2]) for name in one.names}


def contradictions(sides: Sequence[Side], connections: Sequence[Connection]) -> Iterator[tuple[int, str]]:
    """Say where log and wire do not fit, with the number of the connection."""
    tells = any(side.of("disc") for side in sides)
    for side in sides:
        if side.connection is not None:
            for text in _of_one(side, side.connection, tells):
                yield side.connection.number, text
        else:
            for one in side.of("disc"):
                yield 0, f"line {one.line} tells of an end ({quoted(one.text)}), but no connection of the capture fits"


def _of_one(side: Side, connection: Connection, tells: bool) -> Iterator[str]:
    sent = genuine(connection)
    ends = [end for end in sent if not _driver_first(connection, end)]
    calls = side.of("disc")
    for call in calls:
        flag, word = call.data.get("flags"), call.data.get("abortive")
        if isinstance(flag, int) and word is not None and bool(flag & _ABORTIVE) != bool(word):
            yield f"line {call.line}: the flags say {_set(bool(flag & _ABORTIVE))}, the words {_set(bool(word))}"
    for call, end in zip(calls, ends, strict=False):
        if call.abortive is not None and call.abortive != (end.word == "rst"):
            yield (
                f"line {call.line} reports WSK_FLAG_ABORTIVE {_set(call.abortive)}, but the peer sent "
                f"{end.segment.words} (frame {end.segment.frame}): {quoted(call.text)}"
            )
    gave_up = _gave_up(connection)
    for call in calls[len(ends) :] if ends or not gave_up else ():
        times = "once" if len(ends) == 1 else f"{len(ends)} times"
        wire = f"the peer ended the connection {times}" if ends else "the peer sent neither FIN nor RST"
        yield f"line {call.line} reports an end, but {wire}: {quoted(call.text)}"
    if ends and not calls and tells and side.of("open"):
        end = ends[0]
        yield f"the peer sent {end.segment.words} (frame {end.segment.frame}), but the log tells of no end"
    contexts = {one.data["cookie"] for one in (*side.of("open"), *calls) if "cookie" in one.data}
    if len(contexts) > 1:
        yield f"line {calls[0].line} tells of the end with another context than the connection was opened with"
    for kind, word, who in (("recv", "received", 1 - connection.driver), ("sent", "sent", connection.driver)):
        half, total = connection.story.halves[who], sum(_lengths(side.of(kind)))
        if total > half.payload + half.missing:
            yield f"the log counts {total} bytes {word}, the wire carried {half.payload}"
    first = next((e for e in connection.story.ends if e.side == connection.driver), None)
    own = side.of("disconnect")
    asked = own[0] if own and not any(one.data.get("flags") for one in own) else None
    if asked is not None and first is not None and first.word == "rst" and not sent:
        yield f"line {asked.line} asks for a graceful disconnect, the wire shows {_sent(first)}: {quoted(asked.text)}"


def _lengths(lines: Sequence[Told]) -> Iterator[int]:
    for one in lines:
        value = one.data.get("length", one.data.get("len"))
        if isinstance(value, int):
            yield value


def _gave_up(connection: Connection) -> bool:
    """Whether the driver's own stack may have ended it: what it sent was not answered, or it sent an RST."""
    half = connection.story.halves[connection.driver]
    return bool(half.unanswered) or any(e.side == connection.driver and e.word == "rst" for e in connection.story.ends)


def genuine(connection: Connection) -> list[End]:
    """Return the peer's own endings that reached the driver's side: what its callback must tell of."""
    found: list[End] = []
    for end in connection.story.ends:
        # A forged segment that is exactly placed is taken by a receiver like any other.
        taken = end.arrived and (end.word == "fin" or not end.offset)
        if end.side != connection.driver and taken and not any(e.word == end.word for e in found):
            found.append(end)
    return found


def _driver_first(connection: Connection, end: End) -> bool:
    """Whether the driver's own stack had given the connection up before: what comes then is told to nobody."""
    return any(
        e.side == connection.driver and e.word == "rst" and e.segment.time <= end.arrived_at
        for e in connection.story.ends
    )


def _set(value: bool) -> str:
    return "set" if value else "clear"


# -- what the customer says ----------------------------------------------------------------------------------------


def expected(text: str) -> bool | None:
    """`abortive: set` or `clear` as True or False, `none` as None. Raises UsageError."""
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        found = None
    if found == "none":
        return None
    if isinstance(found, dict) and list(found) == ["abortive"] and found["abortive"] in ("set", "clear"):
        return bool(found["abortive"] == "set")
    raise UsageError(f"'{quoted(text)}' is no report of a driver; say `abortive: set`, `abortive: clear` or `none`.")


def against(connection: Connection, report: bool | None) -> str | None:
    """Where a report contradicts the wire, a sentence; None where it fits."""
    ends = genuine(connection)
    if report is None:
        return None if not ends else f"no report fits a silent peer only; it sent {_sent(ends[0])}"
    if not ends:
        return f"the driver is said to have reported abortive {_set(report)}, but the peer sent neither FIN nor RST"
    if any((end.word == "rst") == report for end in ends) or (report and _driver_first(connection, ends[0])):
        return None
    foreign = origin(connection.story, ends[0]).word == FOREIGN
    note = ", which is not the peer's own" if foreign else ""
    return f"the driver is said to have reported abortive {_set(report)}, but the peer sent {_sent(ends[0])}{note}"


def _sent(end: End) -> str:
    return f"{end.segment.words} (frame {end.segment.frame})"
