"""A recording of a target in an evidence folder: `recording/`, made by `run --record` and played by `wsklab replay`.

It holds QEMU's recording, what the serial lines said, and a manifest with all that must be the same for a replay: the
QEMU, the machine, the image it boots from. The driver is not named there: it reached the target over the recorded wire.
"""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from wsklab import images
from wsklab.common import files
from wsklab.common.strict import Strict
from wsklab.common.text import quoted
from wsklab.images.errors import ImageError
from wsklab.images.secure import sha256
from wsklab.images.store import Image, Store
from wsklab.orchestrator.errors import LabError, UsageError
from wsklab.orchestrator.lab.lab import COUNTS
from wsklab.qemu import accel, recording
from wsklab.qemu.logfile import LEFT_OUT
from wsklab.qemu.profile import ImageFiles, Profile, load_profile

FOLDER, MANIFEST = "recording", "manifest.json"

LINES = ("debug", "agent", "console")
"""The serial lines that are compared, by the names of their logs."""

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0, le=1 << 62)]


class BootedFrom(Strict):
    """The image of a recorded machine."""

    name: Literal["standin"]
    key: Annotated[str, Field(pattern="^[0-9a-f]{1,128}$")]
    files: dict[str, Sha256]
    kernel_args: Annotated[str, Field(pattern="^[ -~]{0,1000}$")]


class Manifest(Strict):
    """`manifest.json`."""

    schema_: Literal[1] = Field(alias="schema")
    scenario: str
    qemu: str
    shift: int
    profile: Profile
    image: BootedFrom
    sha256: Sha256
    """Of the recording."""
    size: Count
    """Bytes of the recording."""
    lines: dict[Literal["debug", "agent", "console"], Count]
    """Serial line -> bytes that it said."""
    stops: Annotated[list[tuple[Count, Count]], Field(max_length=1_000_000)]
    """Pairs: when the debug line had said no more than so many bytes, so many instructions had been executed."""
    cpu_s: float
    """CPU seconds of the recorded QEMU."""
    command: str
    """The command line of the recorded QEMU."""


def keep(machine: Path, evidence: Path, scenario: str, profile: Profile, image: Image, booted: ImageFiles) -> Manifest:
    """Move the recording of a machine that has ended, from its folder, into an evidence folder.

    Raises LabError when there is none that is whole, OSError.
    """
    source, folder = machine / recording.FILE, evidence / FOLDER
    try:
        counts = json.loads((machine / COUNTS).read_text(encoding="utf-8"))
        unfinished = not recording.whole(source)
    except (OSError, ValueError):
        unfinished = True
    if unfinished:
        raise LabError(f"the target's recording is not whole: its QEMU was killed; see {machine / 'qemu.stderr'}")
    if cut := next((line for line in LINES if LEFT_OUT in (machine / f"{line}.log").read_bytes()), None):
        raise LabError(
            f"the target's {cut} line said more than its log keeps, so a replay could not be compared with it"
        )
    folder.mkdir()
    for line in LINES:
        shutil.copyfile(machine / f"{line}.log", folder / f"{line}.log")
    shutil.copyfile(source, folder / recording.FILE)
    source.unlink()
    about = {
        "schema": 1,
        "scenario": scenario,
        "qemu": accel.qemu_version(),
        "shift": recording.SHIFT,
        "profile": profile.varied(""),
        "image": {
            "name": image.name,
            "key": image.key,
            "files": image.manifest.files,
            "kernel_args": booted.kernel_args,
        },
        "sha256": sha256(folder / recording.FILE),
        "size": (folder / recording.FILE).stat().st_size,
        "lines": {line: (folder / f"{line}.log").stat().st_size for line in LINES},
        "stops": counts["stops"],
        "cpu_s": counts["cpu_s"],
        "command": (machine / "command.txt").read_text(encoding="utf-8").partition("\n")[0],
    }
    manifest = Manifest.model_validate(about)
    (folder / MANIFEST).write_text(manifest.model_dump_json(indent=1, by_alias=True) + "\n", encoding="utf-8")
    return manifest


def read(evidence: Path) -> tuple[Path, Manifest]:
    """Return the folder of a recording, and its manifest; `evidence` may be the folder itself. Raises UsageError."""
    folder = evidence if (evidence / MANIFEST).exists() else evidence / FOLDER
    path = folder / MANIFEST
    try:
        return folder, Manifest.model_validate(files.read_json(path, files.RESULT))
    except FileNotFoundError:
        raise UsageError(
            f"{evidence}: holds no recording; make one with `wsklab run SCENARIO --record`, and name its evidence "
            "folder."
        ) from None
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise UsageError(f"{path}: {quoted(where)}: {quoted(str(problem['msg']))}.") from None
    except (OSError, ValueError) as error:
        why = files.why(error) if isinstance(error, OSError) else "it is not JSON"
        raise UsageError(f"{path}: cannot be read: {why}.") from None


def check(folder: Path, manifest: Manifest) -> Image:
    """See that a recording can be played here; returns the image that it boots from. Raises UsageError."""
    path = folder / recording.FILE
    try:
        size = path.stat().st_size
        if size != manifest.size:
            raise UsageError(
                f"{path}: has {size} bytes, and had {manifest.size} when it was made: it is cut or damaged."
            )
        if sha256(path) != manifest.sha256:
            raise UsageError(f"{path}: is not as it was made (SHA-256 differs): it is damaged, and cannot be played.")
    except OSError as error:
        raise UsageError(f"{path}: {files.why(error)}; without it there is nothing to play.") from None
    if not recording.available():
        raise UsageError(recording.UNAVAILABLE)
    if (here := accel.qemu_version()) != manifest.qemu or manifest.shift != recording.SHIFT:
        raise UsageError(
            f"{folder}: was recorded with QEMU {manifest.qemu}, and here is {here}: no other plays it, as the file's "
            "form and every count of instructions are of that build."
        )
    if manifest.profile != load_profile(manifest.image.name).varied(""):
        raise UsageError(
            f"{folder}: was recorded by another version of wsklab, whose {manifest.image.name} was another machine."
        )
    found = next((image for image in images.listing() if image.key == manifest.image.key), None)
    if found is None:
        raise UsageError(
            f"{folder}: boots from the image {manifest.image.name} {manifest.image.key[:12]}, which is not in this "
            "store (`wsklab image list`); copy its folder, "
            f"{images.cache_folder() / 'images' / manifest.image.key}, from the host that has it."
        )
    store = Store(images.cache_folder())
    store.hold(found)
    try:
        store.check(found)
    except ImageError as error:
        raise UsageError(str(error)) from None
    if dict(found.manifest.files) != manifest.image.files:
        raise UsageError(f"{folder}: boots from other files than those of the image {found.key[:12]} in this store.")
    return found


def words(manifest: Manifest) -> str:
    """Return what a manifest tells, for people."""
    bytes_said = ", ".join(f"{line} {count}" for line, count in manifest.lines.items())
    return (
        f"{manifest.scenario}: {manifest.size / 1e6:.1f} MB, QEMU {shlex.split(manifest.qemu)[0]}, "
        f"{instructions(manifest) / 1e6:.0f} million instructions; bytes said: {bytes_said}"
    )


def instructions(manifest: Manifest) -> int:
    """Return how many had been executed at the last look."""
    return manifest.stops[-1][1] if manifest.stops else 0


def line_of(folder: Path, wanted: str, number: int) -> tuple[int, str, int]:
    """Return where the debug line says `wanted` for the `number`-th time: where that line begins, it, and how often.

    Raises UsageError.
    """
    text = said(folder, "debug")
    where, begin = [], 0
    for line in text.split(b"\n"):
        if wanted.encode() in line:
            where.append((begin, line.decode(errors="replace").strip()))
        begin += len(line) + 1
    if not where:
        raise UsageError(
            f"{folder / 'debug.log'}: no line holds '{quoted(wanted)}'; these are the words that the driver said."
        )
    if number > len(where):
        raise UsageError(f"{folder / 'debug.log'}: '{quoted(wanted)}' is said {len(where)} times only.")
    return (*where[number - 1], len(where))


def said(folder: Path, line: str) -> bytes:
    """Return what a serial line said when it was recorded. Raises UsageError."""
    path = folder / f"{line}.log"
    try:
        return files.read_bytes(path, files.RESULT)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {files.why(error)}; it is a part of the recording.") from None
