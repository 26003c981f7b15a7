"""What was observed, as rows: time, who, and what in words. The page's table and its diagram are made of them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from wsklab.orchestrator.observe.base import Observation, data_of
from wsklab.orchestrator.observe.driver_lines import CanaryLine, Clean, DisconnectTold, DriverLine, Load, Unload
from wsklab.orchestrator.observe.lab_notes import Barrier, CanaryNote, EndOfStory, StepNote, Trouble
from wsklab.orchestrator.observe.machine_events import OfMachine
from wsklab.orchestrator.observe.peer_replies import PeerExited, PeerReply
from wsklab.orchestrator.observe.wire_frames import FrameSeen
from wsklab.orchestrator.observe.wsk_lines import WskSeen, words
from wsklab.orchestrator.results import calls
from wsklab.orchestrator.results.segments import Segment, relative

MAX_ROWS = 300
"""Rows of one story; a bulk transfer would otherwise make the page unreadable. The evidence folder has all of it."""


@dataclass(frozen=True, slots=True)
class StoryRow:
    """A row of the ladder: time since the first in ms, column (driver, wire, peer, lab), text."""

    ms: float
    column: str
    arrow: str
    kind: str
    """What the style sheet colours."""
    text: str
    shape: Literal["", "segment", "call", "callback", "peer", "trouble"] = ""
    """How it is drawn; empty: it is not."""
    label: str = ""
    detail: str = ""
    frame: int | None = None
    fate: Literal["", "dropped", "made"] = ""


def story(observations: Sequence[Observation]) -> list[StoryRow]:
    """Return the observations as rows of a ladder."""
    rows: list[StoryRow] = []
    start = min((o.t for o in observations), default=0)
    ordered = sorted(observations, key=lambda o: o.t)
    segments = iter(relative(o for o in ordered if isinstance(o, FrameSeen)))
    for o in ordered:
        ms = (o.t - start) / 1e6
        if isinstance(o, FrameSeen):
            rows.append(_segment(next(segments), ms))
        elif (text := _text(o)) is not None:
            rows.append(_row(o, text, ms))
    if len(rows) > MAX_ROWS:
        left_out = len(rows) - MAX_ROWS
        rows = [
            *rows[: MAX_ROWS // 2],
            StoryRow(0.0, "lab", "", "", f"… {left_out} rows left out …"),
            *rows[-MAX_ROWS // 2 :],
        ]
    return rows


def _segment(segment: Segment, ms: float) -> StoryRow:
    frame = segment.frame
    fate = frame.note or frame.fate
    text = f"{segment}{f' — {fate}' if fate else ''}"
    number = f"#{frame.number} " if frame.number else ""
    return StoryRow(
        ms=ms,
        column="wire",
        arrow="→" if frame.sender == "target" else "←",
        kind="rst" if "R" in frame.flags else "fin" if "F" in frame.flags else "",
        text=f"{number}{text}",
        shape="segment",
        label=f"{segment.words}{f' {frame.length} B' if frame.length else ''} seq {segment.seq}",
        detail=f"{'target to peer' if frame.sender == 'target' else 'peer to target'}, {text}; port {frame.sport} to "
        f"{frame.dport}, absolute seq {frame.seq} ack {frame.ack}",
        frame=frame.number,
        fate="dropped" if frame.fate == "dropped" else "made" if frame.fate else "",
    )


def _row(o: Observation, text: str, ms: float) -> StoryRow:
    column = o.source if o.source != "machine" else "lab"
    kind = "event" if isinstance(o, DisconnectTold) else "bad" if isinstance(o, (OfMachine, Trouble)) else ""
    match o:
        case CanaryLine() | Clean() | Load() | Unload() | WskSeen():
            return StoryRow(ms, column, "", kind, text)
        case DriverLine():
            shape: Literal["call", "callback"] = "callback" if calls.is_callback(o) else "call"
            label = calls.words(o).replace(" completed: ", ": ").replace("STATUS_", "")
            return StoryRow(ms, column, "", kind, text, shape, label, o.text or label)
        case OfMachine() | Trouble():
            return StoryRow(ms, column, "", kind, text, "trouble", text, text)
        case PeerReply() | PeerExited():
            label = f"{o.do}{'' if o.ok else f' failed: {o.error}'}" if isinstance(o, PeerReply) else text
            return StoryRow(ms, column, "", kind, text, "peer", label, text)
    return StoryRow(ms, column, "", kind, text)


def _text(o: Observation) -> str | None:
    """Return what is told of an observation; nothing where it has no row."""
    match o:
        case WskSeen():
            return words(o)
        case DriverLine():
            text = o.text or o.kind
            return text.partition(" conn=")[2].partition(" ")[2] or text
        case PeerExited():
            return f"program ended ({o.status})"
        case PeerReply():
            return f"{o.do} {_words(o, 'id', 't', 'do', 'ok')}".strip()
        case StepNote():
            return f"{o.text}: {o.outcome}{' — ' + o.detail if o.detail else ''}"
        case CanaryNote() | Barrier() | EndOfStory() | Trouble():
            return f"{o.kind} {_words(o)}"
        case OfMachine():
            return f"{o.kind} {o.detail}"
    return None


def _words(o: Observation, *but: str) -> str:
    return " ".join(f"{key}={_word(value)}" for key, value in data_of(o).items() if key not in but)


def _word(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
