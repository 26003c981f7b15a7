"""What the observations of one run add up to: the vocabulary in which the judge's checks are written. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property

from wsklab.orchestrator.judge.observed import Disconnect, Ends, Observed, Transfer
from wsklab.orchestrator.judge.wire_endings import Ending, Ports, ending, frames_of
from wsklab.orchestrator.observe.base import Observation, OneKind
from wsklab.orchestrator.observe.driver_lines import Call, CommandRefused, Completion, DisconnectTold, DriverLine
from wsklab.orchestrator.observe.foreign_lines import ForeignClose
from wsklab.orchestrator.observe.lab_notes import (
    Drawn,
    EndOfStory,
    KnownBehaviour,
    Opened,
    PortsKnown,
    Recorded,
    StepNote,
)
from wsklab.orchestrator.observe.wire_frames import FrameSeen
from wsklab.orchestrator.scenario.scenario import Scenario

ABORTIVE = 0x1
AT_DISPATCH_LEVEL = 0x8
DEFINED_FLAGS = ABORTIVE | AT_DISPATCH_LEVEL  # R9: no other flag is defined for WskDisconnectEvent
DISPATCH_LEVEL = 2
PENDING = 0x103

FEW = 8
"""Connections up to which every call that succeeds is printed too."""

TOLD_OF_END = (DisconnectTold, ForeignClose)
"""What tells that no WskDisconnectEvent need be waited for: it has come, or a foreign driver has closed its socket."""

# A scenario's word for something that the driver reports -> (kind of line, operation).
LINES: dict[str, tuple[str, str | None]] = {
    "disconnect": ("disc", None),
    "indication": ("recv", None),
    "accept": ("accept", None),
    "accepted": ("done", "accept"),
    "callback-end": ("cbout", None),
    "receive": ("done", "receive"),
    "send": ("done", "send"),
    "connect": ("done", "connect"),
    "close": ("done", "close"),
    "local-disconnect": ("done", "disconnect"),
}


def tells_of(o: Observation, word: str) -> bool:
    """Whether a line of the driver tells of what a scenario calls `word`."""
    kind, op = LINES[word]
    return isinstance(o, DriverLine) and o.kind == kind and (op is None or (isinstance(o, Completion) and o.op == op))


def succeeded(status: int) -> bool:
    """NT_SUCCESS: the severity bits say success or information."""
    return status < 0x80000000


def outcome_matches(wanted: str, status: int | None) -> bool:
    """Whether a completion (None: it never completed) is what a scenario's `success|failure|pending|any|hex` asks."""
    if wanted == "any":
        return True
    if status is None or wanted == "pending":
        return status is None and wanted == "pending"
    if wanted in ("success", "failure"):
        return succeeded(status) == (wanted == "success")
    return status == int(wanted, 16)


def told_abortive(call: DisconnectTold) -> bool | None:
    """Return what WskDisconnectEvent told a driver: by its flags, or in the driver's own words.

    None when neither is told.
    """
    return call.abortive if call.flags is None else bool(call.flags & ABORTIVE)


class _Lookup:
    """Observations by kind, and by kind and connection: they are looked up once for each of a thousand connections."""

    def __init__(self, observations: Sequence[Observation]) -> None:
        self._kinds: dict[type[Observation], list[type[Observation]]] = {}
        self._by_kind: defaultdict[type[Observation], list[Observation]] = defaultdict(list)
        self._by_conn: defaultdict[tuple[type[Observation], int | None], list[Observation]] = defaultdict(list)
        for o in observations:
            for kind in self._kinds_of(type(o)):
                self._by_kind[kind].append(o)
                self._by_conn[kind, o.conn].append(o)

    def _kinds_of(self, kind: type[Observation]) -> list[type[Observation]]:
        """Return the kind and those that it belongs to."""
        if kind not in self._kinds:
            self._kinds[kind] = [one for one in kind.__mro__ if issubclass(one, Observation)]
        return self._kinds[kind]

    def of(self, kind: type[OneKind], conn: int | None = None) -> list[OneKind]:
        """All of one kind, in their order, optionally of one connection."""
        found = self._by_kind.get(kind, []) if conn is None else self._by_conn.get((kind, conn), [])
        return [o for o in found if isinstance(o, kind)]


class Facts:
    """A reading of the observations. `story` is what happened before the scenario's end; cleaning up comes after it."""

    def __init__(self, scenario: Scenario, observations: Sequence[Observation]) -> None:
        self.scenario = scenario
        self.all = list(observations)
        end = next((i for i, o in enumerate(self.all) if isinstance(o, EndOfStory)), len(self.all))
        self.story = self.all[:end]
        self.end = self.all[end].t if end < len(self.all) else None
        self._of_story, self._of_run, self._after_end = _Lookup(self.story), _Lookup(self.all), _Lookup(self.all[end:])

    def of(self, kind: type[OneKind], conn: int | None = None) -> list[OneKind]:
        """Return the story's observations of one kind, optionally of one connection."""
        return self._of_story.of(kind, conn)

    def afterwards(self, kind: type[OneKind], conn: int) -> list[OneKind]:
        """Return what came on a connection after the story's end, while the sockets were being closed and later."""
        return self._after_end.of(kind, conn)

    def everywhere(self, kind: type[OneKind]) -> list[OneKind]:
        """Return the same over the whole run, cleaning up included."""
        return self._of_run.of(kind)

    @property
    def connections(self) -> range:
        """The scenario's connections."""
        return range(self.scenario.connections)

    def disconnects(self, conn: int) -> list[DisconnectTold]:
        """Return calls of WskDisconnectEvent on one connection, in the driver's order."""
        return sorted(self.of(DisconnectTold, conn), key=lambda o: o.seq or 0)

    def completions(self, op: str, conn: int) -> list[Completion]:
        """Completed IRPs of one WSK function on one connection, in the driver's order."""
        return sorted((o for o in self.of(Completion, conn) if o.op == op), key=lambda o: o.seq)

    @cached_property
    def outcomes(self) -> dict[int, Completion]:
        """Completion by operation id; a close that only tidies up after a call that failed is not the outcome."""
        found: dict[int, Completion] = {}
        for o in self.of(Completion):
            if o.op != "close" or o.id not in found:
                found[o.id] = o
        return found

    @cached_property
    def refusals(self) -> dict[int, CommandRefused]:
        """Refusal by operation id: the driver made no WSK call, so that nothing else will come of it."""
        return {o.id: o for o in self.of(CommandRefused)}

    def outstanding(self) -> list[Call]:
        """Return calls whose IRP has not come back by the end of the run, in the order in which they were made."""
        back = {(o.op, o.id) for o in self.everywhere(Completion)}
        return [o for o in self.everywhere(Call) if o.ret == PENDING and (o.op, o.id) not in back]

    @cached_property
    def returns(self) -> dict[int, Call]:
        """The function's own return status by operation id."""
        return {o.id: o for o in self.of(Call)}

    def cookie(self, conn: int) -> int | None:
        """Return the context value that the driver was told to give this connection."""
        opened = self.of(Opened, conn)
        return opened[-1].cookie if opened else None

    def drawn(self, conn: int) -> str | None:
        """`fin` or `rst`: how the peer was to end this connection where the lab has drawn it."""
        drawn = self.of(Drawn, conn)
        return drawn[-1].ending if drawn else None

    def ports(self, conn: int) -> Ports | None:
        """Return the connection's ports, None if it never got as far."""
        known = self.of(PortsKnown, conn)
        return Ports(known[-1].target_port, known[-1].peer_port) if known else None

    @cached_property
    def _frames_by_port(self) -> dict[int, list[FrameSeen]]:
        """The frames by the target's port, which is a connection's own."""
        ports: defaultdict[int, list[FrameSeen]] = defaultdict(list)
        for frame in self.frames:
            ports[frame.sport if frame.sender == "target" else frame.dport].append(frame)
        return dict(ports)

    @cached_property
    def frames(self) -> list[FrameSeen]:
        """Recorded frames of the story (the recording is marked where the story ends)."""
        return frames_of(self.story)

    def ending(self, conn: int, side: str) -> Ending:
        """How `side` ended the connection on the wire."""
        ports = self.ports(conn)
        if ports is None:
            return Ending((), None)
        frames = self.frames if ports.target_port is None else self._frames_by_port.get(ports.target_port, [])
        return ending(frames, ports, side)

    def ending_of_the_run(self, conn: int, side: str) -> Ending:
        """Return the same with what came after the story's end."""
        ports = self.ports(conn)
        return Ending((), None) if ports is None else ending(frames_of(self.all), ports, side)

    @property
    def record(self) -> KnownBehaviour | None:
        """What the target did before in this scenario, where it is characterised and has been."""
        noted = self.of(Recorded)
        return noted[-1].behaviour if noted else None

    @property
    def judged_by_record(self) -> bool:
        """Whether a behaviour other than the recorded one is a fault, as on the stand-in, or a measurement."""
        noted = self.of(Recorded)
        return bool(noted) and noted[-1].judged

    def steps(self) -> list[StepNote]:
        """Return what became of each step that was started."""
        return self.of(StepNote)

    def summary(self) -> Observed:
        """Return the `observed` part of `results.json`."""
        return Observed(
            disconnects=[self._disconnect(o) for conn in self.connections for o in self.disconnects(conn)],
            receives=[self._transfer(o) for conn in self.connections for o in self.completions("receive", conn)],
            sends=[self._transfer(o) for conn in self.connections for o in self.completions("send", conn)],
            wire=Ends(
                peer=[list(self.ending(conn, "peer").sent) for conn in self.connections],
                driver=[list(self.ending(conn, "driver").sent) for conn in self.connections],
                frames=len(self.frames),
            ),
        )

    def _disconnect(self, o: DisconnectTold) -> Disconnect:
        return Disconnect(
            conn=o.conn,
            flags=o.flags,
            abortive=told_abortive(o),
            at_dispatch=None if o.flags is None else bool(o.flags & AT_DISPATCH_LEVEL),
            irql=o.irql,
            context_ok=None if o.cookie is None else o.cookie == self.cookie(o.conn or 0),
            order=o.seq,
        )

    @staticmethod
    def _transfer(o: Completion) -> Transfer:
        return Transfer(conn=o.conn, status=f"{o.status:08x}", length=o.length, order=o.seq)
