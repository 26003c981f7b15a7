"""Bugs that were met in real drivers and look like what a run has found (docs/reference/wsk.md, BF1 to BF79). Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Hint:
    """Reasons that `pattern` finds, where the peer ended the connection in one of `endings` (none: in any way)."""

    pattern: str
    says: str
    bugs: tuple[str, ...]
    endings: tuple[str, ...] = ()

    def fits(self, reason: str, ending: str) -> bool:
        """Whether the bug looks like this."""
        return (not self.endings or ending in self.endings) and re.search(self.pattern, reason) is not None


HINTS = (
    Hint("WSK_FLAG_ABORTIVE is clear, expected set", "drivers that ignore the flags", ("BF55", "BF58")),
    Hint("at IRQL .* above DISPATCH|IRQL|pageable", "code that must not run at DISPATCH_LEVEL", ("BF2", "BF4", "BF78")),
    Hint(
        "unexpected WskDisconnectEvent|whose close had completed",
        "events that were not disabled before the socket was released",
        ("BF13",),
    ),
    Hint("WskDisconnectEvent was called not at all", "a FIN that the driver never learns of", ("BF52",), ("fin",)),
    Hint(
        "WskDisconnectEvent was called not at all", "an event that is lost without a pending read", ("BF55",), ("rst",)
    ),
    Hint("WskDisconnectEvent was called not at all", "a peer that is gone and not missed", ("BF51",), ("",)),
    Hint(
        "ended the connection|driver should have sent",
        "a driver that ends both directions at any disconnect",
        ("BF57",),
    ),
    Hint("context", "a callback before or without its context", ("BF12", "BF58")),
    Hint("WskReceive .*(not at all|no completion)", "a receive that stays pending after the peer's end", ("BF40",)),
    Hint("completed twice", "a completion routine that was called twice", ("BF9",)),
    Hint("hangs.*(WskCloseSocket|unload)|outstanding: .*WskCloseSocket", "a close that never ends", ("BF30", "BF32")),
    Hint(
        "R80 at unload|leaks|left after everything was closed",
        "what a driver still holds at its unload",
        ("BF70", "BF71", "BF72"),
    ),
    Hint("IRP", "an IRP that is given up before its completion", ("BF10", "BF75")),
    Hint("crash|fault|bugcheck", "a crash on disconnect", ("BF1", "BF5")),
)
"""The first that fits is told."""


def hint(reason: str, ending: str) -> Hint | None:
    """Return the known bug that a reason reminds of.

    `ending` is `fin`, `rst` or empty: how the peer ended the connection.
    """
    return next((one for one in HINTS if one.fits(reason, ending)), None)
