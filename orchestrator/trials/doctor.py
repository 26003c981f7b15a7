"""What works on this host, what does not, and what to do about it. Looks only; a target is examined by booting it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from wsklab import images
from wsklab.common.errors import UsageError
from wsklab.images import tools
from wsklab.images.errors import ImageError
from wsklab.orchestrator.errors import ALL_PASS, NOT_PROVEN
from wsklab.orchestrator.run.evidence import NEEDED_FREE
from wsklab.orchestrator.trials import host_packages
from wsklab.orchestrator.trials.host_packages import Purpose
from wsklab.qemu import accel, firmware
from wsklab.qemu.confinement import Confinement, confinement
from wsklab.qemu.errors import MachineError

Verdict = Literal["ok", "warn", "fail"]

OLDEST_QEMU = (7, 2)
"""What every machine here has been run with."""

ROOMY = 8 << 30
"""Bytes of disk for images, snapshots, and the evidence of many runs."""

_PURPOSES: tuple[tuple[Purpose, Verdict, str], ...] = (
    ("run", "fail", "commands and files"),
    ("windows", "warn", "commands for Windows"),
    ("view", "warn", "screens in the browser"),
    ("test", "warn", "commands for tests"),
)

STANDIN_MEMORY = 1200 << 20
"""Bytes that the stand-in, the peer and we need at once."""

WINDOWS_MEMORY = 5 << 30
"""The same with Windows as the target."""


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `next` says what to do where the verdict is not ok."""

    what: str
    verdict: Verdict
    detail: str
    next: str = ""


def host(cache: Path, folder: Path) -> Iterator[Finding]:
    """Everything about this host; `folder` is where runs would be kept."""
    yield qemu(accel.qemu_version)
    yield confined(os.geteuid(), confinement("tcg"), confinement("kvm"))
    yield from commands(tools.find)
    yield uefi()
    yield acceleration(cache)
    for name, path in (("disk of the cache", cache), ("disk of the runs", folder)):
        yield disk(name, path, shutil.disk_usage(_existing(path)).free)
    yield memory(Path("/proc/meminfo").read_text())
    yield stored()


def qemu(version: Callable[[], str]) -> Finding:
    try:
        said = version()
    except MachineError as error:
        return Finding("QEMU", "fail", str(error), "apt-get install qemu-system-x86")
    try:
        number = tuple(int(part) for part in said.split(maxsplit=1)[0].split(".")[:2])
    except (ValueError, IndexError):
        return Finding(
            "QEMU",
            "warn",
            f"its version is not understood: {said!r}",
            f"{'.'.join(map(str, OLDEST_QEMU))} or newer is wanted",
        )
    if number < OLDEST_QEMU:
        return Finding("QEMU", "fail", said, f"install {'.'.join(map(str, OLDEST_QEMU))} or newer")
    return Finding("QEMU", "ok", said)


def confined(user: int, tcg: Confinement, kvm: Confinement) -> Finding:
    """As whom QEMU runs its guests."""
    if user != 0:
        return Finding("user of QEMU", "ok", "you, with no way to more privileges")
    if kvm.user is not None:
        return Finding("user of QEMU", "ok", f"{kvm.user}, without files or capabilities of its own")
    if tcg.user is not None:
        return Finding(
            "user of QEMU",
            "warn",
            f"{tcg.user}, but under KVM root, without capabilities",
            "chgrp kvm /dev/kvm && chmod 660 /dev/kvm; or run the lab as another user than root",
        )
    return Finding(
        "user of QEMU", "warn", "root, without capabilities", "run the lab as another user than root (docs/images.md)"
    )


def commands(which: Callable[[str], str | None]) -> Iterator[Finding]:
    """Tell what is missing: one finding each for what anything needs, for Windows targets, and for the tests."""
    for purpose, verdict, what in _PURPOSES:
        missing = host_packages.missing(purpose, which)
        if missing:
            names = ", ".join(need.any_of[0] for need in missing)
            packages = " ".join(sorted({need.debian for need in missing}))
            yield Finding(what, verdict, f"missing: {names}", f"apt-get install {packages}")
        else:
            yield Finding(what, "ok", "all there")


def uefi() -> Finding:
    try:
        found = firmware.find()
    except MachineError as error:
        return Finding("firmware", "warn", str(error), "apt-get install ovmf; Windows targets need it")
    missing = [str(path) for path in (found.code, found.variables) if not path.exists()]
    if missing:
        return Finding(
            "firmware",
            "warn",
            f"described, but not there: {', '.join(missing)}",
            "apt-get install --reinstall ovmf; Windows targets need it",
        )
    return Finding("firmware", "ok", str(found.code))


def acceleration(cache: Path) -> Finding:
    """Try the accelerator with a guest: a KVM that opens may still not carry one through its boot."""
    try:
        peers = [image for image in images.listing() if image.name == "peer"]
    except (ImageError, OSError):
        return Finding("accelerator", "warn", "not tried: the images are not to be trusted", "see `images` below")
    if not peers:
        return Finding("accelerator", "warn", "not tried: no image to boot yet", "run `wsklab image build peer`")
    try:
        choice = accel.choose(peers[-1].kernel, peers[-1].initrd, cache)
    except UsageError as error:
        return Finding("accelerator", "fail", str(error), "set WSKLAB_ACCEL to kvm or tcg, or not at all")
    except (MachineError, OSError) as error:
        return Finding("accelerator", "fail", f"not tried: {error}", "see to QEMU first")
    if choice.name == "kvm":
        return Finding("accelerator", "ok", f"KVM: {choice.reason}")
    return Finding(
        "accelerator",
        "warn",
        f"TCG: {choice.reason}",
        "everything works, about ten times slower; for KVM, a host with /dev/kvm open to you and working "
        "nested virtualisation if it is itself a guest",
    )


def disk(what: str, path: Path, free: int) -> Finding:
    detail = f"{free >> 20} MiB free at {path}"
    if free < NEEDED_FREE:
        return Finding(what, "fail", detail, f"make room: {NEEDED_FREE >> 20} MiB are needed")
    if free < ROOMY:
        return Finding(what, "warn", detail, f"{ROOMY >> 30} GiB hold images, snapshots and many runs")
    return Finding(what, "ok", detail)


def memory(meminfo: str) -> Finding:
    """`meminfo` is /proc/meminfo."""
    words = next((line.split() for line in meminfo.splitlines() if line.startswith("MemAvailable:")), ["", ""])
    if not words[1].isdigit():
        return Finding("memory", "warn", "/proc/meminfo does not say what is available", "1.2 GiB are needed")
    free = int(words[1]) << 10
    detail = f"{free >> 20} MiB available"
    if free < STANDIN_MEMORY:
        return Finding("memory", "fail", detail, f"free some: the lab needs {STANDIN_MEMORY >> 20} MiB")
    if free < WINDOWS_MEMORY:
        return Finding("memory", "warn", detail, f"enough for the stand-in; Windows needs {WINDOWS_MEMORY >> 20} MiB")
    return Finding("memory", "ok", detail)


def stored() -> Finding:
    try:
        found = images.listing()
    except ImageError as error:
        detail, _, advice = str(error).partition("; ")
        return Finding("images", "fail", detail, advice)
    except OSError as error:
        return Finding("images", "fail", str(error), "remove the cache's folder; images are built anew")
    missing = {"peer", "standin"} - {image.name for image in found}
    detail = ", ".join(f"{image.name} {image.manifest.size_bytes >> 20} MiB" for image in found) or "none"
    if missing:
        return Finding(
            "images",
            "warn",
            detail,
            f"`wsklab image build {' '.join(sorted(missing))}`, or the first run, "
            "makes what is missing (about two minutes)",
        )
    return Finding("images", "ok", detail)


def exit_code(findings: Sequence[Finding]) -> int:
    return NOT_PROVEN if any(finding.verdict == "fail" for finding in findings) else ALL_PASS


def as_document(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    return [asdict(finding) for finding in findings]


def _existing(path: Path) -> Path:
    """Return the folder itself, or the nearest above that is there."""
    return next((one for one in (path, *path.absolute().parents) if one.exists()), Path("/"))
