"""The store of finished images: `<cache>/images/<key>/`, found by what they were made from.

The key of an image covers its recipe, its files, its package versions and its SSH host key, so a folder never
changes once it is published. `refs/<digest>` holds the key of the newest image made from a recipe and files of
that digest: one small file is read to see that nothing has to be built.

Trust: every file is hashed (SHA-256) after the build, by `Store.verify`, and by `Store.check`, which runs before each
use: 1 GB a second, so that the Debian guests cost 0.2 s. Only a file beyond `_HASHED_ALWAYS`, a Windows disk, is
trusted for a day where size, inode and both times (modification; change, which nobody can set) are those seen when
it was last hashed. Somebody who may rewrite the files may rewrite the manifest as well, so `secure.py` sees to it that
nobody else may.
"""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pydantic import BaseModel, ConfigDict, ValidationError

from wsklab.images.errors import ImageError
from wsklab.images.secure import require_own_folder, require_private_key, sha256

_KEPT_PER_NAME = 3
_HASHED_ALWAYS = 1 << 30
"""Bytes. A larger file is hashed once a day, and after every verdict that might come of its damage."""
_A_DAY = 86400.0
_MANIFEST, _VERIFIED = "manifest.json", "verified.json"


class Manifest(BaseModel):
    """What an image is (`manifest.json`)."""

    model_config = ConfigDict(frozen=True)

    name: str
    kind: str
    key: str
    recipe_sha256: str
    """Digest of the recipe and all files that went in."""
    packages: dict[str, str]
    files: dict[str, str]
    """SHA-256 of each file that a guest starts from."""
    size_bytes: int
    built: str
    """UTC, ISO 8601."""
    kernel_args: str


@dataclass(frozen=True)
class Image:
    """A finished image."""

    folder: Path
    manifest: Manifest

    @property
    def name(self) -> str:
        """Name of its recipe."""
        return self.manifest.name

    @property
    def key(self) -> str:
        """Its identity; no two builds share one."""
        return self.manifest.key

    @property
    def kernel_args(self) -> str:
        """Kernel command line that it needs."""
        return self.manifest.kernel_args

    @property
    def disk(self) -> Path:
        """Root file system (qcow2); only ever the read-only base of an overlay."""
        return self.folder / "disk.qcow2"

    @property
    def kernel(self) -> Path:
        """Linux kernel."""
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        """Initial RAM disk."""
        return self.folder / "initrd.img"

    @property
    def variables(self) -> Path | None:
        """UEFI variables (qcow2) of an image that boots by itself."""
        path = self.folder / "variables.qcow2"
        return path if path.name in self.manifest.files else None

    @property
    def ssh_key(self) -> Path:
        """Private key that root's login accepts (OpenSSH, ed25519)."""
        return self.folder / "ssh_key"

    @property
    def known_hosts(self) -> Path:
        """One line: the guest's host key, under the name `keys.ADDRESS`."""
        return self.folder / "known_hosts"


_HELD: dict[Path, BinaryIO] = {}
"""The manifests that this process keeps locked, shared, for as long as it lives (flock(2))."""


class Store:
    """The images under one cache folder."""

    def __init__(self, cache: Path) -> None:
        self.images = cache / "images"
        self.packages = cache / "packages"
        self._refs = self.images / "refs"
        for folder in (cache, self.images, self.packages, self._refs):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            require_own_folder(folder)

    def find(self, digest: str) -> Image | None:
        """Return the image made from a recipe and files of this digest, if there is one."""
        try:
            key = (self._refs / digest).read_text()
            return _read(self.images / key)
        except (OSError, ValueError):
            return None

    def listing(self) -> list[Image]:
        """All images, the newest of each name first."""
        found = []
        for path in self.images.glob(f"*/{_MANIFEST}"):
            with suppress(OSError, ValueError):  # being removed, or damaged: not an image
                found.append(_read(path.parent))
        found.sort(key=lambda image: image.manifest.built, reverse=True)
        return sorted(found, key=lambda image: image.name)

    def check(self, image: Image, now: float | None = None) -> None:
        """See that an image is as it was built, and nobody else's to change. Raises ImageError.

        `now` is the time of day (`time.time`), for a large file that may have been hashed already.
        """
        require_own_folder(image.folder)
        require_private_key(image.ssh_key)
        self._compare(image, _read_stamps(image.folder), time.time() if now is None else now)

    def verify(self, image: Image) -> None:
        """Hash every file, however large. Raises ImageError for the first one that is not as built."""
        self._compare(image, {}, time.time())

    def publish(self, partial: Path, manifest: Manifest) -> Image:
        """Make a finished folder an image: one rename, so that it is there whole or not at all."""
        (partial / _MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n")
        self.verify(Image(partial, manifest))
        final = self.images / manifest.key
        partial.rename(final)
        ref = self._refs / manifest.recipe_sha256
        ref.with_suffix(".new").write_text(manifest.key)
        ref.with_suffix(".new").rename(ref)
        for old in [image for image in self.listing() if image.name == manifest.name][_KEPT_PER_NAME:]:
            self.remove(old)
        return Image(final, manifest)

    def hold(self, image: Image) -> None:
        """Keep an image from being removed while this process lives. Raises ImageError when it is gone already."""
        if image.folder in _HELD:
            return
        try:
            manifest = (image.folder / _MANIFEST).open("rb")
        except OSError:
            raise ImageError(f"the image {image.name} was removed a moment ago; run the command again") from None
        fcntl.flock(manifest, fcntl.LOCK_SH)
        if not os.fstat(manifest.fileno()).st_nlink:
            raise ImageError(f"the image {image.name} was removed a moment ago; run the command again")
        _HELD[image.folder] = manifest

    def remove(self, image: Image) -> bool:
        """Delete an image, unless a process holds it; returns whether it is gone."""
        try:
            with (image.folder / _MANIFEST).open("rb") as manifest:
                fcntl.flock(manifest, fcntl.LOCK_EX | fcntl.LOCK_NB)
                (image.folder / _MANIFEST).unlink()
        except BlockingIOError:
            return False
        except FileNotFoundError:
            pass
        shutil.rmtree(image.folder, ignore_errors=True)
        for ref in self._refs.iterdir():
            if ref.read_text() == image.key:
                ref.unlink(missing_ok=True)
        return True

    @contextmanager
    def building(self, name: str, progress: Callable[[str], None]) -> Iterator[Path]:
        """Be the only one who builds this image; yields an empty folder to build in, which is gone afterwards."""
        with (self.images / f"{name}.lock").open("a+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.seek(0)
                progress(f"waiting for process {lock.read() or '?'}, which is building the image {name}")
                fcntl.flock(lock, fcntl.LOCK_EX)
            lock.truncate(0)
            lock.write(str(os.getpid()))
            lock.flush()
            partial = self.images / f"{name}.partial"
            shutil.rmtree(partial, ignore_errors=True)  # of a builder that was killed
            partial.mkdir(mode=0o700)
            try:
                yield partial
            finally:
                shutil.rmtree(partial, ignore_errors=True)

    def _compare(self, image: Image, trusted: dict[str, list[int]], now: float) -> None:
        def seen(name: str) -> list[int] | None:
            """Return the stamp of a file that is as it was built."""
            path = image.folder / name
            with suppress(OSError):
                large, fresh = path.stat().st_size > _HASHED_ALWAYS, stamp(path, now)
                last = trusted.get(name)
                if large and last and last[:-1] == fresh[:-1] and 0 <= fresh[-1] - last[-1] < _A_DAY:
                    return last
                if sha256(path) == image.manifest.files[name]:
                    return fresh
            return None

        names = list(image.manifest.files)
        with ThreadPoolExecutor(len(names)) as pool:  # hashlib lets other threads run
            stamps = dict(zip(names, pool.map(seen, names), strict=True))
        for name, found in stamps.items():
            if found is None:
                raise ImageError(
                    f"{image.folder / name} is missing or not as it was built (SHA-256 differs); "
                    f"run `wsklab image remove {image.name} && wsklab image build {image.name}`"
                )
        if stamps != trusted and image.manifest.size_bytes > _HASHED_ALWAYS:
            (image.folder / _VERIFIED).write_text(json.dumps(stamps))


def _read(folder: Path) -> Image:
    """Raise OSError or ValueError when the folder holds no image."""
    try:
        return Image(folder, Manifest.model_validate_json((folder / _MANIFEST).read_bytes()))
    except ValidationError as error:
        raise ValueError(str(error)) from None


def _read_stamps(folder: Path) -> dict[str, list[int]]:
    with suppress(OSError, ValueError):
        stamps = json.loads((folder / _VERIFIED).read_text())
        if isinstance(stamps, dict):
            return stamps
    return {}


def stamp(path: Path, now: float) -> list[int]:
    """Return what tells an untouched file: size, inode, times of modification and of change; then when that was, in s.

    A rename of its folder changes none of it.
    """
    status = path.stat()
    return [status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns, int(now)]
