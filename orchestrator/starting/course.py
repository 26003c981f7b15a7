"""What a trial run has seen of a driver: its lines, by what went on when it printed them. Pure data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Way = Literal["peer", "start", "none"]


@dataclass(frozen=True)
class Lines:
    """The lines of one connection's life."""

    load: Sequence[str] = ()
    open: Sequence[str] = ()
    end: Sequence[str] = ()
    """After the peer's FIN or RST, until the driver is told to stop."""
    unload: Sequence[str] = ()


@dataclass(frozen=True)
class Course:
    """Two lives, one ended by FIN and one by RST; `by` says how the connection came about, `why` where none did."""

    by: Way
    port: int = 0
    greeting: int = 0
    replies: bool = False
    fin: Lines = Lines()
    rst: Lines = Lines()
    why: str = ""
