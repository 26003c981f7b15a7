"""A captured connection and a run's, side by side on one axis of time: a page, and what a scenario keeps."""

from __future__ import annotations

from html import escape

from wsklab.common.text import visible
from wsklab.orchestrator.field.endings.connections import Connection
from wsklab.orchestrator.field.packets.segments import REVERSED
from wsklab.orchestrator.field.scenarios.fidelity import Fidelity
from wsklab.orchestrator.results.beside import SECOND, Line, drawing, fewer


def page(captured: Connection, run: Connection, result: Fidelity) -> str:
    """Return an HTML page: the capture at the left, the run at the right, each segment at its time since the first."""
    said = f"fidelity {result.number:.3f}: {'the same ending' if result.same else 'another ending'}"
    if result.first_difference:
        said += f"; first difference: {result.first_difference}"
    names = f"capture: {' - '.join(captured.names)}", f"run: {' - '.join(run.names)}"
    return (
        f'<!doctype html><meta charset="utf-8"><title>Capture and run</title>\n<p>{escape(visible(said))}</p>\n'
        f"{drawing(lines(captured), lines(run), names)}"
    )


def lines(one: Connection) -> list[Line]:
    """Return a connection's segments as they are drawn."""
    return [
        Line(
            segment.time,
            one.side(segment.marks & REVERSED),
            segment.words.replace(" ", "-"),
            segment.length,
            f"frame {segment.frame}",
        )
        for segment in one.segments()
    ]


def kept(one: Connection) -> list[str]:
    """Return the lines of a scenario's `capture`."""
    shown = fewer(lines(one))
    begin = shown[0].time
    return [f"{_seconds(s.time - begin):.6f} {s.who} {s.flags} {s.length}" for s in shown]


def _seconds(time: int) -> float:
    """Return seconds within what the language takes: a clock that has jumped is no clock."""
    return min(max(0, time) / SECOND, 999_999_999.0)
