"""A driver's debug text, read by its profile's patterns, and its connections beside those on the wire. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wsklab.common import files
from wsklab.drivers.patterns import read
from wsklab.drivers.profile import DriverProfile
from wsklab.drivers.protocol import parse_line
from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.field.endings.connections import Connection

LOG = 256 << 20
"""Bytes of a log that are read."""

_MOST_LINES = 2_000_000
_LONGEST = 5000
ABORTIVE = 1

# What the lines of the lab's own driver are, in the words of profiles. What those have no word for: `call` and `done`
# are of its calls of WSK, `failed` is a `done` that was none, `disconnect` its call of WskDisconnect.
_EVENTS = {"accept": "open", "recv": "indication"}
_OPERATIONS = {
    ("done", "connect"): "open",
    ("done", "accept"): "open",
    ("done", "receive"): "recv",
    ("done", "send"): "sent",
    ("done", "close"): "close",
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
        """What it says of WSK_FLAGABORTIVE."""
        flags, word = self.data.get("flags"), self.data.get("abortive")
        if isinstance(flags, int) and not isinstance(flags, bool):
            return bool(flags & ABORTIVE)
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
            operation = record.fields.get("op", "")
            kind = _OPERATIONS.get((record.ev, operation), record.ev)
            if record.ev == "done" and data.get("st") != 0:
                kind = "refused" if kind == "open" else "failed"
            return Told(number, text, kind, conn, {**data, "op": operation, "seq": record.seq, "t": record.t})
        return Told(number, text, kind, conn, {**data, "seq": record.seq, "t": record.t})
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
