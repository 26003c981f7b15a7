"""`report.html`: one file, no scripts from elsewhere; each scenario's verdict with the story as it was observed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2

from wsklab.orchestrator.observation import Observation

MAX_ROWS = 300
"""Rows of one story; a bulk transfer would otherwise make the page unreadable. The evidence folder has all of it."""


def story(observations: Sequence[Observation]) -> list[dict[str, Any]]:
    """The observations as rows of a ladder: time since the first in ms, lane (driver, wire, peer, lab), text."""
    rows: list[dict[str, Any]] = []
    start = min((o.t for o in observations), default=0)
    for o in sorted(observations, key=lambda o: o.t):
        text = _text(o)
        if text is None:
            continue
        rows.append({
            "ms": (o.t - start) / 1e6,
            "lane": o.source if o.source != "machine" else "lab",
            "arrow": {"target": "→", "peer": "←"}.get(o.data.get("sender", ""), "") if o.source == "wire" else "",
            "kind": _kind(o),
            "text": text,
        })
    if len(rows) > MAX_ROWS:
        left_out = len(rows) - MAX_ROWS
        rows = [*rows[: MAX_ROWS // 2],
                {"ms": 0.0, "lane": "lab", "arrow": "", "kind": "", "text": f"… {left_out} rows left out …"},
                *rows[-MAX_ROWS // 2 :]]
    return rows


def _kind(o: Observation) -> str:
    """What the style sheet colours."""
    if o.source == "wire":
        flags = o.data.get("flags", "")
        return "rst" if "R" in flags else "fin" if "F" in flags else ""
    return "event" if o.kind == "disc" else "bad" if o.source == "machine" else ""


def _text(o: Observation) -> str | None:
    data = o.data
    if o.source == "driver":
        return str(data.get("text", o.kind)).partition(" conn=")[2].partition(" ")[2] or str(data.get("text", o.kind))
    if o.source == "wire" and o.kind == "frame":
        length = f" [{data['length']}]" if data["length"] else ""
        fate = f" — {data['fate']}" if data.get("fate") else ""
        return f"{data['flags']}{length} seq {data['seq']} ack {data['ack']}{fate}"
    if o.source == "peer":
        if o.kind == "exited":
            return f"program ended ({data.get('status')})"
        words = " ".join(f"{k}={v}" for k, v in data.items() if k not in ("id", "t", "do", "ok"))
        return f"{data.get('do', o.kind)} {words}".strip()
    if o.source == "lab" and o.kind == "step":
        return f"{data['text']}: {data['outcome']}{' — ' + data['detail'] if data['detail'] else ''}"
    if o.source == "lab" and o.kind in ("canary", "barrier", "end", "note", "hang"):
        return f"{o.kind} " + " ".join(f"{k}={v}" for k, v in data.items())
    return f"{o.kind} {data.get('detail', '')}" if o.source == "machine" else None


def render(results: dict[str, Any], stories: Sequence[list[dict[str, Any]]]) -> str:
    """The page, from the document of `results.json` and one story for each of its scenarios. All text is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True)
    template = environment.get_template("report.html.j2")
    return template.render(results=results, pairs=list(zip(results["scenarios"], stories, strict=True)))
