"""`report.html`: one file, nothing from elsewhere; each scenario's verdict with the story as it was observed.

All text is escaped by the template, and a content security policy lets no script run but the page's own (`report.js`),
which only hides rows and opens them: without it the page says the same.
"""

from __future__ import annotations

import hashlib
import itertools
from base64 import b64encode
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wsklab.orchestrator.results import beside, diagram, html
from wsklab.orchestrator.results.ladder import MAX_ROWS, StoryRow, story
from wsklab.orchestrator.results.results import ScenarioResult, call_words, labelled

__all__ = ["MAX_ROWS", "StoryRow", "story"]

LISTED = 5000
"""Rows on the page: a browser shows no more with ease, and nobody reads them."""

OPEN = 3
"""Stories of scenarios that did not pass which are open from the start."""

VERDICTS = ("fail", "inconclusive", "infra", "known", "pass")

LINKED = (
    "crash/target-screen.png",
    "crash/crash.json",
    "crash/target-debug.log",
    "crash/target-registers.txt",
    "wire.pcapng",
    "debug.txt",
    "observations.jsonl",
    beside.FILE,
)
"""What is looked at first; the rest of an evidence folder is behind the link to it."""

HERE = Path(__file__).parent
TEMPLATE = "report.html.j2"


def load() -> None:
    """Import the templates' library and compile the page now, beside something that takes as long."""
    html.environment(HERE).get_template(TEMPLATE)


def listed(rows: Sequence[ScenarioResult]) -> Sequence[int]:
    """Return the places of the rows that the page lists: all, where they are not too many.

    Else the first of each scenario and verdict, then what did not pass, and up to LISTED repetitions that did.
    """
    if len(rows) <= LISTED:
        return range(len(rows))
    first: dict[tuple[str, str], int] = {}
    for number, row in enumerate(rows):
        first.setdefault((row.label, row.verdict), number)
    failed = (number for number, row in enumerate(rows) if row.verdict != "pass")
    chosen: set[int] = set()
    for number in itertools.chain(first.values(), failed, range(len(rows))):
        chosen.add(number)
        if len(chosen) == LISTED:
            break
    return sorted(chosen)


def files(folder: Path, evidence: str) -> list[str]:
    """Return the files of one scenario's evidence that the page links to, relative to `folder / evidence`."""
    return [name for name in LINKED if (folder / evidence / name).exists()]


def drawn(folder: Path, evidence: str) -> str:
    """Return what one scenario's evidence draws beside a capture, an SVG element; empty where it has none."""
    path = folder / evidence / beside.FILE
    return path.read_text(encoding="utf-8") if path.exists() else ""


def render(
    results: Mapping[str, Any],
    stories: Sequence[list[StoryRow]],
    evidence: Sequence[Sequence[str]] | None = None,
    shortfall: str | None = None,
    drawings: Sequence[str] | None = None,
    left_out: int = 0,
) -> str:
    """Return the page, from the document of `results.json`, `left_out` of whose rows it does not list.

    One story, and one list of evidence files, for each scenario. A story is told once: repetitions with the same
    outcome refer to it, so that a long run stays a small page. `shortfall` says what of a run that is not complete was
    not run, and why; `drawings` are those of `drawn`.
    """
    from markupsafe import Markup

    environment = html.environment(HERE)
    script = (HERE / "report.js").read_text(encoding="utf-8")
    return environment.get_template(TEMPLATE).render(
        results=results,
        entries=_entries(results["scenarios"], stories, evidence, [Markup(text) for text in drawings or ()]),
        left_out=left_out,
        verdicts=VERDICTS,
        headline=_headline(results["totals"], shortfall),
        places=diagram,
        style=Markup((HERE / "report.css").read_text(encoding="utf-8")),
        script=Markup(script),
        script_hash=b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


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
    if count := totals.get("unexpected_pass", 0) + totals.get("expired", 0):
        return "fail", f"{count} of {every} not as known.yaml says"
    if totals["flaky"]:
        return "fail", f"{totals['flaky']} flaky: not always the same verdict"
    known = totals.get("known", 0)
    if totals["pass"] + known < every:
        return "inconclusive", f"{every - totals['pass'] - known} of {every} not proven"
    if known:
        return "pass", f"{totals['pass']} of {every} passed, {known} failed as known"
    return "pass", f"All {every} passed" if every > 1 else "Passed"


def _entries(
    scenarios: Sequence[Mapping[str, Any]],
    stories: Sequence[list[StoryRow]],
    evidence: Sequence[Sequence[str]] | None,
    drawings: Sequence[str],
) -> list[dict[str, Any]]:
    """Return what the template needs of each row; `same_as` names the row that tells the same story."""
    seen: dict[str, set[str]] = {}
    for scenario in scenarios:
        if _badge(scenario) != "known":
            seen.setdefault(labelled(scenario["name"], scenario["variant"]), set()).add(scenario["verdict"])
    told: dict[tuple[object, ...], str] = {}
    entries, opened = [], 0
    for number, (scenario, story_rows) in enumerate(zip(scenarios, stories, strict=True)):
        label = labelled(scenario["name"], scenario["variant"])
        anchor = "-".join(filter(None, (scenario["name"], scenario["variant"], str(scenario["repeat"]))))
        first = told.setdefault(outcome(scenario), anchor)
        bad = _badge(scenario) not in ("pass", "known")
        opened += bad
        wire = scenario["observed"].get("wire", {})
        entries.append(
            {
                "scenario": scenario,
                "id": anchor,
                "word": _badge(scenario),
                "met": scenario.get("known"),
                "flaky": len(seen.get(label, ())) > 1,
                "open": bad and opened <= OPEN,
                "same_as": None if first == anchor else first,
                "rows": story_rows if first == anchor else [],
                "diagram": diagram.diagram(story_rows) if first == anchor else None,
                "wire": " · ".join(
                    f"{side} {ended}" for side in ("peer", "driver") if (ended := _endings(wire.get(side, [])))
                ),
                "told": _told(scenario["observed"]),
                "files": evidence[number] if evidence else (),
                "beside": drawings[number] if drawings and first == anchor else "",
            }
        )
    return entries


def _badge(scenario: Mapping[str, Any]) -> str:
    """Return the verdict; `known` for a failure that is known, `fail` for a pass that breaks the run."""
    met = scenario.get("known")
    if met is None:
        return str(scenario["verdict"])
    return "known" if met["kind"] == "known" else "fail"


def outcome(scenario: Mapping[str, Any]) -> tuple[object, ...]:
    """Return what rows have in common that tell one story."""
    return (scenario["name"], scenario["verdict"], *scenario["reasons"])


def _endings(sides: Sequence[Sequence[str]]) -> str:
    """Return the distinct endings of one side's connections; empty when it sent neither FIN nor RST."""
    return ", ".join(dict.fromkeys(" ".join(end).upper() for end in sides if end))


def _told(observed: Mapping[str, Any]) -> str:
    """Return the distinct calls of WskDisconnectEvent."""
    words = [call_words(call) for call in observed.get("disconnects", ())]
    return ", ".join(f"{count}x {word}" if (count := words.count(word)) > 1 else word for word in dict.fromkeys(words))
