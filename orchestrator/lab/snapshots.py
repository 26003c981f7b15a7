"""Kept snapshots of ready labs: `<cache>/snapshots/<key>/`, so that a run need not boot what an earlier one booted.

The key covers everything that a saved machine depends on; what does not fit any more has another key and is never
even looked at. A folder is published by one rename and never written again. Each lab gets copies of its disks, and
each copy is hashed: a machine starts from the bytes that were saved, or not from them at all. The oldest go first.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wsklab.images.secure import require_own_folder, sha256
from wsklab.orchestrator.errors import LabError
from wsklab.qemu.disks import OVERLAY, VARIABLES

FORMAT = 2
"""Counts up when what a snapshot holds, or what is done after its restore, changes."""

TAG = "ready"
"""The name of the snapshot inside a machine's overlay."""

BARE = "bare"
"""The same for a target with no driver loaded; a lab makes it for itself."""

MACHINES = ("target", "peer")
DISKS = OVERLAY, VARIABLES
"""The files that a machine writes to, in its folder."""

NEWEST = 8
ROOM = 24 << 30
"""Bytes for all of them: Windows has 4 GiB of memory, and changes half as much again on its disk."""

_MANIFEST = "manifest.json"


def key_of(ingredients: Mapping[str, str]) -> str:
    """Return the key of a snapshot made from these: images, driver, profiles, QEMU, accelerator."""
    return hashlib.sha256(json.dumps({"format": FORMAT, **ingredients}, sort_keys=True).encode()).hexdigest()


class Unfit(LabError):
    """A kept snapshot cannot be used; the message says why."""


@dataclass(frozen=True)
class Kept:
    """A published snapshot of a lab: one overlay for each machine, and the SHA-256 of every disk by its file's name."""

    folder: Path
    hashes: Mapping[str, str] = field(default_factory=dict)

    def overlay(self, machine: str) -> Path:
        """Return the disk of `machine`, with the snapshot `TAG` in it. Only ever copied."""
        return self.folder / kept_name(machine, OVERLAY)

    def disks(self, machine: str) -> dict[str, Path]:
        """By the names that a machine's folder has for them: the overlay, and UEFI variables where it has any."""
        found = {name: self.folder / kept_name(machine, name) for name in DISKS}
        return {name: path for name, path in found.items() if name == OVERLAY or path.exists()}

    def copy(self, machine: str, folder: Path) -> None:
        """Give `machine`, whose folder this is, its disks. Raises Unfit when one is not as it was saved."""
        for name, disk in self.disks(machine).items():
            copy(disk, folder / name)
            if sha256(folder / name) != self.hashes.get(disk.name):
                (folder / name).unlink()
                raise Unfit(f"its disk {disk} is not as it was saved (SHA-256 differs)")

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(path.stat().st_blocks * 512 for path in self.folder.iterdir())


class Snapshots:
    """The kept snapshots under one cache folder."""

    def __init__(self, cache: Path, newest: int = NEWEST, room: int = ROOM) -> None:
        self.folder = cache / "snapshots"
        self._newest = newest
        self._room = room
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        require_own_folder(self.folder)

    def find(self, key: str) -> Kept | None:
        """Return the snapshot of this key, if one is kept.

        Raises Unfit when it is not whole; its disks are not read yet.
        """
        kept = Kept(self.folder / key)
        if not kept.folder.exists():
            return None
        try:
            manifest: Any = json.loads((kept.folder / _MANIFEST).read_text())
            hashes = dict(manifest["hashes"])
            intact = manifest["key"] == key and set(hashes) == {disk.name for disk in _disks(kept)}
        except (OSError, ValueError, KeyError, TypeError):
            intact = False
        if not intact:
            raise Unfit("it is not as it was saved")
        os.utime(kept.folder)  # used now: others go before it
        return Kept(kept.folder, hashes)

    def listing(self) -> list[Kept]:
        """All of them, the last used first."""
        found = []
        for path in self.folder.iterdir():
            with suppress(OSError):
                if path.is_dir() and path.suffix != ".partial":
                    found.append((path.stat().st_mtime_ns, path.name, Kept(path)))
        return [kept for _, _, kept in sorted(found, key=lambda entry: entry[:2], reverse=True)]

    def remove(self, key: str) -> None:
        """Delete one. A copy that is being made of it is complete or fails, as its files are open or not."""
        (self.folder / key / _MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(self.folder / key, ignore_errors=True)

    @contextmanager
    def saving(self, key: str) -> Iterator[Path | None]:
        """Be the only one who saves this key: yields an empty folder, or None while another process saves it."""
        partial = self.folder / f"{key}.partial"
        partial.mkdir(mode=0o700, exist_ok=True)
        with held_folder(partial) as held:
            if not held:
                yield None
                return
            for left in partial.iterdir():  # by a process that was killed
                left.unlink()
            try:
                yield partial
            finally:
                shutil.rmtree(partial, ignore_errors=True)

    def publish(self, partial: Path, key: str, ingredients: Mapping[str, str]) -> Kept:
        """Make a folder with every machine's overlay the snapshot of `key`, then delete what exceeds the limits."""
        hashes = {disk.name: sha256(disk) for disk in _disks(Kept(partial))}
        manifest = {"key": key, "format": FORMAT, "ingredients": dict(ingredients), "hashes": hashes}
        (partial / _MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
        self.remove(key)
        partial.rename(self.folder / key)
        os.utime(self.folder / key)
        self.prune()
        return Kept(self.folder / key, hashes)

    def prune(self) -> None:
        """Keep the newest, as many as the limits allow; the very newest stays whatever its size.

        What a process left that was killed while it saved goes, too.
        """
        for partial in self.folder.glob("*.partial"):
            with held_folder(partial) as held:
                if held:
                    shutil.rmtree(partial, ignore_errors=True)
        for lock in self.folder.glob("*.lock"):  # 0.1.0 had one for each key, and kept it
            lock.unlink(missing_ok=True)
        used = 0
        for place, kept in enumerate(self.listing()):
            with suppress(OSError):
                used += kept.size
            if place and (place >= self._newest or used > self._room):
                self.remove(kept.folder.name)


@contextmanager
def held_folder(folder: Path) -> Iterator[bool]:
    """Lock a folder that is being made, with no file beside it that would stay.

    Yields False if another process has it, or has moved it.
    """
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        yield False
        return
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            held = os.path.samestat(os.fstat(handle), folder.stat())
        except (BlockingIOError, FileNotFoundError):
            held = False
        yield held
    finally:
        os.close(handle)


def kept_name(machine: str, disk: str) -> str:
    """Return what a disk of a machine's folder is called among those of all machines."""
    return f"{machine}.qcow2" if disk == OVERLAY else f"{machine}-{disk}"


def copy(source: Path, to: Path) -> None:
    """Copy a disk, sharing its blocks where the file system can. Raises Unfit."""
    made = subprocess.run(["cp", "--reflink=auto", "--", str(source), str(to)], capture_output=True, text=True)
    if made.returncode:
        to.unlink(missing_ok=True)
        raise Unfit(f"its disk cannot be copied: {made.stderr.strip()}")


def _disks(kept: Kept) -> list[Path]:
    """Every disk of the snapshot; those that are not there fail where they are read or compared."""
    return [disk for machine in MACHINES for disk in kept.disks(machine).values() if disk.exists()]
