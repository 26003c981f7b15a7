"""The files that a machine writes to: an overlay over its image's disk, and UEFI variables of its own."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from wsklab.qemu import firmware
from wsklab.qemu.errors import MachineError
from wsklab.qemu.profile import ImageFiles, Profile

OVERLAY, VARIABLES = "overlay.qcow2", "variables.qcow2"
"""Their names in a machine's folder."""


def make_disks(files: ImageFiles, folder: Path, profile: Profile) -> None:
    """Make a fresh overlay and fresh UEFI variables, with no TPM state of an earlier run. Raises MachineError.

    An image's own variables have no keys of Secure Boot.
    """
    create_overlay(files.disk, folder / OVERLAY)
    if profile.firmware == "ovmf":
        secure = profile.variant.secure_boot
        template = (not secure and files.variables) or firmware.find(secure=secure).variables
        firmware.make_variables(template, folder / VARIABLES)
    shutil.rmtree(folder / "tpm", ignore_errors=True)


def create_overlay(base: Path | None, overlay: Path) -> None:
    """Make a qcow2 file over `base`; without a base an empty one, whose only use is to hold snapshots.

    Raises MachineError.
    """
    backing = ["64M"] if base is None else []
    source = [] if base is None else ["-b", str(base.resolve()), "-F", "qcow2"]
    made = subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", *source, str(overlay), *backing], capture_output=True, text=True
    )
    if made.returncode:
        raise MachineError(f"cannot make the disk {overlay}: {made.stderr.strip()}")
