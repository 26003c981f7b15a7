"""Which UEFI firmware this host has, and the variables in which it keeps its boot entries.

Distributions describe their firmware in JSON files (QEMU's docs/interop/firmware.json), so that nobody has to know
where they keep it. Wanted is one without Secure Boot (Windows refuses test signing under it) and without SMM; or, for
production-signed drivers, one with both and with Microsoft's keys.
"""

import json
import os
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsklab.qemu.errors import MachineError

_MACHINE = "pc-q35-*"
_SECURE = {"requires-smm", "secure-boot", "enrolled-keys"}


@dataclass(frozen=True)
class Uefi:
    """A UEFI firmware: its code, and a file of variables (for a machine: its own copy, qcow2)."""

    code: Path
    variables: Path
    secure: bool = False


def folders(home: Path, config_home: str | None = None) -> list[Path]:
    """Where descriptions are looked for, the most important first."""
    own = Path(config_home) if config_home else home / ".config"
    return [own / "qemu/firmware", Path("/etc/qemu/firmware"), Path("/usr/share/qemu/firmware")]


def find(where: Sequence[Path] | None = None, secure: bool = False) -> Uefi:
    """Return the UEFI firmware to use, with its variables (raw): empty, or with Microsoft's keys for Secure Boot.

    Raises MachineError when there is none.
    """
    searched = folders(Path.home(), os.environ.get("XDG_CONFIG_HOME")) if where is None else where
    if chosen := choose(_descriptions(searched), secure):
        return chosen
    kind = "with Secure Boot and Microsoft's keys" if secure else "without Secure Boot"
    raise MachineError(f"there is no UEFI firmware {kind} for QEMU here; run `apt-get install ovmf`")


def choose(descriptions: Iterable[Any], secure: bool = False) -> Uefi | None:
    """Return the first description that fits; what is not a description at all is passed over."""
    for description in descriptions:
        try:
            machines = {m for t in description["targets"] if t["architecture"] == "x86_64" for m in t["machines"]}
            mapping = description["mapping"]
            if (
                "uefi" in description["interface-types"]
                and _MACHINE in machines
                and _SECURE & set(description["features"]) == (_SECURE if secure else set())
                and mapping["device"] == "flash"
                and mapping["executable"]["format"] == mapping["nvram-template"]["format"] == "raw"
            ):
                code, variables = mapping["executable"]["filename"], mapping["nvram-template"]["filename"]
                return Uefi(Path(code), Path(variables), secure)
        except (KeyError, TypeError):
            continue
    return None


def make_variables(source: Path, target: Path) -> None:
    """Copy variables (raw or qcow2) into a qcow2 file: a snapshot needs a format that can hold one."""
    copied = subprocess.run(
        ["qemu-img", "convert", "-q", "-O", "qcow2", str(source), str(target)], capture_output=True, text=True
    )
    if copied.returncode:
        raise MachineError(f"cannot make the UEFI variables {target}: {copied.stderr.strip()}")


def _descriptions(where: Sequence[Path]) -> list[Any]:
    """All descriptions in the order of their names; a file hides those of its name in later folders."""
    files: dict[str, Path] = {}
    for folder in where:
        for file in folder.glob("*.json"):
            files.setdefault(file.name, file)
    found = []
    for name in sorted(files):
        try:
            found.append(json.loads(files[name].read_text()))
        except (OSError, ValueError):
            continue  # empty or damaged: this is how an administrator masks one
    return found
