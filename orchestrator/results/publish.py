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
from wsklab.orchestrator.results.results import Results, ScenarioResult, as_pieces, write_atomically


def head(folder: Path, results: Results) -> None:
    """results.json of a run that goes on: without rows, which are in results.jsonl. Raises OSError."""
    write_atomically(folder / "results.json", as_pieces(results.head))


def whole(folder: Path, results: Results) -> None:
    """All three of a run whose rows are in `folder`. Raises OSError, ValueError.

    `results` need not remember all of a row: what is written of it is read again, so that a million take no memory.
    """
    with rows.Kept(folder) as kept:
        if len(kept) != len(results.scenarios):
            results = replace(results, scenarios=rows.read(folder))
        order = results.plan.order(results.scenarios)
        ordered = replace(results, scenarios=[results.scenarios[number] for number in order])
        write_atomically(folder / "junit.xml", junit(ordered, attachments.pack(folder, ordered.scenarios)))
        listed = [kept.row(order[place]) for place in report.listed(ordered.scenarios)]
        about = results.head
        page = report.render(
            about | {"scenarios": [asdict(row) for row in listed]},
            _stories(folder, listed),
            [report.files(folder, row.evidence) for row in listed],
            results.shortfall,
            [report.drawn(folder, row.evidence) for row in listed],
            len(order) - len(listed),
        )
        write_atomically(folder / "report.html", page)
        write_atomically(folder / "results.json", as_pieces(about, map(kept.text, order)))


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
