"""The connection drawn: the driver's calls and callbacks, the segments with what became of them, the peer. Pure.

The template writes it as SVG, in the order of time and not to its scale, as what matters lies microseconds apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from wsklab.orchestrator.results.ladder import StoryRow

DRIVER, WIRE, PEER = 330, 520, 710
WIDTH, TOP, STEP = 1000, 44, 26
FEW, LONG = 120, 36
"""Things that are drawn, and characters of a label; the table below the drawing has all."""

Shape = Literal["segment", "call", "callback", "peer", "trouble"]


@dataclass(frozen=True, slots=True)
class Drawn:
    """One thing: at `y`, from `x` to `to` where it is a segment. `stopped`: it did not come further than the wire."""

    shape: Shape
    y: int
    label: str
    time: str
    detail: str
    kind: str = ""
    x: int = 0
    to: int = 0
    made: bool = False
    stopped: bool = False


@dataclass(frozen=True, slots=True)
class Diagram:
    """All of it; `left_out` things are only in the table."""

    drawn: Sequence[Drawn]
    height: int
    left_out: int


def diagram(rows: Sequence[StoryRow]) -> Diagram | None:
    """Return the rows that are about the connection, drawn; None where nothing was on the wire."""
    told = [row for row in rows if row.shape]
    if not any(row.shape == "segment" for row in told):
        return None
    drawn = [_drawn(row, TOP + STEP * place) for place, row in enumerate(told[:FEW], 1)]
    return Diagram(drawn, TOP + STEP * (len(drawn) + 1), len(told) - len(drawn))


def _drawn(row: StoryRow, y: int) -> Drawn:
    label = row.label if len(row.label) <= LONG else f"{row.label[: LONG - 1]}…"
    number = f"Frame {row.frame}, " if row.frame else ""
    detail = f"{number}{row.ms:.1f} ms: {row.detail}"
    x, to, made, stopped = 0, 0, False, False
    if row.shape == "segment":
        x, to = (DRIVER, PEER) if row.arrow == "→" else (PEER, DRIVER)
        made, stopped = row.fate == "made", row.fate == "dropped"
        x, to = (WIRE if made else x), (WIRE if stopped else to)
    return Drawn(row.shape or "peer", y, label, f"{row.ms:.1f}", detail, row.kind, x, to, made, stopped)
