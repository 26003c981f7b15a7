"""When a target is asked to repeat a packet (docs/reference/kd.md 3.2 rule 4)."""

from __future__ import annotations

from typing import Final

_QUIET: Final = 0.005  # s of silence after which a RESEND is repeated; a try of a target under TCG is 14 ms (kd.md 1.5)
_QUICK_RESENDS: Final = 16
_SLOW_RESENDS: Final = 4  # at most one a second (kd.md 3.2 rule 4), then no more
_SLOW: Final = 1.0


class Resends:
    """When to ask for a packet again."""

    def __init__(self) -> None:
        self._wanted = False
        self._count = 0
        self._at = 0.0

    def want(self) -> None:
        """Ask for it."""
        self._wanted = True

    def good(self) -> None:
        """Note that a packet came."""
        self._wanted = False
        self._count = 0

    def sent(self, now: float) -> None:
        """Note that it was asked for."""
        self._wanted = True
        self._count += 1
        self._at = now

    @property
    def quick(self) -> bool:
        """Whether it is asked for at the next silence, not once in a while."""
        return self._count < _QUICK_RESENDS

    def due(self, heard: float) -> float | None:
        """Return when to ask next, as the line was last `heard`; None for not at all."""
        if not self._wanted or self._count >= _QUICK_RESENDS + _SLOW_RESENDS:
            return None
        return max(heard + _QUIET, self._at + _QUIET if self.quick else self._at + _SLOW)
