"""What the runs of a plan came to: cells with their runs and counts, read from the rows on disk."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from wsklab.common import files
from wsklab.orchestrator.judge.observed import Observed, Verdict
from wsklab.orchestrator.release.errata import Where, explains
from wsklab.orchestrator.release.plan import Place, Value
from wsklab.orchestrator.results.known import Erratum
from wsklab.orchestrator.results.results import call_words

RUNS = "runs"
"""The folder of all runs, in the folder of the qualification."""

INGREDIENTS = "ingredients.json"
"""Beside a run's files: hashes of what took part and is not in its results."""

TOLD = 8
"""Different behaviours and reasons that are kept of a scenario."""


class Closed(BaseModel):
    """Part of the statement: nothing is in it that the schema does not name."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Target(Closed):
    """What ran the driver."""

    name: str
    kind: str
    qualifying: bool
    version: str
    image_sha256: str
    verifier: str | None = None
    """What Driver Verifier was found to be set to."""


class Driver(Closed):
    """What was under test."""

    name: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    twin: str | None
    profile: str


class RunRecord(Closed):
    """One run of `wsklab`; every attempt is here, also one that was interrupted."""

    folder: str
    boot: int
    state: Literal["running", "complete", "interrupted", "aborted"]
    started: str
    seed: int
    accelerator: str
    host: str
    versions: dict[str, str]
    target: Target
    driver: Driver
    rows: int
    rows_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    ingredients: dict[str, str]
    """Name -> SHA-256 of what else took part."""


class Count(Closed):
    """What became of one scenario in one cell."""

    scenario: str
    covers: tuple[str, ...]
    recorded: bool
    """It records behaviour that no document promises, and judges the wire alone."""
    passed: int
    failed: int
    known: int
    """Did not pass in a way that is known."""
    inconclusive: int
    infra: int
    told: tuple[str, ...]
    """The different behaviours of those that passed."""
    reasons: tuple[str, ...]
    """Why the others did not."""

    @property
    def judged(self) -> int:
        """Runs that say something of the driver."""
        return self.passed + self.failed + self.known

    @property
    def runs(self) -> int:
        """All of them."""
        return self.judged + self.inconclusive + self.infra


class Cell(Closed):
    """One driver on one target with one set of options."""

    target: str
    driver: str
    options: dict[str, Value]
    runs: tuple[RunRecord, ...]
    scenarios: tuple[Count, ...]

    @property
    def title(self) -> str:
        """For people."""
        return Place(0, self.target, self.driver, self.options).title


class Row(BaseModel):
    """What is read of a row of `results.jsonl`; whatever else it tells has no part in the decision."""

    model_config = ConfigDict(frozen=True)

    name: str
    verdict: Verdict
    reasons: tuple[str, ...]
    covers: tuple[str, ...]
    expected: dict[str, JsonValue]
    observed: Observed


class Head(BaseModel):
    """What is read of a run's `results.json`."""

    model_config = ConfigDict(frozen=True)

    state: Literal["running", "complete", "interrupted", "aborted"]
    run: dict[str, JsonValue]
    target: dict[str, JsonValue]
    driver: Driver


class Unreadable(ValueError):
    """A run's files are not what a run leaves."""


def rows_of(content: bytes, name: str) -> list[Row]:
    """Return the rows that these bytes are; a last line that is cut off is none. Raises Unreadable."""
    rows = []
    for number, line in enumerate(content.split(b"\n")[:-1], 1):
        try:
            rows.append(Row.model_validate_json(line))
        except ValidationError:
            raise Unreadable(f"{name}: line {number} is not a row") from None
    return rows


def attempts(folder: Path, place: Place) -> list[Path]:
    """Return the runs of a cell that have begun, oldest first: `boot-01-1`, `boot-01-2`, ..."""
    home = folder / RUNS / place.folder
    return sorted((path.parent for path in home.glob("boot-*/results.json")), key=_number)


def _number(run: Path) -> tuple[int, ...]:
    """Return the numbers in a run's name: the tenth attempt comes after the second."""
    return tuple(int(part) for part in run.name.split("-") if part.isdecimal())


def boot_of(run: Path) -> int:
    """Return the number of the boot that a run's folder is of. Raises Unreadable."""
    try:
        return int(run.name.split("-")[1])
    except (IndexError, ValueError):
        raise Unreadable(f"{run} is not called as a run of a qualification") from None


def counted(run: Path) -> Counter[str]:
    """Return how often each scenario was judged in a run. Raises Unreadable."""
    rows = rows_of(_rows(run), str(run))
    return Counter(row.name for row in rows if row.verdict in ("pass", "fail"))


def _rows(run: Path) -> bytes:
    try:
        return files.read_bytes(run / "results.jsonl", files.RESULT)
    except FileNotFoundError:  # interrupted before the first row
        return b""
    except OSError as error:
        raise Unreadable(f"{run}/results.jsonl: {files.why(error)}") from None


def read_cell(folder: Path, place: Place, errata: Sequence[Erratum], day: date) -> Cell:
    """Return a cell as its runs on disk tell it, with what was known on `day`. Raises Unreadable."""
    runs, told = [], list[tuple[RunRecord, list[Row]]]()
    for path in attempts(folder, place):
        content = _rows(path)
        rows = rows_of(content, str(path.relative_to(folder)))
        record = _record(folder, path, content, len(rows))
        runs.append(record)
        told.append((record, rows))
    return Cell(
        target=place.target,
        driver=place.driver,
        options=dict(place.options),
        runs=tuple(runs),
        scenarios=tuple(counts(told, errata, day, str(place.options.get("variant", "")))),
    )


def _record(folder: Path, path: Path, rows: bytes, number: int) -> RunRecord:
    try:
        head = Head.model_validate(files.read_json(path / "results.json", files.RESULT))
        extra = path / INGREDIENTS
        return RunRecord(
            folder=str(path.relative_to(folder)),
            boot=boot_of(path),
            state=head.state,
            started=str(head.run["started"]),
            seed=int(str(head.run["seed"])),
            accelerator=str(head.run["accelerator"]),
            host=str(head.run["host"]),
            versions=_texts(head.run["versions"]),
            target=_target(head.target),
            driver=head.driver,
            rows=number,
            rows_sha256=hashlib.sha256(rows).hexdigest(),
            ingredients=_texts(json.loads(files.read_text(extra, files.TEXT))) if extra.exists() else {},
        )
    except OSError as error:
        raise Unreadable(f"{error.filename}: {files.why(error)}") from None
    except (ValueError, KeyError) as error:
        raise Unreadable(f"{path}: not what a run leaves ({str(error).splitlines()[0]})") from None


def _target(told: Mapping[str, JsonValue]) -> Target:
    verifier = told.get("verifier")
    return Target(
        name=str(told["name"]),
        kind=str(told["kind"]),
        qualifying=told["qualifying"] is True,
        version=str(told["version"]),
        image_sha256=str(told["image_sha256"]),
        verifier=str(verifier.get("choice")) if isinstance(verifier, dict) else None,
    )


def _texts(value: JsonValue) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValueError("a list of names is missing")
    return {key: str(text) for key, text in value.items()}


def counts(
    told: Iterable[tuple[RunRecord, Sequence[Row]]], errata: Sequence[Erratum], day: date, variant: str = ""
) -> list[Count]:
    """Return what became of each scenario, by name. Pure."""
    seen: dict[str, list[tuple[Row, bool]]] = {}
    for run, rows in told:
        environment = f"{run.driver.profile} on {run.target.name} ({run.accelerator})"
        where = Where(target=run.target.name, environment=environment, variant=variant)
        for row in rows:
            known = row.verdict != "pass" and explains(errata, row.name, where, row.verdict, row.reasons, day)
            seen.setdefault(row.name, []).append((row, known))
    return [_count(name, found) for name, found in sorted(seen.items())]


def _count(name: str, found: Sequence[tuple[Row, bool]]) -> Count:
    verdicts = Counter("known" if known else row.verdict for row, known in found)
    passed = (behaviour(row.observed) for row, _ in found if row.verdict == "pass")
    reasons = (reason for row, _ in found if row.verdict != "pass" for reason in row.reasons)
    return Count(
        scenario=name,
        covers=tuple(dict.fromkeys(number for row, _ in found for number in row.covers)),
        recorded=any(row.expected.get("characterise") is True for row, _ in found),
        passed=verdicts["pass"],
        failed=verdicts["fail"],
        known=verdicts["known"],
        inconclusive=verdicts["inconclusive"],
        infra=verdicts["infra"],
        told=tuple(sorted(set(passed))[:TOLD]),
        reasons=tuple(list(dict.fromkeys(reasons))[:TOLD]),
    )


def behaviour(observed: Observed) -> str:
    """Return in a few words what the driver was told, the same for the same behaviour."""
    calls = Counter(call_words(call) for call in observed["disconnects"])
    return ", ".join(f"{count}x {word}" for word, count in sorted(calls.items())) or "no event"
