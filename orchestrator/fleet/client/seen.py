"""Which rows have been seen: each is told when it has come, and again at the end of its batch. Pure."""

from __future__ import annotations

from collections import deque

REMEMBERED = 1000
"""Batches that are over, and of whose rows it is still known that they have come."""


class Seen:
    """The rows of the batches under way, and of the last ones that are over, by the ids of their messages."""

    def __init__(self) -> None:
        self._ids: dict[int, set[str]] = {}
        self._over: deque[int] = deque()

    def new(self, batch: int, row: str) -> bool:
        """Whether a row of a batch has not been seen; it has been from now on."""
        seen = self._ids.setdefault(batch, set())
        new = row not in seen
        seen.add(row)
        return new

    def over(self, batch: int) -> None:
        """Let go of the batch that was over longest."""
        self._over.append(batch)
        while len(self._over) > REMEMBERED:
            self._ids.pop(self._over.popleft(), None)
