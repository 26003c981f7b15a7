"""Makes the files that QEMU starts a Linux guest from: the disk and the initial RAM disk."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from wsklab.images import tools
from wsklab.images.cpio import Archive
from wsklab.images.errors import ImageError

_TOOLS = ("insmod", "mount", "poweroff", "switch_root", "umount")
"""What `guest/initrd.sh` calls of BusyBox."""


def initial_ram_disk(busybox: bytes, script: bytes, modules: Sequence[Path]) -> bytes:
    """Make an uncompressed initial RAM disk: BusyBox, the script as /init, kernel modules in the order of loading."""
    archive = Archive()
    for folder in ("bin", "dev", "modules", "proc", "root"):
        archive.folder(folder)
    archive.character_device("dev/console", 5, 1)
    archive.file("bin/busybox", busybox, 0o755)
    for tool in _TOOLS:
        archive.link(f"bin/{tool}", "busybox")
    archive.file("init", script, 0o755)
    for module in modules:
        archive.file(f"modules/{module.name}", module.read_bytes())
    archive.file("modules/order", "".join(f"/modules/{module.name}\n" for module in modules).encode())
    return archive.finish()


def ext4_disk(tree: Path, disk: Path, megabytes: int) -> None:
    """Make a qcow2 disk with one ext4 file system of a folder's content, everything owned by root.

    No journal: a run writes to an overlay that is thrown away. Raises ImageError.
    """
    raw = disk.with_suffix(".raw")
    # fakeroot shows the caller's files as root's; root needs no such help.
    as_root = [] if os.geteuid() == 0 else [tools.need("fakeroot", "fakeroot")]
    _run([*as_root, tools.need("mke2fs", "e2fsprogs"), "-q", "-t", "ext4", "-O", "^has_journal", "-E", "root_owner=0:0",
          "-m", "0", "-d", str(tree), str(raw), f"{megabytes}M"])  # fmt: skip
    _run([tools.need("qemu-img", "qemu-utils"), "convert", "-q", "-f", "raw", "-O", "qcow2", str(raw), str(disk)])
    raw.unlink()


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ImageError(f"`{' '.join(command)}` failed: {done.stderr.strip()}")
