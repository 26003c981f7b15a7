"""`report.html`: one file, nothing from elsewhere; each scenario's verdict with the story as it was observed.

All text is escaped by the template, and a content security policy lets no script run but the page's own (`report.js`),
which only hides rows and opens them: without it the page says the same.
"""

from __future__ import annotations

import hashlib
from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wsklab.common.text import visible
from wsklab.orchestrator.observe.observation import Observation
from wsklab.orchestrator.results.results import call_words, labelled

MAX_ROWS = 300
"""Rows of one story; a bulk transfer would otherwise make the page unreadable. The evidence folder has all of it."""

OPEN = 3
"""Stories of scenarios that did not pass which are open from the start."""

TROUBLE = frozenset({"hang", "silence", "agent-gone", "refusal", "misanswer", "failure", "unplayed"})
"""What the lab notes when something went down."""

VERDICTS = ("fail", "inconclusive", "infra", "pass")

LINKED = (
    "crash/target-screen.png",
    "crash/crash.json",
    "crash/target-debug.log",
    "crash/target-registers.txt",
    "wire.pcapng",
    "debug.txt",
    "observations.jsonl",
)
"""What is looked at first; the rest of an evidence folder is behind the link to it."""

HERE = Path(__file__).parent


def story(observations: Sequence[Observation]) -> list[dict[str, Any]]:
    """The observations as rows of a ladder: time since the first in ms, column (driver, wire, peer, lab), text."""
    rows: list[dict[str, Any]] = []
    start = min((o.t for o in observations), default=0)
    for o in sorted(observations, key=lambda o: o.t):
        text = _text(o)
        if text is None:
            continue
        rows.append(
            {
                "ms": (o.t - start) / 1e6,
                "column": o.source if o.source != "machine" else "lab",
                "arrow": {"target": "→", "peer": "←"}.get(o.data.get("sender", ""), "") if o.source == "wire" else "",
                "kind": _kind(o),
                "text": text,
            }
        )
    if len(rows) > MAX_ROWS:
        left_out = len(rows) - MAX_ROWS
        rows = [
            *rows[: MAX_ROWS // 2],
            {"ms": 0.0, "column": "lab", "arrow": "", "kind": "", "text": f"… {left_out} rows left out …"},
            *rows[-MAX_ROWS // 2 :],
        ]
    return rows


def _kind(o: Observation) -> str:
    """What the style sheet colours."""
    if o.source == "wire":
        flags = o.data.get("flags", "")
        return "rst" if "R" in flags else "fin" if "F" in flags else ""
    return "event" if o.kind == "disc" else "bad" if o.source == "machine" or o.kind in TROUBLE else ""


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
    if o.source == "lab" and o.kind in ("canary", "barrier", "end", "note", *TROUBLE):
        return f"{o.kind} " + " ".join(f"{k}={v}" for k, v in data.items())
    return f"{o.kind} {data.get('detail', '')}" if o.source == "machine" else None


def files(folder: Path, evidence: str) -> list[str]:
    """The files of one scenario's evidence that the page links to, relative to `folder / evidence`."""
    return [name for name in LINKED if (folder / evidence / name).exists()]


def render(
    results: Mapping[str, Any],
    stories: Sequence[list[dict[str, Any]]],
    evidence: Sequence[Sequence[str]] | None = None,
    shortfall: str | None = None,
) -> str:
    """The page, from the document of `results.json`; one story, and one list of evidence files, for each scenario.

    A story is told once: repetitions with the same outcome refer to it, so that a long run stays a small page.
    `shortfall` says what of a run that is not complete was not run, and why.
    """
    import jinja2  # not before there is something to report
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    script = (HERE / "report.js").read_text(encoding="utf-8")
    return environment.get_template("report.html.j2").render(
        results=results,
        entries=_entries(results["scenarios"], stories, evidence),
        verdicts=VERDICTS,
        headline=_headline(results["totals"], shortfall),
        style=Markup((HERE / "report.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def _shown(value: Any) -> Any:
    """Whatever the page shows: no text of a target, a peer or a file reorders or hides what stands around it."""
    return type(value)(visible(value, lines=True)) if isinstance(value, str) else value


def _headline(totals: Mapping[str, int], shortfall: str | None) -> tuple[str, str]:
    """(verdict that colours it, the run in one sentence)."""
    every = totals["all"]
    if shortfall:
        if failed := totals["fail"]:
            return "fail", f"{failed} failed; {shortfall}"
        return "inconclusive", shortfall[:1].upper() + shortfall[1:]
    if not every:
        return "inconclusive", "Nothing was run"
    if totals["fail"]:
        return "fail", f"{totals['fail']} of {every} failed"
    if totals["flaky"]:
        return "fail", f"{totals['flaky']} flaky: not always the same verdict"
    if totals["pass"] < every:
        return "inconclusive", f"{every - totals['pass']} of {every} not proven"
    return "pass", f"All {every} passed" if every > 1 else "Passed"


def _entries(
    scenarios: Sequence[Mapping[str, Any]],
    stories: Sequence[list[dict[str, Any]]],
    evidence: Sequence[Sequence[str]] | None,
) -> list[dict[str, Any]]:
    """What the template needs of each row; `same_as` names the row that tells the same story."""
    seen: dict[str, set[str]] = {}
    for scenario in scenarios:
        seen.setdefault(labelled(scenario["name"], scenario["variant"]), set()).add(scenario["verdict"])
    told: dict[tuple[object, ...], str] = {}
    entries, opened = [], 0
    for number, (scenario, story_rows) in enumerate(zip(scenarios, stories, strict=True)):
        label = labelled(scenario["name"], scenario["variant"])
        anchor = "-".join(filter(None, (scenario["name"], scenario["variant"], str(scenario["repeat"]))))
        first = told.setdefault(outcome(scenario), anchor)
        bad = scenario["verdict"] != "pass"
        opened += bad
        wire = scenario["observed"].get("wire", {})
        entries.append(
            {
                "scenario": scenario,
                "id": anchor,
                "flaky": len(seen[label]) > 1,
                "open": bad and opened <= OPEN,
                "same_as": None if first == anchor else first,
                "rows": story_rows if first == anchor else [],
                "wire": " · ".join(
                    f"{side} {ended}" for side in ("peer", "driver") if (ended := _endings(wire.get(side, [])))
                ),
                "told": _told(scenario["observed"]),
                "files": evidence[number] if evidence else (),
            }
        )
    return entries


def outcome(scenario: Mapping[str, Any]) -> tuple[object, ...]:
    """What rows have in common that tell one story."""
    return (scenario["name"], scenario["verdict"], *scenario["reasons"])


def _endings(sides: Sequence[Sequence[str]]) -> str:
    """The distinct endings of one side's connections; empty when it sent neither FIN nor RST."""
    return ", ".join(dict.fromkeys(" ".join(end).upper() for end in sides if end))


def _told(observed: Mapping[str, Any]) -> str:
    """The distinct calls of WskDisconnectEvent."""
    words = [call_words(call) for call in observed.get("disconnects", ())]
    return ", ".join(f"{count}x {word}" if (count := words.count(word)) > 1 else word for word in dict.fromkeys(words))
