"""What dead processes left behind is removed at the next start: the labs' disks, and what was half made in the cache.

Who is alive holds a lock (flock(2), which ends with its process however it dies); nothing is judged by its age.
A run's folder may be anywhere, so each is noted in `<cache>/runs/` while its process lives.
"""

from __future__ import annotations

import atexit
import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

from wsklab.drivers import kept
from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.lab.snapshots import DISKS, MACHINES, Snapshots, held_folder

LOCK = ".lock"
"""In a run's folder: held by the process that works there."""


_KEY = re.compile("[0-9a-f]{64}")
"""How an image's folder is called."""


class Lease:
    """A run's folder while a process works in it."""

    def __init__(self, folder: Path, cache: Path) -> None:
        """Take the folder. Raises UsageError when another process works there, and OSError."""
        self._folder = folder.absolute()
        self._lock = (folder / LOCK).open("a")
        if not _lock(self._lock):
            self._lock.close()
            raise UsageError(f"{folder}: another run works there; name another folder with --out.")
        self._note = cache / "runs" / hashlib.sha256(os.fsencode(self._folder)).hexdigest()[:16]
        self._note.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._note.write_bytes(os.fsencode(self._folder))
        atexit.register(self.end)

    def end(self) -> None:
        """Note that the process has done its work: no disk of a lab stays."""
        atexit.unregister(self.end)
        with suppress(OSError):
            if os.path.samestat(os.fstat(self._lock.fileno()), (self._folder / LOCK).stat()):  # else it is another's
                clear(self._folder)
                (self._folder / LOCK).unlink()
                self._note.unlink()
        self._lock.close()


def alive(folder: Path) -> bool:
    """Whether a process works in this run's folder."""
    try:
        with (folder / LOCK).open("a" if os.access(folder / LOCK, os.W_OK) else "r") as lock:
            return not _lock(lock)
    except OSError:
        return False


def clear(folder: Path) -> int:
    """Remove the disks of a run's labs, which are no evidence; returns the bytes that this frees."""
    disks = [path for name in MACHINES for disk in DISKS for path in folder.glob(f"lab-*/{name}/{disk}")]
    freed = 0
    for path in (*disks, *folder.glob(".*.[0-9]*")):
        with suppress(OSError):
            freed += _remove(path)
    return freed


def tidy(cache: Path) -> Iterator[str]:
    """Remove what the dead left; yields a sentence on each thing that was of any size."""
    for what, freed in (
        ("a run that was killed left the disks of its labs", _runs(cache / "runs")),
        ("half-made images were left by builders that were killed", _images(cache / "images")),
        ("half-made drivers were left by builds that were killed", _drivers(cache / "drivers")),
        ("half-kept snapshots were left by runs that were killed", _snapshots(cache)),
    ):
        if freed:
            yield f"removed: {what} ({max(1, freed >> 20)} MiB)"


def _runs(notes: Path) -> int:
    freed = 0
    for note in notes.glob("*"):
        with suppress(OSError):
            folder = Path(os.fsdecode(note.read_bytes()))
            try:
                lock = (folder / LOCK).open("r")
            except FileNotFoundError:  # moved or removed; nothing is known of what is there now
                note.unlink()
                continue
            with lock:
                if _lock(lock):
                    freed += clear(folder)
                    note.unlink()
                    (folder / LOCK).unlink()
    return freed


def _images(images: Path) -> int:
    """Partial images and unpacked guests whose builder is gone, and folders that hold no image any more."""
    freed = 0
    for folder in [path for path in images.glob("*") if path.is_dir()]:
        with suppress(OSError), ExitStack() as stack:
            if folder.suffix == ".partial":
                ours = stack.enter_context(_locked(images / f"{folder.stem}.lock"))
            elif folder.name.startswith("mmdebstrap."):  # of any builder, so that all of them must be gone
                ours = all(stack.enter_context(_locked(lock)) for lock in images.glob("*.lock"))
            else:
                ours = bool(_KEY.fullmatch(folder.name)) and not _readable(folder / "manifest.json")
            freed += _remove(folder) if ours else 0
    return freed


def _readable(manifest: Path) -> bool:
    """Whether a manifest says what its image is, to this version or to another. Who is alive keeps even a damaged one.

    An image is published with it by one rename, and loses it first when it is removed.
    """
    try:
        with manifest.open("rb") as file:
            if isinstance(json.load(file), dict):
                return True
            return not _lock(file)
    except FileNotFoundError:
        return False
    except ValueError:
        with manifest.open("rb") as file:
            return not _lock(file)


def _drivers(drivers: Path) -> int:
    freed = 0
    with suppress(OSError):
        for folder in kept.left_behind(drivers):
            freed += _remove(folder)
    return freed


def _snapshots(cache: Path) -> int:
    snapshots = Snapshots(cache)
    freed = 0
    for folder in [path for path in snapshots.folder.glob("*") if path.is_dir()]:
        with suppress(OSError), held_folder(folder) as ours:
            if ours and (folder.suffix == ".partial" or not (folder / "manifest.json").exists()):
                freed += _remove(folder)
    return freed


@contextmanager
def _locked(path: Path) -> Iterator[bool]:
    with path.open("a") as lock:
        yield _lock(lock)


def _lock(file: IO[str] | IO[bytes]) -> bool:
    """Take the lock if nobody has it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove(path: Path) -> int:
    """Remove a file or a folder; returns the bytes that were on disk."""
    paths = [path, *path.rglob("*")] if path.is_dir() else [path]
    size = 0
    for each in paths:
        with suppress(OSError):
            size += each.lstat().st_blocks * 512
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
    return size
