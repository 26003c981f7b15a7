"""Faults of the cable, as a state machine without sockets and clock: frames and times go in, deliveries come out.

A fault is a mapping; see `Fault.parse` for its keys, and this example, which answers the target's first FIN by a reset:

    {"action": "replace", "match": {"from": "target", "flags": ["fin"]}, "by": [{"segment": "rst", "as": "peer"}]}
"""

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from wsklab.qemu.wire.exact import Exact
from wsklab.qemu.wire.flows import Flow, Flows, Forgery, WrongSpec, refuse_unknown, whole
from wsklab.qemu.wire.frames import FLAGS, OTHER_SIDE, SIDES, Frame, decode, with_bad_checksum
from wsklab.qemu.wire.pcapng import KEPT

ACTIONS = ("drop", "blackhole", "hold", "duplicate", "reorder", "corrupt", "replace", "forge")
MS = 1_000_000
PORTS = ("port", "src_port", "dst_port", "target_port", "peer_port")
REORDER_PATIENCE_MS = 1000  # how long a frame waits for another to overtake it


class Delivery(NamedTuple):
    """Bytes for a machine. `comment` is empty for a frame that merely passes."""

    to: str
    data: bytes
    comment: str = ""
    intact: bool = True  # False: the receiver will not take it for a segment of its connection
    sender: str = "wire"  # in whose name it is recorded


@dataclass(frozen=True, slots=True)
class Match:
    """Which frames; every condition that is named must hold."""

    sender: str = ""
    kind: str = ""
    flags: int = 0  # all of them set
    without: int = 0  # none of them set
    port: int = 0  # at either end
    src_port: int = 0
    dst_port: int = 0
    target_port: int = 0  # the target's own, whoever sends
    peer_port: int = 0
    min_payload: int = 0
    max_payload: int = 1 << 16

    @classmethod
    def parse(cls, spec: Mapping[str, object]) -> "Match":
        """From `{from, kind, flags, without, min_payload, max_payload}` and the ports of PORTS. Raises WrongSpec."""
        only_tcp = {"flags", "without", "min_payload", "max_payload", *PORTS}
        refuse_unknown(spec, {"from", "kind", *only_tcp}, "match")
        sender = spec.get("from", "")
        if sender not in ("", *SIDES):
            raise WrongSpec(f"`from` must be target or peer, not {sender!r}")
        return cls(
            sender=str(sender),
            kind=str(spec.get("kind", "tcp" if only_tcp & set(spec) else "")),
            flags=_flags(spec.get("flags", ())),
            without=_flags(spec.get("without", ())),
            **{name: whole(spec, name, 0) for name in PORTS},
            min_payload=whole(spec, "min_payload", 0),
            max_payload=whole(spec, "max_payload", 1 << 16),
        )

    def __call__(self, frame: Frame) -> bool:
        return (
            (not self.sender or frame.sender == self.sender)
            and (not self.kind or frame.kind == self.kind)
            and frame.flags & self.flags == self.flags
            and not frame.flags & self.without
            and (not self.port or self.port in (frame.src_port, frame.dst_port))
            and (not self.src_port or frame.src_port == self.src_port)
            and (not self.dst_port or frame.dst_port == self.dst_port)
            and (not self.target_port or frame.port_at("target") == self.target_port)
            and (not self.peer_port or frame.port_at("peer") == self.peer_port)
            and self.min_payload <= frame.payload <= self.max_payload
        )


def _flags(names: object) -> int:
    listed = [names] if isinstance(names, str) else names
    if not isinstance(listed, Sequence) or not all(name in FLAGS for name in listed):
        raise WrongSpec(f"flags must be a list of {', '.join(FLAGS)}, not {names!r}")
    return sum({FLAGS[name] for name in listed})


@dataclass(slots=True)
class Fault:
    """What to do, to which of the matching frames; `seen`, `struck` and `held` are its state."""

    action: str
    match: Match
    nth: int  # the first matching frame to strike, from 1
    count: int  # how many to strike; 0 = without end
    every: int  # every how many-th from then on
    ms: int | None  # hold: None = until released
    copies: int
    forgeries: tuple[Forgery, ...]
    seen: int = 0
    struck: int = 0
    held: list[Frame] = field(default_factory=list)

    @classmethod
    def parse(cls, spec: Mapping[str, object]) -> "Fault":
        """From `{action, match, nth, count, every, ms, copies, by}`. Raises WrongSpec.

        drop: kept for ever. blackhole: drop, without end. hold: for `ms`, or until released. duplicate: `copies` more.
        reorder: the next frame of the same sender goes first (after `ms` without one it goes anyway). corrupt: wrong
        TCP checksum. replace: the forgeries of `by` instead of it. forge: the forgeries of `by` after it.
        """
        refuse_unknown(spec, {"action", "match", "nth", "count", "every", "ms", "copies", "by"}, "fault")
        action, match, by = spec.get("action"), spec.get("match", {}), spec.get("by", ())
        if action not in ACTIONS:
            raise WrongSpec(f"action {action!r} is none of {', '.join(ACTIONS)}")
        if not isinstance(match, Mapping):
            raise WrongSpec(f"match must be a mapping, not {match!r}")
        if not isinstance(by, Sequence) or not all(isinstance(forgery, Mapping) for forgery in by):
            raise WrongSpec(f"`by` must be a list of forgeries, not {by!r}")
        if (action in ("replace", "forge")) != bool(by):
            raise WrongSpec("replace and forge, and only they, need `by`: a list of forgeries")
        return cls(
            action=str(action),
            match=Match.parse(match),
            nth=whole(spec, "nth", 1, least=1),
            count=whole(spec, "count", 0 if action == "blackhole" else 1),
            every=whole(spec, "every", 1, least=1),
            ms=whole(spec, "ms", 0) if "ms" in spec else None,
            copies=whole(spec, "copies", 1, least=1),
            forgeries=tuple(Forgery.parse(forgery) for forgery in by),
        )

    def strikes(self, frame: Frame) -> bool:
        """Whether this frame is hit; counts it."""
        if (self.count and self.struck >= self.count) or not self.match(frame):
            return False
        self.seen += 1
        if self.seen < self.nth or (self.seen - self.nth) % self.every:
            return False
        self.struck += 1
        return True


class Engine:
    """All faults of one wire, the connections that it saw, and the frames that wait for their time."""

    def __init__(self) -> None:
        self.flows = Flows()
        self._faults: dict[int, Fault] = {}
        self._next_id = 1
        self._waiting: list[tuple[int, int, Delivery]] = []  # heap of (due in ns, order, delivery)
        self._order = 0
        self._overtakable: dict[str, list[Delivery]] = {side: [] for side in SIDES}  # by sender; also in _waiting
        self._exact: Exact | None = None

    def add(self, spec: Mapping[str, object]) -> int:
        """Arm a fault and return its id. Raises WrongSpec."""
        fault = Fault.parse(spec)
        number, self._next_id = self._next_id, self._next_id + 1
        self._faults[number] = fault
        return number

    def release(self, number: int) -> list[Delivery]:
        """End a fault; the frames that it holds go out now."""
        fault = self._faults.pop(number, None)
        if fault is None:
            raise WrongSpec(f"there is no fault {number}")
        return self._out(Delivery(OTHER_SIDE[f.sender], f.data, f"sent by fault {number} (hold)") for f in fault.held)

    def play(self, spec: Mapping[str, object]) -> None:
        """Play the peer's TCP on the next connection to one of its ports. Raises WrongSpec."""
        self._exact = Exact(spec)

    def clear(self) -> None:
        """End all faults, and what is played; what they hold is lost."""
        self._exact = None
        self._faults.clear()
        self._waiting.clear()
        for waiting in self._overtakable.values():
            waiting.clear()

    def struck(self) -> dict[int, int]:
        """How many frames each armed fault has hit."""
        return {number: fault.struck for number, fault in self._faults.items()}

    def forge(self, port: int, forgeries: Sequence[Mapping[str, object]], other: int = 0) -> list[Delivery]:
        """Forge segments on the newest connection of a port (`other`: the port at its other end). Raises WrongSpec."""
        flow = self.flows.newest(port, other)
        if flow is None:
            raise WrongSpec(f"no TCP connection has been seen on port {port}")
        return self._out(_forged(flow, [Forgery.parse(spec) for spec in forgeries], "request"))

    def receive(self, now: int, frame: Frame) -> tuple[str, list[Delivery]]:
        """Take a frame in: return the comment for its record ("" if it merely passes), and what goes out now."""
        if self._exact is not None and self._exact.takes(frame):
            if frame.sender == "peer":
                return f"{KEPT}as the wire plays the peer", []
            self.flows.learn(frame, frame.sender)
            return "", self._out(_played(self._exact.receive(now, frame)))
        comment, deliveries = "", [Delivery(OTHER_SIDE[frame.sender], frame.data)]
        for number, fault in self._faults.items():
            if fault.strikes(frame):
                comment, deliveries = self._strike(now, number, fault, frame)
                self._out(deliveries)
                break
        else:
            if frame.kind == "tcp":
                self.flows.learn(frame, frame.sender)
        if deliveries and self._overtakable[frame.sender]:
            deliveries += self._out(self._overtaken(frame.sender))
        return comment, deliveries

    @property
    def waiting(self) -> int:
        """How many frames are kept for later: for their time, or until they are released."""
        return len(self._waiting) + sum(len(fault.held) for fault in self._faults.values())

    @property
    def next_due(self) -> int | None:
        """When `due` has something to say, in ns."""
        due = [self._waiting[0][0]] if self._waiting else []
        return min(
            [*due, self._exact.due] if self._exact is not None and self._exact.due is not None else due, default=None
        )

    def due(self, now: int) -> list[Delivery]:
        """Return the waiting frames whose time has come."""
        ready: list[Delivery] = []
        while self._waiting and self._waiting[0][0] <= now:
            ready.append(heapq.heappop(self._waiting)[2])
        for waiting in self._overtakable.values():
            waiting[:] = [delivery for delivery in waiting if delivery not in ready]
        if self._exact is not None and self._exact.due is not None and self._exact.due <= now:
            ready += _played(self._exact.on_time(now))
        return self._out(ready)

    def _strike(self, now: int, number: int, fault: Fault, frame: Frame) -> tuple[str, list[Delivery]]:
        """Return what a fault makes of a frame that it hits."""
        name, to = f"fault {number} ({fault.action})", OTHER_SIDE[frame.sender]
        kept, again = f"{KEPT}by {name}", f"sent by {name}"
        match fault.action:
            case "hold" if fault.ms is None:
                fault.held.append(frame)
                return kept, []
            case "hold":
                self._wait(now + (fault.ms or 0) * MS, Delivery(to, frame.data, again))
                return kept, []
            case "reorder":
                late = Delivery(to, frame.data, again)
                self._wait(now + (REORDER_PATIENCE_MS if fault.ms is None else fault.ms) * MS, late)
                self._overtakable[frame.sender].append(late)
                return kept, []
            case "duplicate":
                return name, [Delivery(to, frame.data), *[Delivery(to, frame.data, again)] * fault.copies]
            case "corrupt":
                return kept, [Delivery(to, with_bad_checksum(frame.data), again, intact=False)]
            case "replace" | "forge":
                passes = fault.action == "forge"
                first = [Delivery(to, frame.data)] if passes else []
                self._out(first)  # forgeries begin where the frame ended, if it passes
                flow = self.flows.of(frame, frame.sender)
                if flow is None:  # a connection's first segment, which goes no further: who answers must know it
                    self.flows.learn(frame, frame.sender)
                    flow = self.flows.of(frame, frame.sender)
                forged = _forged(flow, fault.forgeries, name) if flow else []
                return (name if passes else kept), [*first, *forged]
            case _:
                return kept, []

    def _overtaken(self, sender: str) -> list[Delivery]:
        late = self._overtakable[sender][:]
        self._overtakable[sender].clear()
        self._waiting = [entry for entry in self._waiting if entry[2] not in late]
        heapq.heapify(self._waiting)
        return late

    def _wait(self, due: int, delivery: Delivery) -> None:
        self._order += 1
        heapq.heappush(self._waiting, (due, self._order, delivery))

    def _out(self, deliveries: Iterable[Delivery]) -> list[Delivery]:
        """Take note of what leaves the wire: connections are known by that, not by what it keeps."""
        going = list(deliveries)
        for delivery in going:
            frame = decode(delivery.data)
            if delivery.intact and frame.kind == "tcp":
                self.flows.learn(frame, OTHER_SIDE[delivery.to])
        return going


def _forged(flow: Flow, forgeries: Iterable[Forgery], name: str) -> list[Delivery]:
    return [
        Delivery(*forgery.build(flow), f"forged by {name}: {forgery.segment} as {forgery.as_side}")
        for forgery in forgeries
    ]


def _played(made: Iterable[bytes]) -> list[Delivery]:
    """Frames of the peer that is played: they are recorded as its own."""
    return [Delivery("target", data, "played", sender="peer") for data in made]
