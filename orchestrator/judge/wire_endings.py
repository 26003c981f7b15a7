"""How a connection ended on the wire: the FIN and RST segments of either side, in order. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from wsklab.orchestrator.observe.base import Observation
from wsklab.orchestrator.observe.wire_frames import FrameSeen


@dataclass(frozen=True)
class Ports:
    """The ports of one connection; None where not known (a connect that never succeeded has no port of its own)."""

    target_port: int | None
    peer_port: int | None

    def owns(self, frame: FrameSeen) -> bool:
        """Whether `frame` belongs to this connection."""
        ours, theirs = (frame.sport, frame.dport) if frame.sender == "target" else (frame.dport, frame.sport)
        return self.target_port in (None, ours) and self.peer_port in (None, theirs)


@dataclass(frozen=True)
class Ending:
    """One side's ending segments; `sent` in order, retransmissions counted once; `t` is the first one's time in ns.

    `own`: the first was sent by that side's machine, not invented by the wire in its name.
    """

    sent: tuple[str, ...]
    t: int | None
    own: bool = True

    def __str__(self) -> str:
        return " then ".join(word.upper() for word in self.sent) or "neither FIN nor RST"


def ending(frames: Iterable[FrameSeen], ports: Ports, side: str) -> Ending:
    """How `side` ("peer" or "driver") ended the connection with these `ports`.

    A FIN seen again with the same end of data is a retransmission. Any number of RSTs is one ending: one is sent for
    each segment that reaches a dead socket (RFC 9293, 3.10.7.1).
    """
    sender = "target" if side == "driver" else "peer"
    sent: list[str] = []
    first: FrameSeen | None = None
    fins: set[int] = set()
    for frame in frames:
        if frame.sender != sender or not ports.owns(frame) or frame.fate == "dropped":
            continue
        word = segment(frame.flags)
        end = (frame.seq + frame.length) & 0xFFFFFFFF
        if word is None or (word == "fin" and end in fins) or (word == "rst" and "rst" in sent):
            continue
        if word == "fin":
            fins.add(end)
        sent.append(word)
        first = first or frame
    if first is None:
        return Ending((), None)
    return Ending(tuple(sent), first.t, own=not first.fate)


def segment(flags: str) -> str | None:
    """`fin` or `rst` for a frame's flag letters, None for a segment that ends nothing."""
    if "R" in flags:
        return "rst"
    return "fin" if "F" in flags else None


def frames_of(observations: Sequence[Observation]) -> list[FrameSeen]:
    """Return the recorded TCP frames, in wire order."""
    return [o for o in observations if isinstance(o, FrameSeen)]
