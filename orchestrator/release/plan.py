"""`PLAN.yaml`: what a release must have passed, and how often."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from pydantic import Field, field_validator

from wsklab.common import document, files
from wsklab.common.strict import Strict
from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.release.sampling import bound, needed, percent, shown
from wsklab.orchestrator.results.known import Errata, Erratum
from wsklab.orchestrator.scenario.catalogue import SUFFIXES
from wsklab.orchestrator.scenario.scenario import KNOWN

Value = bool | int | str
Options = Mapping[str, Value]
"""Long options of `wsklab run` -> values; true for one that takes none."""

TYPICAL = 0.01
"""The flake rate whose chance of showing is told."""


class Rules(Strict):
    """What makes it a go."""

    failures: int = Field(default=0, ge=0, description="failures allowed of each scenario in each cell")
    inconclusive: float = Field(default=0, ge=0, le=0.2, description="share of a cell's runs that may be inconclusive")
    infra: float = Field(default=0, ge=0, le=0.2, description="share of a cell's runs in which the lab may have failed")
    flake_rate: float | None = Field(
        default=None, gt=0, lt=1, description="the flake rate of each scenario that must be proven"
    )
    confidence: float = Field(default=0.95, ge=0.5, lt=1, description="of what is said on flake rates")
    covers: tuple[str, ...] = Field(
        default=(), max_length=500, description="numbers of the reference that each target must have judged and passed"
    )
    options: dict[str, Value] = Field(
        default_factory=dict, description="options with which each driver must have been run on each target"
    )

    @field_validator("covers")
    @classmethod
    def _known(cls, numbers: tuple[str, ...]) -> tuple[str, ...]:
        for number in numbers:
            if number not in KNOWN:
                raise ValueError(f"there is no number '{number}' in the reference; it has R1, C01, BF1 and so on")
        return numbers


class Plan(Strict):
    """The file. Each target x driver x options is a cell; in each, each scenario is run `repeats` times."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="of the release, also in file names")
    title: str = Field(default="", max_length=120, description="one line for the page")
    targets: tuple[str, ...] = Field(min_length=1, max_length=50, description="images, as `wsklab run --target`")
    drivers: tuple[str, ...] = Field(
        default=("wsklab",), min_length=1, max_length=50, description="profiles, as `wsklab run --driver`"
    )
    options: tuple[dict[str, Value], ...] = Field(
        default=({},), min_length=1, max_length=50, description="sets of options of `wsklab run`"
    )
    scenarios: tuple[str, ...] = Field(default=(), max_length=1000, description="names, tags, files or folders")
    exclude: tuple[str, ...] = Field(default=(), max_length=100, description="tags that are left out")
    repeats: int = Field(ge=1, le=1_000_000, description="of each scenario in each cell")
    boots: int = Field(default=1, ge=1, le=1000, description="so many times the labs are booted anew in each cell")
    cold: bool = Field(default=True, description="boot; false: start from a kept snapshot, which saves minutes")
    jobs: int | str = Field(default=1, description="labs side by side, or auto")
    seed: int = Field(default=1, ge=0, le=1 << 31, description="of everything random; each run has another")
    errata: Path | None = Field(default=None, description="known failures, a file as known.yaml")
    rules: Rules = Rules()

    @field_validator("jobs")
    @classmethod
    def _jobs(cls, jobs: int | str) -> int | str:
        if jobs == "auto" or (isinstance(jobs, int) and jobs > 0):
            return jobs
        raise ValueError("a number of labs, or auto")

    @property
    def per_boot(self) -> list[int]:
        """How many of the repeats each boot has, about the same each."""
        each, more = divmod(self.repeats, self.boots)
        return [each + (number < more) for number in range(self.boots) if each + (number < more)]


@dataclass(frozen=True)
class Place:
    """A cell of the plan: one driver on one target with one set of options."""

    number: int
    target: str
    driver: str
    options: Options

    @property
    def title(self) -> str:
        """For people."""
        return " ".join([f"{self.driver} on {self.target}", *words(self.options)])

    @property
    def folder(self) -> str:
        """A name for its folder that no other cell has."""
        slug = re.sub(r"[^a-z0-9]+", "-", f"{Path(self.driver).stem} {self.title}".lower()).strip("-")
        return f"{self.number:02}-{slug[:60].rstrip('-')}"


def words(options: Options) -> list[str]:
    """Return options as they are typed; false is the same as none."""
    return [
        word
        for name, value in options.items()
        if value is not False
        for word in ((f"--{name}",) if value is True else (f"--{name}", str(value)))
    ]


def places(plan: Plan) -> list[Place]:
    """Return the cells, in the order in which they are run."""
    every = product(plan.targets, plan.drivers, plan.options)
    return [Place(number, *cell) for number, cell in enumerate(every, 1)]


@dataclass(frozen=True)
class Loaded:
    """A plan and its errata, as they are on disk."""

    path: Path
    plan: Plan
    content: bytes
    errata: tuple[Erratum, ...] = ()
    errata_content: bytes | None = None

    @property
    def sha256(self) -> str:
        """Of the plan's file."""
        return hashlib.sha256(self.content).hexdigest()

    def word(self, word: str) -> str:
        """Return a scenario's or a driver's word as the command line takes it: paths are relative to the plan."""
        path = Path(word)
        if (path.suffix in SUFFIXES or "/" in word) and not path.is_absolute():
            return str(self.path.parent / path)
        return word


def load(path: Path, errata: Path | None = None) -> Loaded:
    """Read a plan; its errata from the file that it names, or from `errata`. Raises UsageError."""
    try:
        content = files.read_bytes(path, files.TEXT)
        plan = parse(content, str(path))
        if plan.errata is None:
            return Loaded(path, plan, content)
        named = errata or path.parent / plan.errata
        known = files.read_bytes(named, files.TEXT)
        return Loaded(path, plan, content, errata_of(known, str(named)), known)
    except OSError as error:
        raise UsageError(f"{error.filename}: cannot be read: {files.why(error)}.") from None
    except document.Refused as error:
        raise UsageError(str(error)) from None


def parse(content: bytes, name: str) -> Plan:
    """Return the plan that these bytes are. Raises document.Refused."""
    return document.parse(_text(content, name), Plan, name)


def errata_of(content: bytes, name: str) -> tuple[Erratum, ...]:
    """Return the entries that these bytes are. Raises document.Refused."""
    return document.parse(_text(content, name), Errata, name).known


def _text(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise document.Refused(f"{name}: it is not UTF-8 text.") from None


def proves(plan: Plan, scenarios: int) -> Iterator[str]:
    """Yield what the plan's repeats prove of each scenario if no more fail than may, in sentences."""
    rules, cells = plan.rules, len(places(plan))
    runs, allowed, sure = plan.repeats, rules.failures, f"{rules.confidence:.4g}"
    most = f"with at most {_number(allowed, 'failure')}" if allowed else "without a failure"
    yield (
        f"{_number(cells, 'cell')} x {_number(scenarios, 'scenario')} x {_number(runs, 'repeat')} = "
        f"{_number(cells * scenarios * runs, 'run')}, and the driver's unload after each boot "
        f"({len(plan.per_boot)} a cell)."
    )
    yield (
        f"{_number(runs, 'run')} {most} prove{'s' * (runs == 1)} a flake rate below "
        f"{percent(bound(allowed, runs, rules.confidence))} of each scenario in each cell, at confidence {sure}; "
        f"a flake of {percent(TYPICAL)} shows in them with a chance of {percent(shown(TYPICAL, runs))}."
    )
    for rate in (0.01, 0.001) if rules.flake_rate is None else (rules.flake_rate,):
        yield f"For a flake rate of at most {percent(rate)} it takes {needed(rate, rules.confidence, allowed)} repeats."
    if cells * scenarios > 1:
        wrong = cells * scenarios * (1 - rules.confidence)
        yield (
            f"Of {cells * scenarios} such statements about {wrong:.2g} would be wrong by chance if all rates were "
            "as high as that."
        )


def _number(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def short(plan: Plan) -> str | None:
    """Return why the plan cannot prove the flake rate that its rules ask for; None when it can."""
    rules = plan.rules
    if rules.flake_rate is None:
        return None
    enough = needed(rules.flake_rate, rules.confidence, rules.failures)
    if plan.repeats >= enough:
        return None
    return (
        f"{plan.repeats} repeats cannot prove a flake rate of at most {percent(rules.flake_rate)} at confidence "
        f"{rules.confidence:.4g} with {rules.failures} failures; set `repeats: {enough}`, or ask for less in `rules`."
    )
