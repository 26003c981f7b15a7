"""What the lab's own driver tells on the debug line (drivers/wsklab/protocol.h), and the stand-in's provider of it.

A line has a kind for each `ev=` word; what a line of that word must have is without a default.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from wsklab.orchestrator.observe.base import Observation, Source, made, observed


@observed
class DriverLine(Observation):
    """Any line of a driver; those of the lab's own driver are numbered from its load on, no others are."""

    source: ClassVar[Source] = "driver"

    seq: int | None = None
    text: str = ""


@observed
class OwnLine(DriverLine):
    """A line of the lab's own driver."""

    seq: int
    text: str


class OtherLine(OwnLine):
    """A line whose word is not known, or that has not what its word promises; its number counts, nothing else."""

    __slots__ = ()
    kind: ClassVar[str] = "other"


@observed
class Load(OwnLine):
    """The driver is loaded, and its lines are counted from 1."""

    kind: ClassVar[str] = "load"

    ver: int | None = None
    build: str = ""


@observed
class Counted(OwnLine):
    """A line with the driver's counters of what is not given back."""

    sockets: int
    irps: int
    indications: int


@observed
class Unload(Counted):
    """The driver's last line."""

    kind: ClassVar[str] = "unload"

    allocs: int = 0


class Waiting(Counted):
    """What the driver waits for in its unload."""

    __slots__ = ()
    kind: ClassVar[str] = "waiting"


@observed
class Clean(Counted):
    """A CLOSE_ALL has come to its end."""

    kind: ClassVar[str] = "clean"

    allocs: int = 0


@observed
class CanaryLine(OwnLine):
    """A token of the lab's came through."""

    kind: ClassVar[str] = "canary"

    token: int
    base: int | None = None


@observed
class Call(OwnLine):
    """A WSK function, or a command, returned."""

    kind: ClassVar[str] = "call"

    op: str
    id: int
    ret: int
    flags: int | None = None
    length: int | None = None
    seed: int | None = None
    target: int | None = None
    mask: int | None = None


@observed
class Completion(OwnLine):
    """The IRP of a call completed; `sum` is of the bytes received, `out` what a control gave, as an address is told."""

    kind: ClassVar[str] = "done"

    op: str
    id: int
    status: int
    length: int
    sum: int | None = None
    lport: int | None = None
    rport: int | None = None
    cookie: int | None = None
    out: str | int | None = None


@observed
class CommandRefused(OwnLine):
    """The driver made no WSK call for a command."""

    kind: ClassVar[str] = "refused"

    op: str
    id: int
    status: int


@observed
class Again(OwnLine):
    """An IRP completed a second time (R83)."""

    kind: ClassVar[str] = "again"

    op: str
    id: int


@observed
class Addresses(OwnLine):
    """The addresses of a socket and the statuses of the questions for them.

    An address is in hex, but a number where all of its digits are decimal.
    """

    kind: ClassVar[str] = "addr"

    id: int
    lport: int
    rport: int | None = None
    local: str | int | None = None
    remote: str | int | None = None
    lst: int | None = None
    rst: int | None = None


@observed
class DisconnectTold(DriverLine):
    """What any driver tells of a call of WskDisconnectEvent; None is what it does not tell."""

    kind: ClassVar[str] = "disc"

    flags: int | None = None
    abortive: bool | None = None
    irql: int | None = None
    cookie: int | None = None


@observed
class DisconnectEvent(DisconnectTold):
    """The same of the lab's own driver, which tells everything."""

    seq: int
    text: str
    flags: int
    abortive: bool
    irql: int
    cookie: int
    disp: int | None = None
    cpu: int | None = None
    n: int | None = None
    depth: int | None = None
    rdepth: int | None = None


@observed
class ReceiveEvent(OwnLine):
    """A call of WskReceiveEvent: `length` bytes indicated, of which the driver took `took`; `sum` is of all."""

    kind: ClassVar[str] = "recv"

    length: int
    took: int
    flags: int | None = None
    null: int | None = None
    keep: int | None = None
    irql: int | None = None
    depth: int | None = None
    ddepth: int | None = None
    cookie: int | None = None
    sum: int | None = None


@observed
class AcceptEvent(OwnLine):
    """A call of WskAcceptEvent: `new` is the driver's number for the connection."""

    kind: ClassVar[str] = "accept"

    new: int
    rport: int
    lport: int | None = None
    flags: int | None = None
    null: int | None = None
    took: int | None = None
    irql: int | None = None
    cookie: int | None = None


@observed
class SendBacklogEvent(OwnLine):
    """A call of WskSendBacklogEvent."""

    kind: ClassVar[str] = "backlog"

    size: int
    irql: int | None = None
    cookie: int | None = None


@observed
class CallbackEnd(OwnLine):
    """A callback that has held, or done something, returns."""

    kind: ClassVar[str] = "cbout"

    cb: str


@observed
class LateCallback(OwnLine):
    """A callback with the context of a socket whose close had completed (R73), or with none (R42)."""

    kind: ClassVar[str] = "late"

    cb: str
    magic: int | None = None


@observed
class UnheldReference(OwnLine):
    """The driver has dropped a reference to a connection that nobody held: a mistake in its own books."""

    kind: ClassVar[str] = "unheld"

    refs: int


class OfProvider(DriverLine):
    """A line of the stand-in's provider: it proves nothing of what the driver itself prints."""

    __slots__ = ()


@observed
class ProviderLine(OfProvider):
    """What the stand-in's provider says of the driver."""

    rule: str


class BrokenRule(ProviderLine):
    """The driver broke a rule of WSK."""

    __slots__ = ()
    kind: ClassVar[str] = "rule"


class Unsupported(ProviderLine):
    """The driver asked for what Windows has, and the stand-in has not."""

    __slots__ = ()
    kind: ClassVar[str] = "unsupported"


@observed
class AllocationFailed(OfProvider):
    """The stand-in's strict mode has made one allocation of the driver fail, as the scenario asks: the `number`th."""

    kind: ClassVar[str] = "scarce"

    number: int
    routine: str
    at: str = ""


OWN: tuple[type[DriverLine], ...] = (
    OtherLine,
    Load,
    Unload,
    Waiting,
    Clean,
    CanaryLine,
    Call,
    Completion,
    CommandRefused,
    Again,
    Addresses,
    DisconnectEvent,
    ReceiveEvent,
    AcceptEvent,
    SendBacklogEvent,
    CallbackEnd,
    LateCallback,
    UnheldReference,
)
PROVIDER: tuple[type[DriverLine], ...] = (BrokenRule, Unsupported, AllocationFailed)

OF_THE_DRIVER = frozenset(kind.kind for kind in (Load, Unload, Waiting, CanaryLine))
"""Words of lines that are of no connection: one that names a connection is not understood."""

_BY_WORD = {kind.kind: kind for kind in OWN if kind is not OtherLine}


def own_line(word: str, t: int, conn: int | None, seq: int, text: str, data: Mapping[str, object]) -> DriverLine:
    """Return a line of the lab's own driver, by its word and what it tells."""
    if kind := _BY_WORD.get(word):
        try:
            return made(kind, t, conn, {"seq": seq, "text": text, **data})
        except ValueError:
            pass
    return OtherLine(t=t, conn=conn, seq=seq, text=text)


def as_hex(told: str | int) -> str:
    """Return four bytes as the driver prints them: hex without a letter was read as a number."""
    return told if isinstance(told, str) else f"{told:08d}"
