"""The history as a static site: a grid of runs and scenarios, a page for each; from disk, or behind any server.

Nothing is fetched: what the grid draws stands in its page. All text is escaped, and the content security policy of each
page names the hashes of its own script and style, so that a server may demand the same.
"""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64encode
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsklab.common.text import visible
from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.history import queries
from wsklab.orchestrator.history.database import Database
from wsklab.orchestrator.history.past import Past, changed, mark, pasts, sentence
from wsklab.orchestrator.history.queries import Cell, Kept
from wsklab.orchestrator.history.records import OUTCOMES, Outcome, Row
from wsklab.orchestrator.history.trends import HEIGHT, WIDTH, trends
from wsklab.orchestrator.results import html
from wsklab.orchestrator.results.results import write_atomically

HERE = Path(__file__).parent

OURS = ".wsklab-site"
"""In a site's folder: it may be written anew."""

FAILURES = 50
"""Newest rows that did not pass, shown on a scenario's page."""

STRIP = 90
"""Newest runs that a scenario's page draws; the grid has all."""

WORDS = {"p": "pass", "f": "fail", "i": "inconclusive", "x": "infra", "k": "known", "~": "flaky", ".": "not run"}
"""What the signs of `past.mark` mean."""


@dataclass(frozen=True)
class Told:
    """All that the site is made of."""

    runs: Sequence[Kept]
    grid: Mapping[str, Mapping[int, Cell]]
    failures: Mapping[int, Sequence[Row]]
    """Run -> its rows that did not pass."""


@dataclass(frozen=True)
class Page:
    """A page of the site that others make, beside the first one."""

    path: str
    title: str
    text: str


More = Callable[[Told], Sequence[Page]]
"""Makes further pages of what the site tells."""

FURTHER = ("trends.html", "coverage.html", "twins.html")
"""Pages beside the first that there may be."""


def write(database: Database, folder: Path, last: int, more: More = lambda told: ()) -> Path:
    """Write the site of the newest `last` runs; returns its first page. Raises UsageError, LabError, OSError."""
    with database.reading() as connection:
        runs = queries.runs(connection, last=last)
        told = Told(
            runs,
            queries.grid(connection, [kept.id for kept in runs]),
            {kept.id: queries.rows(connection, kept.id, but="pass") for kept in runs},
        )
    _own(folder)
    written = {path: text for path, text in pages(told, more(told)).items() if write_page(folder / path, text)}
    ours = [path for kind in ("runs", "scenarios") for path in (folder / kind).glob("*.html")]
    for stale in [*ours, *(folder / name for name in FURTHER)]:
        if str(stale.relative_to(folder)) not in written:
            stale.unlink(missing_ok=True)
    return folder / "index.html"


def _own(folder: Path) -> None:
    """Make the folder, or see that it is a site's. Raises UsageError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()) and not (folder / OURS).exists():
            raise UsageError(f"{folder}: holds something else than a site of wsklab; name an empty folder with --html.")
        (folder / OURS).touch()
        for kind in ("runs", "scenarios"):
            (folder / kind).mkdir(exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder}: cannot be made: {error.strerror}; name another folder with --html.") from None


def write_page(path: Path, text: str) -> bool:
    """Write a page; a server that reads it meanwhile gets the old one or the new one."""
    write_atomically(path, text)
    return True


def rendered(templates: Path) -> Callable[..., str]:
    """Return what makes pages of the site of the templates in a folder: a template's name, and what it is to show."""
    from markupsafe import Markup

    environment = html.environment(templates)
    style = (HERE / "site.css").read_text(encoding="utf-8")

    def page(template: str, script: str = "", **more: Any) -> str:
        return environment.get_template(template).render(
            style=Markup(style),
            style_hash=_hash(style),
            script=Markup(script),
            script_hash=_hash(script),
            words=WORDS,
            **more,
        )

    return page


def pages(told: Told, further: Sequence[Page] = ()) -> dict[str, str]:
    """Path -> text of every page. Pure."""
    from markupsafe import Markup

    page = rendered(HERE)
    script = (HERE / "site.js").read_text(encoding="utf-8")
    past = {name: pasts(name, told.runs, cells) for name, cells in told.grid.items()}
    trouble = [one[0] for one in past.values() if one[0].trouble]
    found = {
        "index.html": page(
            "site_index.html.j2",
            data=Markup(_data(told)),
            script=script,
            also=[("trends.html", "Trends"), *((one.path, one.title) for one in further)],
            runs=told.runs,
            scenarios=[(name, scenario_page(name)) for name in sorted(told.grid)],
            trouble=[(one, scenario_page(one.scenario), sentence(one) if one.broke else "") for one in trouble],
        )
    }
    found["trends.html"] = page(
        "site_trends.html.j2",
        trends=trends(told.runs, told.grid, past),
        pages={name: scenario_page(name) for name in past},
        outcomes=OUTCOMES,
        width=WIDTH,
        height=HEIGHT,
    )
    found |= {one.path: one.text for one in further}
    before: dict[object, Kept] = {}
    for kept in told.runs:
        previous = before.get(kept.run.environment)
        before[kept.run.environment] = kept
        found[f"runs/{kept.id}.html"] = page(
            "site_run.html.j2",
            kept=kept,
            previous=previous,
            changes=list(changed(previous.run, kept.run)) if previous else [],
            totals=_totals(told, kept.id),
            rows=[(row, scenario_page(row.scenario)) for row in told.failures[kept.id]],
        )
    failed: dict[str, list[tuple[Kept, Row]]] = defaultdict(list)
    for kept in reversed(told.runs):
        for row in told.failures[kept.id]:
            failed[row.scenario].append((kept, row))
    for name, ones in past.items():
        found[scenario_page(name)] = page(
            "site_scenario.html.j2",
            name=name,
            pasts=[(one, sentence(one) if one.broke else "", _strip(one), _times(one)) for one in ones],
            failures=failed[name][:FAILURES],
            left_out=max(0, len(failed[name]) - FAILURES),
        )
    return found


def scenario_page(name: str) -> str:
    """Where a scenario's page is; whatever its name is made of, it stays in its folder, and no two share one."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "-", name)[:80]
    unlike = "" if plain == name else f".{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return f"scenarios/{plain}{unlike}.html"


def _hash(text: str) -> str:
    return b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _data(told: Told) -> str:
    """Return what the grid draws, as JSON that may stand in a page: one sign for each cell."""
    newest = sorted(told.runs, key=lambda kept: (kept.run.is_twin, -kept.run.started, -kept.id))
    environments = list(dict.fromkeys(str(kept.run.environment) for kept in newest))
    document = {
        "environments": [visible(environment) for environment in environments],
        "runs": [
            {
                "id": kept.id,
                "name": visible(kept.run.name),
                "when": kept.run.when,
                "state": kept.run.state,
                "driver": visible(kept.run.ingredients.driver_sha256[:12]),
                "environment": environments.index(str(kept.run.environment)),
            }
            for kept in told.runs
        ],
        "scenarios": [
            {
                "name": visible(name),
                "page": scenario_page(name),
                "marks": "".join(mark(cells.get(kept.id)) for kept in told.runs),
            }
            for name, cells in sorted(told.grid.items())
        ],
        "words": WORDS,
    }
    return json.dumps(document, separators=(",", ":")).replace("<", "\\u003c").replace("&", "\\u0026")


def _totals(told: Told, number: int) -> dict[Outcome, int]:
    found: dict[Outcome, int] = dict.fromkeys(OUTCOMES, 0)
    for cells in told.grid.values():
        if number in cells:
            for verdict, count in cells[number].counts.items():
                found[verdict] += count
    return {verdict: count for verdict, count in found.items() if count}


def _strip(past: Past) -> list[tuple[int, str, Kept]]:
    """(place, word, run) of each sign of a scenario's newest past."""
    newest = zip(past.marks[-STRIP:], past.runs[-STRIP:], strict=True)
    return [(place, WORDS[sign], kept) for place, (sign, kept) in enumerate(newest)]


def _times(past: Past, width: int = 720, height: int = 120) -> dict[str, Any] | None:
    """Return the time that a pass took in each run, as the points of a line; None for less than two."""
    times = [cell.times["pass"] / 1000 for cell in past.cells if "pass" in cell.times]
    if len(times) < 2:
        return None
    most = max(times) or 1.0
    points = " ".join(
        f"{place * width / (len(times) - 1):.1f},{height - time * height / most:.1f}"
        for place, time in enumerate(times)
    )
    return {"points": points, "most": most, "least": min(times), "width": width, "height": height}
