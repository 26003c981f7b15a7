"""The page for the release folder: HTML that prints well, and a PDF of it where Chromium is there."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from wsklab.orchestrator.release.deviations import word
from wsklab.orchestrator.release.plan import Rules, words
from wsklab.orchestrator.release.records import Count
from wsklab.orchestrator.release.sampling import percent
from wsklab.orchestrator.release.statement import Predicate, subjects
from wsklab.orchestrator.results import chromium, html

HTML, PDF = "qualification.html", "qualification.pdf"

CHROMIUM = chromium.NAMES
"""What prints."""

HERE = Path(__file__).parent


def headline(predicate: Predicate) -> str:
    """Return the result in one line."""
    what = "GO" if predicate.decision.go else "NO GO"
    return f"REHEARSAL: {what}, which qualifies nothing" if predicate.rehearsal else what


def render(predicate: Predicate) -> str:
    """Return the page."""
    from markupsafe import Markup

    environment = html.environment(HERE)
    return environment.get_template("page.html.j2").render(
        q=predicate,
        headline=headline(predicate),
        style=Markup((HERE / "page.css").read_text(encoding="utf-8")),
        subjects=subjects(predicate),
        matrix=_matrix(predicate),
        rules=list(said(predicate.plan.rules)),
        parts=[*parts(predicate).items()],
        percent=percent,
        day=_day,
    )


def said(rules: Rules) -> Iterator[str]:
    """Yield the rules in sentences."""
    most = f"at most {rules.failures} failures" if rules.failures else "no failure"
    yield f"Of each scenario in each cell {most}; the driver's unload is judged after each boot."
    yield (
        f"At most {percent(rules.inconclusive)} of a cell's runs are inconclusive; in at most {percent(rules.infra)} "
        "the lab itself failed."
    )
    if rules.flake_rate is not None:
        sure = f"(confidence {rules.confidence:.4g})"
        yield f"Proven of each scenario: it flakes at {percent(rules.flake_rate)} or less {sure}."
    if rules.covers:
        yield f"Judged and passed on each target: {', '.join(rules.covers)}."
    if rules.options:
        yield f"Each driver was run on each target with {' '.join(words(rules.options))}."
    yield "Driver, images, QEMU and lab are the same in all runs."


def _day(when: datetime) -> str:
    return f"{when.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def _matrix(predicate: Predicate) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return scenario -> a word and a text for each cell."""
    cells = [{count.scenario: count for count in cell.scenarios} for cell in predicate.cells]
    names = sorted({name for cell in cells for name in cell})
    return [(name, [_cell(cell.get(name)) for cell in cells]) for name in names]


def _cell(count: Count | None) -> tuple[str, str]:
    if count is None:
        return "none", "-"
    more = [
        f"{number} {name}"
        for name, number in (
            ("failed", count.failed),
            ("known", count.known),
            ("inconclusive", count.inconclusive),
            ("infra", count.infra),
        )
        if number
    ]
    return word(count), ", ".join([f"{count.passed}/{count.runs}", *more])


def parts(predicate: Predicate) -> dict[str, str]:
    """Return everything that took part -> its version or its hash."""
    found: dict[str, str] = {
        "plan": predicate.begun.plan_sha256,
        "wsklab, all its files": predicate.begun.lab.sha256,
    }
    for cell in predicate.cells:
        for run in cell.runs:
            found |= run.versions
            found |= {f"image {run.target.name} ({run.target.version})": run.target.image_sha256}
            found |= run.ingredients
            found |= {"host": f"{run.host}, {run.accelerator}"}
    return found


def printed(html: Path, pdf: Path, environment: Mapping[str, str] = os.environ) -> str | None:
    """Print a page to a PDF file; return why there is none, in one sentence, or None."""
    program = chromium.program(CHROMIUM, environment)
    if program is None:
        return f"There is no {pdf.name}, as Chromium is not installed; print {html.name} from any browser."
    with tempfile.TemporaryDirectory(prefix="wsklab-print-") as scratch:
        words = ("--no-pdf-header-footer", f"--print-to-pdf={scratch}/page.pdf")
        try:
            chromium.run(program, html, *words, environment=environment)
            shutil.copyfile(f"{scratch}/page.pdf", pdf)
        except (OSError, subprocess.TimeoutExpired):
            return f"There is no {pdf.name}, as Chromium did not print it; print {html.name} from any browser."
    return None
