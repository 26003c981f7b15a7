"""Files by their SHA-256, in a store that fsspec reads (a folder, http, s3, gs, abfs), and a worker's own copies.

A file is `sha256/ab/cdef…` in the store and in the cache. What comes out of the store is hashed while it is read; it is
fetched once, however many labs of a worker want it at the same moment. Nothing here needs a shared file system.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from wsklab.images.secure import sha256
from wsklab.orchestrator.errors import LabError, UsageError

PIECE = 4 << 20
"""Bytes that are read at once."""

READ_ONLY = ("http", "https")


class StoreError(LabError):
    """The store does not give or take what it should; the message says what."""


class Store:
    """A place for files by content, named by a URL; credentials are where fsspec's libraries look for them."""

    def __init__(self, url: str) -> None:
        """Open it. Raises UsageError for what fsspec cannot read."""
        import fsspec

        self.url = url
        try:
            self._files, self._root = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError) as error:
            raise UsageError(f"the store {hidden(url)} cannot be used: {error}") from None
        protocols = self._files.protocol
        names = (protocols,) if isinstance(protocols, str) else tuple(protocols)
        self.writable = not set(names) & set(READ_ONLY)

    def _place(self, digest: str) -> str:
        return f"{self._root.rstrip('/')}/sha256/{digest[:2]}/{digest[2:]}"

    def has(self, digest: str) -> bool:
        """Whether a file is there. Raises StoreError."""
        with self._told():
            return bool(self._files.exists(self._place(digest)))

    def put(self, path: Path) -> str:
        """Put a file in, unless it is there; returns its digest. Raises StoreError."""
        digest = sha256(path)
        place = self._place(digest)
        with self._told():
            if self._files.exists(place):
                return digest
            self._files.makedirs(place.rpartition("/")[0], exist_ok=True)
            beside = f"{place}.{uuid.uuid4().hex[:8]}"
            try:  # a folder shows files that grow; a rename there is at once, and elsewhere it is a copy of a whole one
                self._files.put_file(str(path), beside)
                self._files.mv(beside, place)
            except BaseException:
                with suppress(Exception):
                    self._files.rm(beside)
                raise
        return digest

    def found(self, path: Path) -> str:
        """Return the digest of a file that is there, in a store that takes none. Raises StoreError."""
        digest = sha256(path)
        if not self.has(digest):
            raise StoreError(f"the store {hidden(self.url)} takes no files, and does not have {path.name}.")
        return digest

    def name(self, word: str, content: bytes) -> None:
        """Keep a small file under a name, which may be replaced. Raises StoreError."""
        with self._told():
            self._files.makedirs(f"{self._root.rstrip('/')}/names", exist_ok=True)
            self._files.pipe_file(f"{self._root.rstrip('/')}/names/{word}", content)

    def named(self, word: str) -> bytes | None:
        """Return what was kept under a name. Raises StoreError."""
        with self._told():
            try:
                return bytes(self._files.cat_file(f"{self._root.rstrip('/')}/names/{word}"))
            except FileNotFoundError:
                return None

    def get(self, digest: str, path: Path) -> None:
        """Write a file out of the store to `path`, checked. Raises StoreError."""
        seen = hashlib.sha256()
        with self._told(), self._files.open(self._place(digest), "rb") as source, path.open("wb") as copy:
            while piece := source.read(PIECE):
                seen.update(piece)
                copy.write(piece)
        if seen.hexdigest() != digest:
            path.unlink()
            raise StoreError(f"{digest[:12]} in the store {hidden(self.url)} is damaged (SHA-256 differs).")

    def remove(self, digest: str) -> None:
        """Remove a file that nobody else has a use for; whether that works or not."""
        with suppress(Exception):
            self._files.rm(self._place(digest))

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Whatever fsspec's libraries raise is one sentence. A local disk that is full stays an OSError."""
        try:
            yield
        except FileNotFoundError as error:
            raise StoreError(f"the store {hidden(self.url)} does not have {_last(error)}; publish it first.") from None
        except (StoreError, OSError):
            raise
        except Exception as error:
            raise StoreError(f"the store {hidden(self.url)}: {type(error).__name__}: {error}") from None


def _last(error: OSError) -> str:
    return "/".join(str(error.filename or error).rsplit("/", 2)[-2:])


def hidden(url: str) -> str:
    """Return a URL without the password that it may hold."""
    scheme, found, rest = url.partition("://")
    host, at, path = rest.rpartition("@") if "@" in rest.split("/", 1)[0] else ("", "", rest)
    return f"{scheme}{found}{host.partition(':')[0] + ':***' if at and ':' in host else host}{at}{path}"


class Cache:
    """A worker's own copies of files, under its cache folder; several processes may want one at the same time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "fleet" / "sha256"
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def file(self, digest: str, store: Store | None) -> Path:
        """Return the copy of a file: fetched once, by whoever comes first. Raises StoreError, OSError."""
        path = self.folder / digest[:2] / digest[2:]
        if path.exists():
            return path
        path.parent.mkdir(mode=0o700, exist_ok=True)
        with locked(path.with_suffix(".lock")):
            if path.exists():
                return path
            if store is None:
                raise StoreError(f"{digest[:12]} is not in {self.folder}, and no store is named.")
            beside = path.with_suffix(".new")
            try:
                store.get(digest, beside)
                beside.chmod(0o600)
                beside.replace(path)
            finally:
                beside.unlink(missing_ok=True)
        return path

    def add(self, source: Path) -> str:
        """Take in a file that is here already; returns its digest."""
        digest = sha256(source)
        path = self.folder / digest[:2] / digest[2:]
        if not path.exists():
            path.parent.mkdir(mode=0o700, exist_ok=True)
            beside = path.with_name(f"{path.name}.{os.getpid()}")
            shutil.copyfile(source, beside)
            beside.chmod(0o600)
            beside.replace(path)
        return digest


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Be the only one here (flock(2), which ends with its process however it dies)."""
    with path.open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def of(url: str | None) -> Store | None:
    """Return the store of a URL, if one is named. Raises UsageError."""
    return Store(url) if url else None


JSON = dict[str, Any]
"""What travels between client and worker."""
