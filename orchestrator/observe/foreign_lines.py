"""What somebody else's driver tells on the debug line, as the patterns of its profile read it (drivers/patterns.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import ClassVar

from wsklab.orchestrator.observe.base import ToldValue, made, observed
from wsklab.orchestrator.observe.driver_lines import DisconnectTold, DriverLine


@observed
class ForeignLine(DriverLine):
    """Any line but that of WskDisconnectEvent; `more` is what a pattern tells under names of its own."""

    more: Mapping[str, ToldValue] = field(default_factory=dict)


class ForeignLoad(ForeignLine):
    """The driver is loaded."""

    __slots__ = ()
    kind: ClassVar[str] = "load"


class ForeignUnload(ForeignLine):
    """The driver is unloaded."""

    __slots__ = ()
    kind: ClassVar[str] = "unload"


class ForeignOpen(ForeignLine):
    """A connection is open."""

    __slots__ = ()
    kind: ClassVar[str] = "open"


class ForeignRefused(ForeignLine):
    """A connection did not come about."""

    __slots__ = ()
    kind: ClassVar[str] = "refused"


class ForeignReceive(ForeignLine):
    """Something was received."""

    __slots__ = ()
    kind: ClassVar[str] = "recv"


class ForeignSend(ForeignLine):
    """Something was sent."""

    __slots__ = ()
    kind: ClassVar[str] = "sent"


class ForeignClose(ForeignLine):
    """The driver has closed a socket."""

    __slots__ = ()
    kind: ClassVar[str] = "close"


class ForeignNote(ForeignLine):
    """Anything else."""

    __slots__ = ()
    kind: ClassVar[str] = "note"


@observed
class ForeignDisconnect(DisconnectTold):
    """A call of WskDisconnectEvent, as far as the driver's text tells it."""

    more: Mapping[str, ToldValue] = field(default_factory=dict)


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


def foreign_line(word: str, t: int, conn: int | None, text: str, data: Mapping[str, ToldValue]) -> DriverLine:
    """Return a line that a pattern of the kind `word` has read; in a profile true and false are numbers, too."""
    numbers = {name: int(data[name]) for name in _NUMBERS if name in data}
    return made(_BY_WORD[word], t, conn, {"text": text, **data, **numbers})
