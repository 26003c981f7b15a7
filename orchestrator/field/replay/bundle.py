"""A bundle: one failure in one file, for a bug tracker, from which another host makes it again.

A bundle comes from somebody else. Only members that have a name of this module are read, each within its bound.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from wsklab.common import files
from wsklab.common.text import quoted
from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.field.replay import recorded
from wsklab.orchestrator.field.search.minimising import plain
from wsklab.orchestrator.scenario import yaml_source
from wsklab.orchestrator.scenario.scenario import Scenario
from wsklab.qemu.recording import FILE

ABOUT, SCENARIO, MINIMAL = "bundle.json", "scenario.yaml", "minimal.yaml"

EVIDENCE = ("verdict.json", "observations.jsonl", "debug.txt", "wire.pcapng")
"""What of an evidence folder goes along, where it is there: what the verdict rests on, and nothing of the machines."""

RECORDING = tuple(
    f"{recorded.FOLDER}/{name}" for name in (recorded.MANIFEST, FILE, *(f"{line}.log" for line in recorded.LINES))
)
"""What `wsklab replay` plays, of a run with --record."""

Words = dict[str, str]


class Part(BaseModel):
    """A part of `bundle.json`; what a later version adds is passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class Rate(Part):
    """How often it failed."""

    failed: int = Field(ge=0)
    trials: int = Field(ge=0)

    def __str__(self) -> str:
        return f"{self.failed} of {self.trials}"


class Driver(Part):
    """Which driver failed."""

    profile: str
    sha256: str
    twin: str | None = None


class About(Part):
    """`bundle.json`."""

    schema_: Literal[1] = Field(1, alias="schema")
    scenario: str
    verdict: str
    reasons: list[str]
    seed: int
    repeat: int
    strict: bool = False
    verifier: str | None = None
    target: str
    target_version: str
    accelerator: str
    driver: Driver
    versions: Words
    images: Words
    """Disk of the target, and the recipes of both machines -> SHA-256."""
    rate: Rate
    """Of this scenario in its run."""

    def same(self, verdict: str, reasons: tuple[str, ...]) -> bool:
        """Whether a trial ended as this one did: the same verdict, and the first reason among its own."""
        wanted = {plain(reason) for reason in self.reasons[:1]}
        return verdict == self.verdict and wanted <= {plain(reason) for reason in reasons}

    def differences(self, other: About) -> list[str]:
        """Return what is not the same on another host, a clause each."""
        here, there = _facts(other), _facts(self)
        return [
            f"{name}: {here.get(name, 'none')} here, {there.get(name, 'none')} there"
            for name in sorted(here.keys() | there.keys())
            if here.get(name) != there.get(name)
        ]


def _facts(about: About) -> Words:
    versions = {f"version of {name}": value for name, value in about.versions.items()}
    pictures = {f"image: {name}": value[:12] for name, value in about.images.items()}
    return {
        **versions,
        **pictures,
        "target": f"{about.target} ({about.target_version})",
        "accelerator": about.accelerator,
        "driver": f"{about.driver.profile} {about.driver.sha256[:12]}",
    }


@dataclass(frozen=True)
class Bundle:
    """What of a bundle makes it again."""

    about: About
    scenario: Scenario
    minimised: bool
    recorded: bool = False


def write(path: Path, about: About, evidence: Path, minimal: Path | None) -> list[str]:
    """Write a bundle; returns the names of what is in it. Raises UsageError."""
    wanted: dict[str, Path] = {SCENARIO: evidence / SCENARIO}
    wanted |= {name: evidence / name for name in (*EVIDENCE, *RECORDING) if (evidence / name).exists()}
    if minimal is not None:
        wanted[MINIMAL] = minimal
    members: dict[str, bytes] = {ABOUT: (about.model_dump_json(indent=1, by_alias=True) + "\n").encode()}
    try:
        members |= {name: files.read_bytes(source, files.RESULT) for name, source in wanted.items()}
        with path.open("xb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
            for name, content in members.items():
                made.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)  # without the time: the same again
    except OSError as error:
        raise UsageError(f"{error.filename or path}: {files.why(error)}; the bundle is not made.") from None
    return list(members)


def is_bundle(path: Path) -> bool:
    """Whether a file looks like one."""
    try:
        with files.open_file(path, files.RESULT) as file:
            return file.read(4) == b"PK\x03\x04"
    except OSError:
        return False


def read(path: Path) -> Bundle:
    """Read a bundle. Raises UsageError."""
    try:
        with files.open_file(path, files.RESULT) as file, zipfile.ZipFile(file) as opened:
            names = set(opened.namelist())
            about = About.model_validate(json.loads(_member(opened, ABOUT)))
            name = MINIMAL if MINIMAL in names else SCENARIO
            text = _member(opened, name).decode("utf-8")
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise UsageError(f"{path}: {ABOUT}: {where}: {problem['msg']}.") from None
    except (OSError, ValueError, RecursionError, KeyError, NotImplementedError, RuntimeError, EOFError) as error:
        raise UsageError(f"{path}: is no bundle that can be read ({quoted(str(error))}).") from None
    except (zipfile.BadZipFile, zlib.error) as error:
        raise UsageError(f"{path}: is damaged ({quoted(str(error))}).") from None
    return Bundle(
        about, yaml_source.parse(text, Scenario, f"{path}: {name}"), name == MINIMAL, names.issuperset(RECORDING)
    )


def unpack_recording(path: Path, to: Path) -> None:
    """Write the recording of a bundle into a folder, as it was in the evidence. Raises UsageError."""
    try:
        with files.open_file(path, files.RESULT) as file, zipfile.ZipFile(file) as opened:
            if not set(opened.namelist()).issuperset(RECORDING):
                raise UsageError(f"{path}: holds no recording; one is made by `wsklab run SCENARIO --record`.")
            (to / recorded.FOLDER).mkdir()
            for name in RECORDING:
                with opened.open(name) as source, (to / name).open("wb") as made:
                    _copy(source, made, name)
    except (OSError, ValueError, NotImplementedError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UsageError(f"{path}: is damaged ({quoted(str(error))}).") from None


def _copy(source: IO[bytes], made: IO[bytes], name: str) -> None:
    left = files.RESULT
    while piece := source.read(1 << 20):
        left -= len(piece)
        if left < 0:
            raise ValueError(f"{name} is larger than {files.size(files.RESULT)}")
        made.write(piece)


def _member(opened: zipfile.ZipFile, name: str) -> bytes:
    """One text of a bundle; its length is bounded whatever the archive says of it."""
    with opened.open(name) as file:
        content = file.read(files.TEXT + 1)
    if len(content) > files.TEXT:
        raise ValueError(f"{name} is larger than {files.size(files.TEXT)}")
    return content


def about_of(head: Mapping[str, Mapping[str, object]], row: Mapping[str, object], rate: Rate, recipes: Words) -> About:
    """Return what is told of a row: `head` is the run's results. Raises UsageError."""
    run, target, driver = head["run"], head["target"], head["driver"]
    try:
        return About.model_validate(
            {
                "schema": 1,
                "scenario": row["name"],
                "verdict": row["verdict"],
                "reasons": list(row["reasons"]),  # type: ignore[call-overload]
                "seed": run["seed"],
                "repeat": row["repeat"],
                "strict": target.get("strict") is not None,
                "verifier": target.get("verifier"),
                "target": target["name"],
                "target_version": target["version"],
                "accelerator": run["accelerator"],
                "driver": driver,
                "versions": run.get("versions", {}),
                "images": {"target": target.get("image_sha256", ""), **recipes},
                "rate": rate,
            }
        )
    except (KeyError, TypeError, ValidationError):
        raise UsageError("the run's results lack what a bundle needs; they are of another version.") from None
