"""What the wire has recorded."""

from __future__ import annotations

from typing import ClassVar, Literal

from wsklab.orchestrator.observe.base import Observation, Source, observed


@observed
class FrameSeen(Observation):
    """A TCP segment; one that the wire made counts for the machine in whose name it was sent.

    `flags` are their letters (SFRPAU); `fate` is empty for a segment that went its way, and `dropped` for one that
    the wire has swallowed, of which `note` says why. `number` is its place in the recording, as Wireshark counts.
    """

    source: ClassVar[Source] = "wire"
    kind: ClassVar[str] = "frame"

    proto: Literal["tcp"]
    sender: Literal["target", "peer"]
    flags: str
    seq: int
    ack: int
    length: int
    sport: int
    dport: int
    fate: str
    note: str = ""
    number: int | None = None


FRAMES: tuple[type[Observation], ...] = (FrameSeen,)
