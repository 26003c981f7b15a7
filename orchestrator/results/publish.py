"""The files of a run that people and build servers read, made of its rows: results.json, junit.xml, report.html."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

from wsklab.common.errors import WsklabError
from wsklab.orchestrator.observe import observation
from wsklab.orchestrator.results import attachments, report, rows
from wsklab.orchestrator.results.junit import junit
from wsklab.orchestrator.results.report import StoryRow
from wsklab.orchestrator.results.results import Results, ScenarioResult, as_text, write_atomically


def head(folder: Path, results: Results) -> None:
    """results.json of a run that goes on: without rows, which are in results.jsonl. Raises OSError."""
    write_atomically(folder / "results.json", as_text(results.document.model_copy(update={"scenarios": ()})))


def whole(folder: Path, results: Results) -> None:
    """All three of a run whose rows are in `folder`. Raises OSError, ValueError."""
    write(folder, replace(results, scenarios=results.plan.ordered(rows.read(folder))))


def write(folder: Path, results: Results) -> None:
    """All three, of the rows that `results` holds. Raises OSError."""
    document = results.document
    write_atomically(folder / "junit.xml", junit(results, attachments.pack(folder, document.scenarios)))
    files = [report.files(folder, row.evidence) for row in document.scenarios]
    drawings = [report.drawn(folder, row.evidence) for row in document.scenarios]
    page = report.render(results.as_dict(), _stories(folder, document.scenarios), files, results.shortfall, drawings)
    write_atomically(folder / "report.html", page)
    write_atomically(folder / "results.json", as_text(document))


def _stories(folder: Path, results: Sequence[ScenarioResult]) -> list[list[StoryRow]]:
    """Return the story of each row out of its evidence; one that has been told already is not read again."""
    told: set[tuple[object, ...]] = set()
    stories = []
    for row in results:
        key = report.outcome(asdict(row))
        stories.append([] if key in told else story_of(folder, row))
        told.add(key)
    return stories


def story_of(folder: Path, row: ScenarioResult) -> list[StoryRow]:
    """Return what was observed in a row, out of its evidence; nothing where that cannot be read."""
    try:
        return report.story(observation.read(folder / row.evidence / "observations.jsonl").observations)
    except (OSError, ValueError, WsklabError):  # the row stands without it
        return []
