"""Builds in the cache: each is compared, whenever it is used, with the hashes with which it left the linker.

Whoever builds holds the lock of the cache's folder of drivers together with all others who do (flock(2), which ends
with its process however it dies); who has it alone knows that what is half made belongs to nobody any more.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import DriverError

HASHES = "hashes.json"
"""In the folder of a build: SHA-256 of each file in it, as it left the linker."""

_LOCK = "lock"
_BUILDING, _DAMAGED = ".building-", ".damaged-"
"""How folders begin in which somebody works, or from which somebody removes a build."""


def read_checked(path: Path, sha256: str) -> bytes:
    """Return the bytes of a file whose hash is known.

    Raises:
        DriverError: the file cannot be read, or has another hash.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DriverError(f"{path} cannot be read ({error.strerror}): run the command again.") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise DriverError(
            f"{path} is not what it was when this run began (SHA-256 differs): run the command again; "
            "what the lab has built itself is then built anew."
        )
    return content


def require_own(drivers: Path) -> None:
    """Refuse drivers that somebody else could have put there, hashes and all.

    Raises:
        DriverError: the folder is another user's, or everybody's.
    """
    if drivers.exists() and ((status := drivers.stat()).st_mode & stat.S_IWOTH or status.st_uid != os.geteuid()):
        raise DriverError(
            f"{drivers} is writable by everybody, or is not yours, so nothing in it is run: remove it, or "
            "set WSKLAB_CACHE to a folder of your own."
        )


def checked(build: Path, outputs: Sequence[str], progress: Callable[[str], None] | None) -> dict[str, str] | None:
    """Return the hashes of a kept build that is as it was made; None when there is none, or none any more.

    `outputs` are its files, relative to its folder; the first is what is loaded.
    """
    if not build.exists():
        return None
    damaged = build / outputs[0]
    try:
        made = json.loads((build / HASHES).read_text())
        found = _hashes(build, outputs)
        if found == made:
            return found
        damaged = next((build / name for name in found if found[name] != made[name]), damaged)
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not whole
    if progress:
        progress(f"{damaged} is not as it was built (SHA-256 differs), so it is built again")
    with _working(build.parent, _DAMAGED) as away, suppress(FileNotFoundError):
        build.rename(away / build.name)  # gone at once for everybody else, too
    return None


@contextmanager
def workplace(drivers: Path) -> Iterator[Path]:
    """Yield a folder of its own for a build, which goes at the end; what is to stay is published before."""
    drivers.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _working(drivers, _BUILDING) as work:
        yield work


def publish(made: Path, build: Path, outputs: Sequence[str]) -> dict[str, str]:
    """Move a finished build to its place in one step, and return its hashes.

    Another process may have been quicker with the same bytes.
    """
    hashes = _hashes(made, outputs)
    (made / HASHES).write_text(json.dumps(hashes, indent=1) + "\n")
    try:
        made.rename(build)
    except OSError:
        if not build.is_dir():
            raise
    return hashes


def left_behind(drivers: Path) -> Iterator[Path]:
    """Yield, for removal, what builds that were killed have left; nothing while anybody builds."""
    if not drivers.is_dir():
        return
    with (drivers / _LOCK).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        for begin in (_BUILDING, _DAMAGED):
            yield from drivers.glob(f"{begin}*")


@contextmanager
def _working(drivers: Path, begin: str) -> Iterator[Path]:
    with (drivers / _LOCK).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        work = Path(tempfile.mkdtemp(dir=drivers, prefix=begin))
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)


def _hashes(folder: Path, outputs: Sequence[str]) -> dict[str, str]:
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in outputs}
