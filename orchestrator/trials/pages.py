"""Coverage and twins as pages: of the history's site, and beside `twins.json`. Pure, but for reading the catalogue."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import UndefinedError

from wsklab.common import files
from wsklab.drivers.twins import twins
from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.history import site
from wsklab.orchestrator.history.past import mark
from wsklab.orchestrator.history.records import Environment
from wsklab.orchestrator.history.site import Page, Told, scenario_page
from wsklab.orchestrator.scenario import catalogue
from wsklab.orchestrator.trials import coverage, twin_matrix
from wsklab.orchestrator.trials.coverage import Row, Use, short

HERE = Path(__file__).parent

SIGNS = {"pass": "✓", "fail": "✗", "inconclusive": "?", "infra": "!"}


@dataclass(frozen=True)
class Proven:
    """What the newest runs under one environment say of the numbers of the reference."""

    environment: Environment
    rows: Sequence[Row]
    """Those of which a scenario was run, with the newest verdict of each."""

    @property
    def passed(self) -> int:
        """Numbers of which all scenarios that were run passed, and one judged."""
        return sum(
            all(use.verdict in (None, "pass") for use in row.scenarios)
            and any(use.verdict == "pass" and not use.recorded for use in row.scenarios)
            for row in self.rows
        )


def newest(told: Told) -> dict[Environment, dict[str, coverage.Verdict]]:
    """Return environment -> scenario -> its verdict in the newest run that had it. A twin proves nothing."""
    found: dict[Environment, dict[str, coverage.Verdict]] = {}
    for kept in told.runs:
        if kept.run.is_twin:
            continue
        for name, cells in told.grid.items():
            if (word := site.WORDS[mark(cells.get(kept.id))]) != "not run":
                verdict = coverage.Verdict(word, str(kept.id), kept.run.when)
                found.setdefault(kept.run.environment, {})[name] = verdict
    return dict(reversed(found.items()))


def proven(told: Told) -> tuple[list[Proven], list[Row]]:
    """Return what is proven under each environment, and the rows of which nothing was run."""
    known, scenarios = coverage.catalogue(), [*catalogue.built_in(), *catalogue.any_driver()]
    under = [
        Proven(environment, [row for row in coverage.rows(known, scenarios, twins().values(), verdicts) if _ran(row)])
        for environment, verdicts in newest(told).items()
    ]
    seen = {row.id for one in under for row in one.rows}
    return under, [row for row in coverage.rows(known, scenarios, twins().values(), {}) if row.id not in seen]


def _ran(row: Row) -> bool:
    return any(use.verdict for use in row.scenarios)


def coverage_page(told: Told) -> Page:
    """Make the page of what of the reference the recorded runs have judged."""
    under, rest = proven(told)
    page = site.rendered(HERE)
    text = page(
        "coverage.html.j2",
        under=under,
        rest=rest,
        every=len(coverage.catalogue().entries),
        ran=_used,
        why=_why,
        scenario_page=scenario_page,
    )
    return Page("coverage.html", "Coverage", text)


def _used(row: Row) -> list[Use]:
    return [use for use in row.scenarios if use.verdict]


def _why(row: Row) -> str:
    """Say what checks a number of which nothing was run, or why nothing does."""
    ways = [use.scenario for use in row.scenarios] + [f"test {short(test)}" for test in row.elsewhere]
    return ", ".join(ways) or f"not here: {row.not_on_standin}"


def twins_page(matrix: Mapping[str, Any], home: str = "") -> Page:
    """Make the page of the matrix of `twins.json`; `home` is the page that it leads back to."""
    names = twin_matrix.columns(matrix)
    correct = {"name": "the correct driver", "title": "", "rules": [], "verdicts": matrix["correct"]["verdicts"]}
    page = site.rendered(HERE)
    text = page(
        "twins.html.j2",
        matrix=matrix,
        home=home,
        names=names,
        grid=[(one, _cells(names, one["verdicts"])) for one in (correct, *matrix["twins"])],
        ran=sum(bool(one["verdicts"]) for one in matrix["twins"]),
    )
    return Page("twins.html", "Twins", text)


def matrix_of(file: Path) -> Mapping[str, Any]:
    """Return the matrix in a `twins.json`. Raises UsageError."""
    try:
        matrix = files.read_json(file, files.RESULT)
        twins_page(matrix)
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {files.why(error)}.") from None
    except (ValueError, KeyError, TypeError, AttributeError, UndefinedError):
        raise UsageError(f"{file}: it is no twins.json of `wsklab run --twins`.") from None
    found: Mapping[str, Any] = matrix
    return found


def further(told: Told, matrix: Mapping[str, Any] | None) -> list[Page]:
    """Make the pages of the site that the history alone cannot make."""
    return [coverage_page(told), *([twins_page(matrix, "index.html")] if matrix else [])]


def _cells(names: Iterable[str], verdicts: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Return (scenario, word, sign) of each cell."""
    return [(name, verdicts.get(name, "not run"), SIGNS.get(verdicts.get(name, ""), "·")) for name in names]
