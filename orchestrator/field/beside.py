"""A captured connection and a run's, side by side on one axis of time, as a page of its own. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from wsklab.orchestrator.field.connections import Connection
from wsklab.orchestrator.field.fidelity import Fidelity
from wsklab.orchestrator.field.segments import REVERSED, Segment
from wsklab.orchestrator.field.story import SECOND
from wsklab.qemu.wire.frames import FIN, RST, SYN

MOST = 400
"""Segments of either side that are shown; of more, the first and the last."""

HEIGHT, LINE, TOP = 700, 16, 90
AXIS, LEFT, RIGHT, WIDTH = 550, 500, 600, 1100

_STYLE = (
    "text{font:12px monospace}.h{font:bold 14px sans-serif}.end{fill:#b00020;font-weight:bold}"
    "line{stroke:#999}.axis{stroke:#333}"
)


def page(captured: Connection, run: Connection, result: Fidelity) -> str:
    """Return an HTML page: the capture at the left, the run at the right, each segment at its time since the first."""
    ours, theirs = _shown(captured), _shown(run)
    longest = max([segment.time - found[0].time for found in (ours, theirs) for segment in found[-1:]] + [1])
    left, low = _column(captured, ours, longest, LEFT, "end")
    right, lower = _column(run, theirs, longest, RIGHT, "start")
    bottom = max(low, lower, TOP + HEIGHT) + 2 * LINE
    ticks = "".join(
        f'<text x="{AXIS}" y="{TOP + HEIGHT * part // 4 - 3}" text-anchor="middle">'
        f"{longest * part / 4 / SECOND:.3f} s</text>"
        for part in range(5)
    )
    said = f"fidelity {result.number:.3f}: {'the same ending' if result.same else 'another ending'}"
    if result.first_difference:
        said += f"; first difference: {result.first_difference}"
    return (
        f'<!doctype html><meta charset="utf-8"><title>Capture and run</title><style>{_STYLE}</style>\n'
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{bottom}">\n'
        f'<text class="h" x="20" y="24">{escape(said)}</text>\n'
        f'<text class="h" x="{LEFT}" y="56" text-anchor="end">capture: {escape(" - ".join(captured.names))}</text>\n'
        f'<text class="h" x="{RIGHT}" y="56">run: {escape(" - ".join(run.names))}</text>\n'
        f'<line class="axis" x1="{AXIS}" x2="{AXIS}" y1="{TOP}" y2="{TOP + HEIGHT}"/>{ticks}\n{left}{right}</svg>\n'
    )


def _shown(one: Connection) -> list[Segment]:
    found = one.segments()
    return found if len(found) <= MOST else [*found[: MOST // 2], *found[-MOST // 2 :]]


def _column(one: Connection, found: Sequence[Segment], longest: int, x: int, anchor: str) -> tuple[str, int]:
    """One side's segments; returns also how far down they reach. A text that has no room at its time stands below."""
    made, below = "", 0
    for segment in found:
        at = TOP + HEIGHT * max(0, segment.time - found[0].time) // longest
        y = max(at, below)
        below = y + LINE
        who = "driver" if segment.marks & REVERSED == one.driver else "peer"
        ends = ' class="end"' if segment.flags & (SYN | FIN | RST) else ""
        edge = AXIS - 8 if anchor == "end" else AXIS + 8
        made += (
            f'<line x1="{edge}" y1="{at}" x2="{x + (4 if anchor == "end" else -4)}" y2="{y - 4}"/>'
            f'<text{ends} x="{x}" y="{y}" text-anchor="{anchor}">{who} {segment.words}, {segment.length} bytes '
            f"(frame {segment.frame})</text>\n"
        )
    return made, below
