"""What the observations of one run add up to: the vocabulary in which the judge's checks are written. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

from wsklab.orchestrator.judge.wire_endings import Ending, Flow, ending, frames_of
from wsklab.orchestrator.observe.observation import Observation
from wsklab.orchestrator.scenario.scenario import Scenario

ABORTIVE = 0x1
AT_DISPATCH_LEVEL = 0x8
DEFINED_FLAGS = ABORTIVE | AT_DISPATCH_LEVEL  # R9: no other flag is defined for WskDisconnectEvent
DISPATCH_LEVEL = 2
PENDING = 0x103

FEW = 8
"""Connections up to which every call that succeeds is printed too."""

TOLD_OF_END = ("disc", "close")
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


def told_abortive(call: Observation) -> bool | None:
    """What WskDisconnectEvent told a driver: by its flags, or in the driver's own words; None when neither is told."""
    flags = call.data.get("flags")
    told: bool | None = call.data.get("abortive") if flags is None else bool(flags & ABORTIVE)
    return told


class Facts:
    """A reading of the observations. `story` is what happened before the scenario's end; cleaning up comes after it."""

    def __init__(self, scenario: Scenario, observations: Sequence[Observation]) -> None:
        self.scenario = scenario
        self.all = list(observations)
        end = next((i for i, o in enumerate(self.all) if o.source == "lab" and o.kind == "end"), len(self.all))
        self.story = self.all[:end]
        self.end = self.all[end].t if end < len(self.all) else None
        # Looked up once for each of perhaps a thousand connections.
        self._by_kind: defaultdict[tuple[str, str], list[Observation]] = defaultdict(list)
        self._by_conn: defaultdict[tuple[str, str, int | None], list[Observation]] = defaultdict(list)
        for o in self.story:
            self._by_kind[o.source, o.kind].append(o)
            self._by_conn[o.source, o.kind, o.conn].append(o)
        self._afterwards: defaultdict[tuple[str, str, int | None], list[Observation]] = defaultdict(list)
        for o in self.all[end:]:
            self._afterwards[o.source, o.kind, o.conn].append(o)

    def of(self, source: str, kind: str, conn: int | None = None) -> list[Observation]:
        """The story's observations of one kind, optionally of one connection."""
        if conn is None:
            return self._by_kind.get((source, kind), [])
        return self._by_conn.get((source, kind, conn), [])

    def afterwards(self, source: str, kind: str, conn: int) -> list[Observation]:
        """What came on a connection after the story's end, while the sockets were being closed and later."""
        return self._afterwards.get((source, kind, conn), [])

    def everywhere(self, source: str, kind: str) -> list[Observation]:
        """The same over the whole run, cleaning up included."""
        return [o for o in self.all if o.source == source and o.kind == kind]

    @property
    def connections(self) -> range:
        """The scenario's connections."""
        return range(self.scenario.connections)

    def disconnects(self, conn: int) -> list[Observation]:
        """Calls of WskDisconnectEvent on one connection, in the driver's order."""
        return sorted(self.of("driver", "disc", conn), key=lambda o: o.data.get("seq", 0))

    def completions(self, op: str, conn: int) -> list[Observation]:
        """Completed IRPs of one WSK function on one connection, in the driver's order."""
        return sorted((o for o in self.of("driver", "done", conn) if o.data["op"] == op), key=lambda o: o.data["seq"])

    @cached_property
    def outcomes(self) -> dict[int, Observation]:
        """Completion by operation id."""
        return {o.data["id"]: o for o in self.of("driver", "done")}

    @cached_property
    def refusals(self) -> dict[int, Observation]:
        """Refusal by operation id: the driver made no WSK call, so that nothing else will come of it."""
        return {o.data["id"]: o for o in self.of("driver", "refused")}

    def outstanding(self) -> list[Observation]:
        """Calls whose IRP has not come back by the end of the run, in the order in which they were made."""
        back = {(o.data["op"], o.data["id"]) for o in self.everywhere("driver", "done")}
        return [
            o
            for o in self.everywhere("driver", "call")
            if o.data["ret"] == PENDING and (o.data["op"], o.data["id"]) not in back
        ]

    @cached_property
    def returns(self) -> dict[int, Observation]:
        """The function's own return status by operation id."""
        return {o.data["id"]: o for o in self.of("driver", "call")}

    def cookie(self, conn: int) -> int | None:
        """The context value that the driver was told to give this connection."""
        opened = self.of("lab", "opened", conn)
        return opened[-1].data["cookie"] if opened else None

    def drawn(self, conn: int) -> str | None:
        """`fin` or `rst`: how the peer was to end this connection where the lab has drawn it."""
        drawn = self.of("lab", "drawn", conn)
        return str(drawn[-1].data["ending"]) if drawn else None

    def flow(self, conn: int) -> Flow | None:
        """The connection's ports, None if it never got as far."""
        known = self.of("lab", "flow", conn)
        return Flow(known[-1].data["target_port"], known[-1].data["peer_port"]) if known else None

    @cached_property
    def _frames_by_port(self) -> dict[int, list[Observation]]:
        """The frames by the target's port, which is a connection's own."""
        ports: defaultdict[int, list[Observation]] = defaultdict(list)
        for frame in self.frames:
            ports[frame.data["sport" if frame.data["sender"] == "target" else "dport"]].append(frame)
        return dict(ports)

    @cached_property
    def frames(self) -> list[Observation]:
        """Recorded frames of the story (the recording is marked where the story ends)."""
        return frames_of(self.story)

    def ending(self, conn: int, side: str) -> Ending:
        """How `side` ended the connection on the wire."""
        flow = self.flow(conn)
        if flow is None:
            return Ending((), None)
        frames = self.frames if flow.target_port is None else self._frames_by_port.get(flow.target_port, [])
        return ending(frames, flow, side)

    def ending_of_the_run(self, conn: int, side: str) -> Ending:
        """The same with what came after the story's end."""
        flow = self.flow(conn)
        return Ending((), None) if flow is None else ending(frames_of(self.all), flow, side)

    @property
    def record(self) -> dict[str, Any] | None:
        """What the target did before in this scenario, where it is characterised and has been."""
        noted = self.of("lab", "recorded")
        behaviour: dict[str, Any] | None = noted[-1].data["behaviour"] if noted else None
        return behaviour

    @property
    def judged_by_record(self) -> bool:
        """Whether a behaviour other than the recorded one is a fault, as on the stand-in, or a measurement."""
        noted = self.of("lab", "recorded")
        return bool(noted) and bool(noted[-1].data["judged"])

    def steps(self) -> Iterator[dict[str, Any]]:
        """What became of each step that was started."""
        return (o.data for o in self.of("lab", "step"))

    def summary(self) -> dict[str, Any]:
        """The `observed` part of `results.json`."""
        return {
            "disconnects": [self._disconnect(o) for conn in self.connections for o in self.disconnects(conn)],
            "receives": [self._transfer(o) for conn in self.connections for o in self.completions("receive", conn)],
            "sends": [self._transfer(o) for conn in self.connections for o in self.completions("send", conn)],
            "wire": {
                "peer": [list(self.ending(conn, "peer").sent) for conn in self.connections],
                "driver": [list(self.ending(conn, "driver").sent) for conn in self.connections],
                "frames": len(self.frames),
            },
        }

    def _disconnect(self, o: Observation) -> dict[str, Any]:
        flags, cookie = o.data.get("flags"), o.data.get("cookie")
        return {
            "conn": o.conn,
            "flags": flags,
            "abortive": told_abortive(o),
            "at_dispatch": None if flags is None else bool(flags & AT_DISPATCH_LEVEL),
            "irql": o.data.get("irql"),
            "context_ok": None if cookie is None else cookie == self.cookie(o.conn or 0),
            "order": o.data.get("seq"),
        }

    @staticmethod
    def _transfer(o: Observation) -> dict[str, Any]:
        return {"conn": o.conn, "status": f"{o.data['status']:08x}", "length": o.data["length"], "order": o.data["seq"]}
