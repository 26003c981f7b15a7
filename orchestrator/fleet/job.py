"""What travels between client and workers, as plain JSON: a run's job, its batches, and the rows that come back."""

from __future__ import annotations

import functools
import hashlib
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

import wsklab.orchestrator
from wsklab.orchestrator.results.results import UNLOAD, ScenarioResult, Verdict, observed
from wsklab.orchestrator.run.evidence import as_document, expected
from wsklab.orchestrator.run.order import Item
from wsklab.orchestrator.scenario.scenario import Scenario


@dataclass(frozen=True)
class ImageRef:
    """An image of the store: its files by their SHA-256."""

    name: str
    key: str
    files: Mapping[str, str]


@dataclass(frozen=True)
class DriverRef:
    """A driver that goes into the target: the file of this name, and what has its symbols."""

    name: str
    twin: str | None
    file_name: str
    sha256: str
    symbols_name: str
    symbols_sha256: str


@dataclass(frozen=True)
class PackageRef:
    """A driver's package as it goes into the target: its INF, and every file by its SHA-256."""

    inf: str
    files: Mapping[str, str]


@dataclass(frozen=True)
class ForeignRef:
    """A driver that is not the lab's own: its profile, with every file that it names by its SHA-256."""

    name: str
    profile: Mapping[str, Any]
    file_name: str
    file_sha256: str
    sha256: str
    loaded_sha256: str
    witnessed: bool
    files: Mapping[str, str]
    packages: tuple[PackageRef, ...] = ()


@dataclass(frozen=True)
class Job:
    """What all batches of a run have in common; a lab is kept for the next batch of the same job."""

    run: str
    lab: str
    """Fingerprint of wsklab itself."""
    target: str
    accelerator: str
    seed: int
    isolate: bool = True
    cold: bool = False
    strict: int | None = None
    verify: str | None = None
    store: str | None = None
    lean: bool = False
    """Of repetitions that pass the logs and the recording stay behind."""
    images: tuple[ImageRef, ...] = ()
    driver: DriverRef | None = None
    foreign: ForeignRef | None = None
    simulated: Mapping[str, Any] | None = None
    """Labs that only take time, for tests and measurements of everything around them."""


@dataclass(frozen=True)
class Evidence:
    """Where the packed evidence of a row is: in the store, or with the row."""

    sha256: str = ""
    inline: str = ""


@dataclass(frozen=True)
class Back:
    """A row that comes back, with what the target did where that is recorded. `id`: no two have the same."""

    row: ScenarioResult
    behaviour: dict[str, list[str]] | None = None
    evidence: Evidence | None = None
    id: str = field(default_factory=lambda: uuid.uuid4().hex)


_JOB: TypeAdapter[Job] = TypeAdapter(Job)
_BACK: TypeAdapter[Back] = TypeAdapter(Back)


def job_as_json(job: Job) -> dict[str, Any]:
    """Return a job as it travels."""
    return asdict(job)


def job_of(document: Mapping[str, Any]) -> Job:
    """Return the job of a batch. Raises ValueError."""
    return _JOB.validate_python(document)


def back_as_json(back: Back) -> str:
    """Return a row as it travels: as text, as dask makes tuples of lists on the way."""
    return json.dumps(asdict(back))


def back_of(document: str) -> Back:
    """Return the row that has come. Raises ValueError."""
    return _BACK.validate_json(document)


def batch_as_json(job: Mapping[str, Any], number: int, items: Sequence[Item]) -> dict[str, Any]:
    """Return a batch as it travels: each scenario once, however often it is played."""
    scenarios = {item.scenario.name: as_document(item.scenario) for item in items}
    rows = [[item.scenario.name, item.variant, item.number] for item in items]
    return {"job": job, "number": number, "scenarios": scenarios, "rows": rows}


def items_of(batch: Mapping[str, Any]) -> list[Item]:
    """Return the items of a batch. Raises ValueError."""
    scenarios = {name: Scenario.model_validate(document) for name, document in batch["scenarios"].items()}
    return [Item(number, scenarios[name], variant) for name, variant, number in batch["rows"]]


@functools.cache
def _unload() -> Scenario:
    title = "The driver unloads and leaves nothing behind"
    return Scenario.model_validate({"name": UNLOAD, "title": title, "steps": [{"lab": "settle"}]})


def unload_of(variant: str, number: int = 1) -> Item:
    """Return the item that asks for a lab of which only the driver's unload is judged."""
    return Item(number, _unload(), variant)


def row_of(item: Item, verdict: Verdict, reasons: Sequence[str] = (), took: float = 0.0) -> ScenarioResult:
    """Return a row of which nothing was observed."""
    scenario = item.scenario
    return ScenarioResult(
        name=scenario.name,
        title=scenario.title,
        repeat=item.number,
        verdict=verdict,
        reasons=tuple(reasons),
        covers=scenario.covers,
        expected=expected(scenario),
        observed=observed(),
        timing={"total_s": round(took, 4)},
        evidence=f"evidence/{item.folder}",
        variant=item.variant,
    )


@functools.cache
def fingerprint() -> str:
    """Return the hash of wsklab's own files: rows of two versions are not mixed."""
    found = hashlib.sha256()
    root = Path(wsklab.orchestrator.__file__).parent
    for folder in (root, *(root.parent / name for name in ("common", "qemu", "images", "drivers"))):
        for path in sorted(folder.rglob("*")):
            if path.suffix in {".py", ".yaml"} and path.is_file():
                found.update(str(path.relative_to(folder.parent)).encode() + b"\0" + path.read_bytes())
    return found.hexdigest()
