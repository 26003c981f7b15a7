"""A captured connection and a run's, side by side on one axis of time, as a drawing. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple

from wsklab.common.text import visible
from wsklab.orchestrator.observe.observation import Observation
from wsklab.orchestrator.observe.wire_frames import FrameSeen

MOST = 400
"""Segments of either side that are shown; of more, the first and the last."""

FILE = "beside.svg"
"""Where it is kept in an evidence folder."""

HEIGHT, LINE, TOP = 700, 16, 66
AXIS, LEFT, RIGHT, WIDTH = 550, 500, 600, 1100
SECOND = 1_000_000_000

_STYLE = (
    ".beside text{font:12px monospace;fill:currentColor}.beside .h{font:bold 14px sans-serif}"
    ".beside .end{fill:#b00020;font-weight:bold}.beside line{stroke:#999}"
)
_LETTERS = (("S", "SYN"), ("F", "FIN"), ("R", "RST"), ("P", "PSH"), ("U", "URG"), ("A", "ACK"))


class Line(NamedTuple):
    """One segment as it is drawn: nanoseconds, who sent it, its flags in words, bytes of payload."""

    time: int
    who: str
    flags: str
    length: int
    more: str = ""

    @property
    def ends(self) -> bool:
        """Whether it opens or ends something."""
        return not {"SYN", "FIN", "RST"}.isdisjoint(self.flags.split("+"))

    def __str__(self) -> str:
        return f"{self.who} {self.flags}, {self.length} bytes{f' ({self.more})' if self.more else ''}"


def fewer(lines: Sequence[Line]) -> list[Line]:
    """Leave out the middle of very many."""
    return list(lines) if len(lines) <= MOST else [*lines[: MOST // 2], *lines[-MOST // 2 :]]


def of_capture(told: Iterable[str]) -> list[Line]:
    """Return the lines of a scenario's `capture`: seconds, who, flags, bytes."""
    lines = []
    for text in told:
        seconds, who, flags, length = text.split()
        lines.append(Line(round(float(seconds) * SECOND), who, flags, int(length)))
    return lines


def of_run(observations: Iterable[Observation]) -> list[Line]:
    """Return the segments of a run's first connection."""
    lines: list[Line] = []
    ports: set[int] = set()
    for one in observations:
        if not isinstance(one, FrameSeen):
            continue
        ports = ports or {one.sport, one.dport}
        if {one.sport, one.dport} == ports:
            words = "+".join(word for letter, word in _LETTERS if letter in one.flags) or "no flags"
            who = "driver" if one.sender == "target" else "peer"
            more = ", ".join(text for text in (f"frame {one.number}" if one.number else "", one.fate) if text)
            lines.append(Line(one.t, who, words, one.length, more))
    return lines


def drawing(left: Sequence[Line], right: Sequence[Line], names: tuple[str, str]) -> str:
    """Return an SVG element: `left` at the left of the axis, `right` at the right, each at its time since its first."""
    ours, theirs = fewer(left), fewer(right)
    longest = max([found[-1].time - found[0].time for found in (ours, theirs) if found] + [1])
    before, low = _column(ours, longest, LEFT, "end")
    behind, lower = _column(theirs, longest, RIGHT, "start")
    bottom = max(low, lower, TOP + HEIGHT) + 2 * LINE
    ticks = "".join(
        f'<text x="{AXIS}" y="{TOP + HEIGHT * part // 4 - 3}" text-anchor="middle">'
        f"{longest * part / 4 / SECOND:.3f} s</text>"
        for part in range(5)
    )
    return (
        f'<svg class="beside" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom}" width="{WIDTH}" '
        f'height="{bottom}"><style>{_STYLE}</style>\n'
        f'<text class="h" x="{LEFT}" y="30" text-anchor="end">{_safe(names[0])}</text>'
        f'<text class="h" x="{RIGHT}" y="30">{_safe(names[1])}</text>\n'
        f'<line x1="{AXIS}" x2="{AXIS}" y1="{TOP}" y2="{TOP + HEIGHT}"/>{ticks}\n{before}{behind}</svg>\n'
    )


def _safe(text: str) -> str:
    return escape(visible(text))


def _column(found: Sequence[Line], longest: int, x: int, anchor: str) -> tuple[str, int]:
    """Draw one side's segments; return also how far down they reach. A text without room at its time stands below."""
    made, below = "", 0
    for one in found:
        at = TOP + HEIGHT * max(0, one.time - found[0].time) // longest
        y = max(at, below)
        below = y + LINE
        ends = ' class="end"' if one.ends else ""
        edge = AXIS - 8 if anchor == "end" else AXIS + 8
        made += (
            f'<line x1="{edge}" y1="{at}" x2="{x + (4 if anchor == "end" else -4)}" y2="{y - 4}"/>'
            f'<text{ends} x="{x}" y="{y}" text-anchor="{anchor}">{_safe(str(one))}</text>\n'
        )
    return made, below
