"""A line chart as SVG: a few series over one axis, legible on paper and on a dark page. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

Points = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 720, 360
LEFT, RIGHT, TOP, BOTTOM = 64, 190, 58, 48
FEW = 12  # points that are marked one by one
COLOURS = ("#2563eb", "#dc2626", "#059669", "#d97706", "#7c3aed", "#0891b2")
STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#4b5563}.title{font-size:14px;font-weight:600;fill:#111827}"
    ".grid{stroke:#e5e7eb}.line{fill:none;stroke-width:2}"
)


def line_chart(title: str, across: str, up: str, series: Mapping[str, Points]) -> str:
    """Return an SVG document; both axes begin at zero, so that a slope looks as steep as it is.

    `series` is name -> (x, y) in order of x; at most six, at least one of them with a point.
    """
    points = [point for line in series.values() for point in line]
    right, top = _round_up(max(x for x, _ in points)), _round_up(max(y for _, y in points))

    def place(x: float, y: float) -> tuple[float, float]:
        return (LEFT + x / right * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - y / top * (HEIGHT - TOP - BOTTOM))

    parts = [
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text class="title" x="{LEFT}" y="22">{escape(title)}</text>',
        f'<text x="{LEFT}" y="{TOP - 12}">{escape(up)}</text>',
        f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 10}" text-anchor="end">{escape(across)}</text>',
    ]
    for tick in range(5):
        x, y = place(right * tick / 4, top * tick / 4)
        parts += [
            f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>',
            f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{top * tick / 4:g}</text>',
            f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{right * tick / 4:g}</text>',
        ]
    for number, ((name, line), colour) in enumerate(zip(series.items(), COLOURS, strict=False)):
        places = [place(*point) for point in line]
        way = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline class="line" stroke="{colour}" points="{way}"/>')
        if len(places) <= FEW:
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in places]
        parts.append(
            f'<text x="{WIDTH - RIGHT + 14}" y="{TOP + 18 * number + 8}" style="fill:{colour}">{escape(name)}</text>'
        )
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'aria-label="{escape(title)}">\n<style>{STYLE}</style>\n{body}\n</svg>\n'
    )


def _round_up(value: float) -> float:
    """Return the next of 1, 2, 4, 5, 8 times a power of ten: its quarters are numbers that one can read."""
    if value < 1e-9:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 4, 5, 8, 10) if step * power >= value * (1 - 1e-9))
