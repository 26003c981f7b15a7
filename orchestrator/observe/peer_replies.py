"""What the peer program says (images/guest/peer)."""

from __future__ import annotations

from dataclasses import field
from typing import ClassVar

from wsklab.orchestrator.observe.base import KEY, Observation, Source, observed


@observed
class PeerReply(Observation):
    """The answer to request `id`, which was to `do` something; what a request has no answer to is None."""

    source: ClassVar[Source] = "peer"
    kind: ClassVar[str] = "reply"

    do: str
    id: int
    host: str | None = None
    port: int | None = None
    ports: tuple[int, ...] | None = None
    order: tuple[int, ...] | None = None
    resets: tuple[int, ...] | None = None
    eof: bool | None = None
    reset: int | None = None
    """The error with which the connection was found to be reset."""
    bytes: int | None = None
    sum: str | None = None
    hex: str | None = None
    """The bytes themselves, where they are few."""
    state: str | None = None
    unread: int | None = None
    unsent: int | None = None
    unacked: int | None = None
    retransmits: int | None = None
    was: str | None = None
    ok: bool
    error: str | None = None
    errno: int | None = None
    clock: int | None = field(default=None, metadata={KEY: "t"})
    """The peer's own clock, in nanoseconds since the epoch."""


@observed
class PeerExited(Observation):
    """The peer program ended."""

    source: ClassVar[Source] = "peer"
    kind: ClassVar[str] = "exited"

    status: int


PEER: tuple[type[Observation], ...] = (PeerReply, PeerExited)
