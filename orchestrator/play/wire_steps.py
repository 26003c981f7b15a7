"""What the scenario's `wire:` steps do, and how the wire's recording becomes observations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wsklab.drivers.protocol import pattern
from wsklab.orchestrator.errors import StepError
from wsklab.orchestrator.observe.wire_frames import FrameSeen
from wsklab.orchestrator.play.context import PlayContext
from wsklab.orchestrator.scenario import played, steps, verbs
from wsklab.qemu.errors import DeadlinePassed
from wsklab.qemu.wire.control import read_recording
from wsklab.qemu.wire.frames import ACK, FIN, OTHER_SIDE, PSH, RST, SYN, URG, Frame
from wsklab.qemu.wire.pcapng import KEPT

MACHINE = {"peer": "peer", "driver": "target"}
ICMP = {"port": "port", "host": "host", "network": "net", "admin": "admin"}
LETTERS = ((SYN, "S"), (FIN, "F"), (RST, "R"), (PSH, "P"), (ACK, "A"), (URG, "U"))

# What the words of a scenario mean in flags and payload. A segment with data may carry FIN too; it is both.
SEGMENTS: dict[str, dict[str, Any]] = {
    "fin": {"flags": ["fin"]},
    "rst": {"flags": ["rst"]},
    "syn": {"flags": ["syn"]},
    "data": {"min_payload": 1},
    "ack": {"flags": ["ack"], "without": ["syn", "fin", "rst"], "max_payload": 0},
}


class WireSteps:
    """The cable as an actor; a method for each verb of `steps.WireStep`."""

    def __init__(self, context: PlayContext) -> None:
        self._context = context
        self._wire = context.lab.wire
        self._holds: list[int] = []

    def _match(self, step: steps.WireStep, sender: str | None, segment: str | None) -> dict[str, Any]:
        """Return what fits frames of the step's connection, of its listener before it is open."""
        match: dict[str, Any] = dict(SEGMENTS.get(segment or "", {}))
        if sender is not None:
            match["from"] = MACHINE[sender]
        return match | self._context.ports(step.conn, self._context.deadline(step.within))

    def _fault(self, action: str, step: steps.WireStep, args: verbs.Match, **words: Any) -> int:
        match = self._match(step, args.sender, args.segment)
        count = 0 if args.count == "every" else args.count
        return self._wire.fault({"action": action, "match": match, "nth": args.nth, "count": count, **words})

    def drop(self, step: steps.WireStep, args: verbs.Match) -> None:
        """Swallow frames."""
        self._fault("drop", step, args)

    def hold(self, step: steps.WireStep, args: verbs.Hold) -> None:
        """Keep frames back for a time, or until released."""
        words = {} if args.seconds is None else {"ms": round(args.seconds * 1000)}
        number = self._fault("hold", step, args, **words)
        if args.seconds is None:
            self._holds.append(number)

    def duplicate(self, step: steps.WireStep, args: verbs.Match) -> None:
        """Send frames twice."""
        self._fault("duplicate", step, args)

    def reorder(self, step: steps.WireStep, args: verbs.Match) -> None:
        """Let the next frame of the same sender overtake."""
        self._fault("reorder", step, args)

    def corrupt(self, step: steps.WireStep, args: verbs.Match) -> None:
        """Pass frames on with a wrong TCP checksum."""
        self._fault("corrupt", step, args)

    def forge(self, step: steps.WireStep, args: verbs.Forge) -> None:
        """Invent a segment (C58-C63)."""
        self._forge(step, {"segment": args.segment, "as": MACHINE[args.sender], "offset": args.offset})

    def icmp(self, step: steps.WireStep, args: verbs.Icmp) -> None:
        """ICMP unreachable in the name of a router; with `answer`, in place of the next such segment."""
        forgery = {"segment": f"icmp-{ICMP[args.code]}", "as": OTHER_SIDE[MACHINE[args.to]]}
        if args.answer is None:
            self._forge(step, forgery)
        else:
            match = self._match(step, args.to, args.answer)
            self._wire.fault({"action": "replace", "match": match, "count": 0, "by": [forgery]})

    def firewall(self, step: steps.WireStep, args: verbs.Firewall) -> None:
        """tcp-reset in answer to the next data segment, which goes no further (C41)."""
        sides = ["driver", "peer"] if args.to == "both" else [args.to]
        sender = None if args.to == "both" else args.to
        by = [{"segment": "rst-ack", "as": OTHER_SIDE[MACHINE[side]]} for side in sides]
        self._wire.fault({"action": "replace", "match": self._match(step, sender, "data"), "by": by})

    def play(self, step: steps.WireStep, args: played.Play) -> None:
        """Play the peer's TCP on the connection that the driver makes next."""
        segments = [
            {**one.model_dump(exclude={"gap"}), "gap_ns": round(one.gap * 1e9 * self._context.lab.slowness)}
            for one in args.segments
        ]
        port = self._context.listen(self._context.deadline(step.within))
        self._wire.play({"port": port, "segments": segments, "fill": pattern(0, 256).hex()})

    def _forge(self, step: steps.WireStep, forgery: dict[str, Any]) -> None:
        connection = self._context.connections.get(step.conn)
        if connection is None or connection.target_port is None:
            raise StepError("there is no connection yet whose segment could be forged")
        self._wire.forge(connection.target_port, [forgery], connection.peer_port or 0)

    def blackhole(self, step: steps.WireStep, args: verbs.Blackhole) -> None:
        """Swallow everything from one side or both."""
        match = {} if args.sender == "both" else {"from": MACHINE[args.sender]}
        self._wire.fault({"action": "blackhole", "match": match})

    def cable(self, step: steps.WireStep, args: verbs.Cable) -> None:
        """Pull the cable at a machine, or plug it in; the machine sees its carrier change."""
        self._context.lab.machine(args.at).set_link(args.state == "in")

    def release(self, step: steps.WireStep, args: verbs.Nothing) -> None:
        """Let go what is held."""
        for number in self._holds:
            self._wire.release(number)
        self._holds.clear()

    def heal(self, step: steps.WireStep, args: verbs.Nothing) -> None:
        """End every fault."""
        self._wire.clear()

    def await_(self, step: steps.WireStep, args: verbs.WireAwait) -> None:
        """Wait until such a frame has reached the wire, at any time since the scenario began."""
        try:
            self._wire.await_frame(self._match(step, args.sender, args.segment), self._context.deadline(step.within))
        except DeadlinePassed:
            raise StepError(f"no {args.segment.upper()} reached the wire within the time allowed") from None


def observe(frames: list[Frame]) -> list[FrameSeen]:
    """Return the TCP frames of a recording as observations; marks and the wire's own pings are left out."""
    return [_seen(number, frame) for number, frame in enumerate(frames, 1) if frame.kind == "tcp"]


def _seen(number: int, frame: Frame) -> FrameSeen:
    """Return a frame as an observation; one that the wire made counts for the machine in whose name it was sent."""
    sender = frame.sender if frame.sender in OTHER_SIDE else OTHER_SIDE[frame.receiver]
    kept = frame.comment.startswith(KEPT)
    return FrameSeen(
        t=frame.time,
        proto="tcp",
        sender="target" if sender == "target" else "peer",
        flags="".join(letter for bit, letter in LETTERS if frame.flags & bit),
        seq=frame.seq,
        ack=frame.ack,
        length=frame.payload,
        sport=frame.src_port,
        dport=frame.dst_port,
        fate="dropped" if kept else frame.comment,
        note=frame.comment if kept else "",
        number=number,
    )


def observe_recording(recording: Path) -> list[FrameSeen]:
    """Return the observations of a recording on disk."""
    return observe(read_recording(recording))
