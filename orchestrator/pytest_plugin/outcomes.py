"""Verdicts as pytest's outcomes: pass, fail, `inconclusive` is a skip with its reason, `infra` an error. Pure."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

from wsklab.orchestrator.results.results import ScenarioResult, call_words

Outcome = Literal["passed", "failed", "skipped", "error", "xfailed"]

ATTACHED = {"wire.pcapng": ".pcapng", "debug.txt": ".debug.txt", "observations.jsonl": ".observations.jsonl"}
"""Files of the evidence that build servers attach, and how their names end there."""


class DriverFailed(Exception):
    """A verdict `fail`; the message is the whole story, its first line what is wrong."""


class LabFailed(Exception):
    """A verdict `infra`: nothing is known of the driver."""


def outcome(row: ScenarioResult, inconclusive: Literal["skip", "fail"] = "skip") -> Outcome:
    """Return what a row is to pytest. A known failure is an expected one, and an unexpected pass a failure."""
    if row.known is not None:
        if row.known.kind == "known":
            return "xfailed"
        if row.verdict == "pass" and row.known.kind == "unexpected-pass":
            return "failed"
    match row.verdict:
        case "pass":
            return "passed"
        case "fail":
            return "failed"
        case "inconclusive":
            return "skipped" if inconclusive == "skip" else "failed"
        case "infra":
            return "error"


def reason(row: ScenarioResult) -> str:
    """Why, in one paragraph; the first line is what is wrong."""
    known = [row.known.said] if row.known is not None else []
    story = row.story.lines if row.story is not None else ()
    lines = [*row.reasons, *story, *known, *row.findings] or [f"the verdict is {row.verdict}"]
    head = lines[0] if row.verdict in ("pass", "fail") else f"{row.verdict}: {lines[0]}"
    return "\n".join([head, *lines[1:]])


def properties(row: ScenarioResult, folder: Path) -> list[tuple[str, str]]:
    """Return the properties of a test case in JUnit."""
    found = [("wsklab_verdict", row.verdict), ("wsklab_evidence", str((folder / row.evidence).absolute()))]
    if row.covers:
        found.append(("wsklab_covers", " ".join(row.covers)))
    if row.observed["disconnects"]:
        found.append(("wsklab_disconnects", "; ".join(call_words(call) for call in row.observed["disconnects"])))
    return found


def attached(row: ScenarioResult, folder: Path) -> list[Path]:
    """Return links to the evidence under names that no other test has: a build server keeps one file of a name."""
    evidence, place, links = folder / row.evidence, folder / "attachments", []
    place.mkdir(exist_ok=True)
    for name, ending in ATTACHED.items():
        link = place / f"{evidence.name}{ending}"
        if (evidence / name).exists():
            with suppress(FileExistsError):
                os.link(evidence / name, link)
            links.append(link.absolute())
    return links


def attachments(links: Sequence[Path]) -> str:
    """Return the lines by which Jenkins and GitLab know attachments, whatever stands before them."""
    return "".join(["\n", *(f"[[ATTACHMENT|{link}]]\n" for link in links)])
