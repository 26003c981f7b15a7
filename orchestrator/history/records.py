"""A run and its rows as the history knows them, and reading them from a run's folder.

This module alone knows the form of `results.json` (docs/results.md).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from wsklab.common import files
from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.history import behaviour
from wsklab.orchestrator.history.behaviour import Behaviour
from wsklab.orchestrator.results.results import SCHEMA, VERDICTS

LINES = "results.jsonl"

Outcome = Literal["pass", "fail", "inconclusive", "infra", "known"]
"""What became of a row: its verdict, or a failure that is known (`known.yaml`)."""

OUTCOMES: tuple[Outcome, ...] = (*VERDICTS, "known")

KILLED = "killed"
"""The state of a run that says it goes on, and whose process is gone."""


STRICT = "strict"
"""The stand-in's own checks, in place of a verifier."""


@dataclass(frozen=True)
class Environment:
    """Under what a run was made: only rows of one environment are compared and counted together."""

    target: str
    profile: str
    accelerator: str
    verifier: str = ""
    """What watched the driver: Driver Verifier's settings, or `STRICT`."""

    @property
    def key(self) -> str:
        """The same for the same environment."""
        return digest(asdict(self))

    def __str__(self) -> str:
        watched = self.verifier if self.verifier == STRICT else f"verifier {self.verifier}"
        verifier = f", {watched}" if self.verifier else ""
        return f"{self.profile} on {self.target} ({self.accelerator}{verifier})"


@dataclass(frozen=True)
class Ingredients:
    """What took part in a run; what changed from one run to another is looked for among these."""

    driver_sha256: str
    image_sha256: str
    target_version: str
    qemu: str
    lab: str
    host: str


@dataclass(frozen=True)
class Row:
    """One run of one scenario. Times in milliseconds."""

    scenario: str
    repeat: int
    verdict: Outcome
    reasons: tuple[str, ...]
    behaviour: Behaviour
    expects: str
    """Equal where the scenario asked for the same."""
    total_ms: int
    run_ms: int | None
    restore_ms: int | None
    judge_ms: int | None
    evidence: str


@dataclass(frozen=True)
class Run:
    """A run without its rows; `started` in seconds since 1970."""

    key: str
    name: str
    node: str
    folder: str
    started: int
    state: str
    why: str | None
    exit_code: int
    asked: int | None
    not_run: int
    seed: int
    command: str
    environment: Environment
    qualifying: bool
    driver: str
    ingredients: Ingredients

    @property
    def is_twin(self) -> bool:
        """Whether the driver was wrong on purpose: that it fails is no trouble."""
        return ":" in self.driver

    @property
    def when(self) -> str:
        """The start, for people."""
        return datetime.fromtimestamp(self.started, UTC).strftime("%Y-%m-%d %H:%M")


def digest(value: Any) -> str:
    """Return the hash of anything that is JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()


def read(folder: Path, node: str, alive: bool = False) -> tuple[Run, list[Row]]:
    """Return a run's folder; one that says it goes on and is not `alive` was killed. Raises UsageError."""
    path = folder / "results.json"
    try:
        document = files.read_json(path, files.RESULT)
        if not isinstance(document, dict) or document.get("schema") != SCHEMA:
            raise UsageError(f"{path}: is not a results file of schema {SCHEMA}, so it cannot be recorded.")
        found = list(_lines(folder / LINES)) if (folder / LINES).exists() else []
        run = _run(document, folder, node, alive, len(found))
        return run, [_row(row) for row in found or document.get("scenarios") or ()]
    except FileNotFoundError:
        raise UsageError(f"{folder}: is not the folder of a run: it has no {path.name}.") from None
    except OSError as error:
        raise UsageError(f"{folder}: cannot be read: {files.why(error)}.") from None
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise UsageError(f"{path}: is not as `wsklab results schema` says ({error}).") from None


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the rows of a run, in the order in which they came.

    A last line that is cut off, as a kill leaves it, is none.
    """
    *lines, _ = files.read_bytes(path, files.RESULT).split(b"\n")
    for line in lines:
        yield json.loads(line)


def _run(document: Mapping[str, Any], folder: Path, node: str, alive: bool, written: int) -> Run:
    run, target, driver = document["run"], document["target"], document["driver"]
    state, why = document["state"], document["why"]
    missing = sum(document["not_run"].values())
    if state == "running" and not alive:
        state, why = KILLED, "the run was killed"
        missing = max(0, missing - written)
    verifier = target.get("verifier") or (STRICT if target.get("strict") else "")
    twin = f":{driver['twin']}" if driver.get("twin") else ""
    return Run(
        # A run that carries no number of its own is told from others by all it says of itself.
        key=str(run.get("uuid") or digest([run, target.get("name"), driver.get("sha256")])),
        name=str(run["id"]),
        node=node,
        folder=str(folder.absolute()),
        started=int(datetime.fromisoformat(str(run["started"]).replace("Z", "+00:00")).timestamp()),
        state=state,
        why=why,
        exit_code=int(document["exit_code"]),
        asked=document["asked"],
        not_run=missing,
        seed=int(run["seed"]),
        command=str(run["command"]),
        environment=Environment(
            str(target.get("name", "")),
            str(driver.get("profile") or driver.get("name", "")) + twin,  # a wrong build is no past of the right one
            str(run.get("accelerator", "")),
            verifier if isinstance(verifier, str) else json.dumps(verifier, sort_keys=True),
        ),
        qualifying=bool(target.get("qualifying")),
        driver=str(driver.get("name", "")) + twin,
        ingredients=Ingredients(
            str(driver.get("sha256", "")),
            str(target.get("image_sha256") or target.get("image", "")),
            str(target.get("version", "")),
            str(run.get("versions", {}).get("qemu", "")),
            str(run.get("versions", {}).get("wsklab", "")),
            str(run.get("host", "")),
        ),
    )


def _row(row: Mapping[str, Any]) -> Row:
    timing = row["timing"]
    if row["verdict"] not in VERDICTS:
        raise ValueError(f"there is no verdict {row['verdict']!r}")
    return Row(
        scenario=f"{row['name']} [{row['variant']}]" if row.get("variant") else str(row["name"]),
        repeat=int(row["repeat"]),
        verdict="known" if (row.get("known") or {}).get("kind") == "known" else row["verdict"],
        reasons=tuple(map(str, row["reasons"])),
        behaviour=behaviour.of(row["observed"]),
        expects=digest(row["expected"])[:16],
        total_ms=_ms(timing, "total_s") or 0,
        run_ms=_ms(timing, "run_s"),
        restore_ms=_ms(timing, "restore_s"),
        judge_ms=_ms(timing, "judge_s"),
        evidence=str(row["evidence"]),
    )


def _ms(timing: Mapping[str, float], name: str) -> int | None:
    seconds = timing.get(name)
    return None if seconds is None else round(1000 * seconds)


def runs_in(folders: Sequence[Path]) -> list[Path]:
    """Return the runs that are meant by these folders: each itself, or those right below it. Raises UsageError."""
    found: list[Path] = []
    for folder in folders:
        inside = []
        with suppress(OSError):
            inside = sorted(path.parent for path in folder.glob("*/results.json"))
        if (folder / "results.json").exists() or not inside:
            found.append(folder)
        else:
            found += inside
    return found
