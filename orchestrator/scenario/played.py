"""The segments of a peer whose TCP the wire plays: what stands in `wire: play`."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from wsklab.orchestrator.scenario.model import Strict
from wsklab.orchestrator.scenario.verbs import Seconds

Position = Annotated[int, Field(ge=0, lt=2**31)]


class Played(Strict):
    """One segment of a peer that the wire plays; positions count from either side's SYN (0)."""

    flags: Annotated[str, Field(pattern="^[SFRPAU]{1,6}$")]
    seq: Annotated[int, Field(ge=-(2**31), lt=2**31)]
    ack: Position = 0
    window: Annotated[int, Field(ge=0, le=65535)] = 0
    length: Annotated[int, Field(ge=0, le=1460)] = 0
    options: Annotated[str, Field(pattern="^([0-9a-f]{2}){0,40}$")] = ""
    sent: Position = 0  # it leaves when the driver's side has sent as much,
    heard: Position = 0  # and has acknowledged as much,
    resets: Annotated[int, Field(ge=0, le=1000)] = 0  # and has sent so many RSTs,
    gap: Seconds = 0  # and this time has passed then


class Play(Strict):
    """The wire itself plays the peer's TCP on the driver's next connection; the peer's own stack sees none of it."""

    shorthand: ClassVar[str | None] = "segments"
    segments: Annotated[list[Played], Field(min_length=1, max_length=5000)]
