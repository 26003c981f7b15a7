"""What somebody else's driver tells on the debug line, as the patterns of its profile read it (drivers/patterns.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from wsklab.orchestrator.observe.base import Value, made
from wsklab.orchestrator.observe.driver_lines import DisconnectTold, DriverLine


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignLine(DriverLine):
    """Any line but that of WskDisconnectEvent; `more` is what a pattern tells under names of its own."""

    more: Mapping[str, Value] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignLoad(ForeignLine):
    """The driver is loaded."""

    kind: ClassVar[str] = "load"


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignUnload(ForeignLine):
    """The driver is unloaded."""

    kind: ClassVar[str] = "unload"


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignOpen(ForeignLine):
    """A connection is open."""

    kind: ClassVar[str] = "open"


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignRefused(ForeignLine):
    """A connection did not come about."""

    kind: ClassVar[str] = "refused"


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignReceive(ForeignLine):
    """Something was received."""

    kind: ClassVar[str] = "recv"


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignSend(ForeignLine):
    """Something was sent."""

    kind: ClassVar[str] = "sent"


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignClose(ForeignLine):
    """The driver has closed a socket."""

    kind: ClassVar[str] = "close"


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignNote(ForeignLine):
    """Anything else."""

    kind: ClassVar[str] = "note"


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignDisconnect(DisconnectTold):
    """A call of WskDisconnectEvent, as far as the driver's text tells it."""

    more: Mapping[str, Value] = field(default_factory=dict)


FOREIGN: tuple[type[DriverLine], ...] = (
    ForeignLoad,
    ForeignUnload,
    ForeignOpen,
    ForeignRefused,
    ForeignReceive,
    ForeignSend,
    ForeignClose,
    ForeignNote,
    ForeignDisconnect,
)

_BY_WORD = {kind.kind: kind for kind in FOREIGN}
_NUMBERS = ("flags", "irql")


def foreign_line(word: str, t: int, conn: int | None, text: str, data: Mapping[str, Value]) -> DriverLine:
    """A line that a pattern of the kind `word` has read; in a profile true and false are numbers, too."""
    numbers = {name: int(data[name]) for name in _NUMBERS if name in data}
    return made(_BY_WORD[word], t, conn, {"text": text, **data, **numbers})
