"""TCP segments as people read them: flags as words, sequence numbers from the connection's own beginning. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from wsklab.orchestrator.observe.wire_frames import FrameSeen

WORDS = {"S": "SYN", "F": "FIN", "R": "RST", "P": "PSH", "U": "URG", "A": "ACK"}

_HALF, _WHOLE = 1 << 31, 1 << 32


@dataclass(frozen=True, slots=True)
class Segment:
    """A frame, with its numbers counted from the first one of each direction, as Wireshark does."""

    frame: FrameSeen
    seq: int
    ack: int

    @property
    def words(self) -> str:
        """The flags by name."""
        return flag_words(self.frame.flags)

    def __str__(self) -> str:
        length = f" {self.frame.length} B" if self.frame.length else ""
        ack = f" ack {self.ack}" if "A" in self.frame.flags else ""
        return f"{self.words}{length} seq {self.seq}{ack}"


def flag_words(flags: str) -> str:
    """`RA` as `RST, ACK`."""
    return ", ".join(WORDS[letter] for letter in flags if letter in WORDS) or "no flags"


def relative(frames: Iterable[FrameSeen]) -> list[Segment]:
    """Return the frames, in their order, with numbers relative to the SYN of their direction.

    Where no SYN was recorded, the first number that is met counts as the first byte, so 1.
    """
    starts: dict[tuple[int, int], int] = {}
    segments = []
    for frame in frames:
        there, back = (frame.sport, frame.dport), (frame.dport, frame.sport)
        if "S" in frame.flags and not frame.fate:
            starts[there] = frame.seq
            if "A" not in frame.flags:  # a connection begins anew, perhaps on ports that were used before
                starts.pop(back, None)
        if "R" not in frame.flags or frame.seq:
            starts.setdefault(there, frame.seq - ("S" not in frame.flags))
        if "A" in frame.flags:
            starts.setdefault(back, frame.ack - 1)
        segments.append(Segment(frame, _apart(frame.seq, starts.get(there)), _apart(frame.ack, starts.get(back))))
    return segments


def _apart(number: int, start: int | None) -> int:
    """How far a number is from the start, which may be a little before it; the numbers wrap (RFC 9293 section 3.4)."""
    if start is None:
        return number
    return (number - start + _HALF) % _WHOLE - _HALF
