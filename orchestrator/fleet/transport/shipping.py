"""Images and drivers on their way to the workers: the client publishes them, a lab's process takes them."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

from wsklab import images
from wsklab.drivers.build import BuiltDriver
from wsklab.drivers.profile import DriverProfile
from wsklab.images.secure import sha256
from wsklab.images.store import Image, Manifest
from wsklab.orchestrator.fleet.job import DriverRef, ForeignRef, ImageRef, PackageRef
from wsklab.orchestrator.fleet.transport.store import Cache, Store, StoreError, locked

if TYPE_CHECKING:  # what other drivers need is loaded with the first of them
    from wsklab.orchestrator.lab.foreign_driver import Foreign
    from wsklab.orchestrator.lab.installation import Payload

PEER = "peer"
"""The name under which the store says which image of the peer is newest: a fresh worker tries KVM with its kernel."""

ROOM = "WSKLAB_FLEET_IMAGES"
"""In a worker's environment: GiB of images that it keeps."""

_OWN = ("verified.json",)
"""Files of an image that are of this host."""


def image_ref(image: Image) -> ImageRef:
    """Return what an image is in a store. Every file of it is hashed but those that its manifest has."""
    known = image.manifest.files
    files = {
        path.name: known.get(path.name) or sha256(path)
        for path in sorted(image.folder.iterdir())
        if path.is_file() and path.name not in _OWN
    }
    return ImageRef(image.name, image.key, files)


def publish(store: Store, found: Iterable[Image], progress: Callable[[str], None]) -> None:
    """Put images into a store, whatever of them is not there. Raises StoreError, OSError."""
    for image in found:
        ref = image_ref(image)
        missing = [name for name, digest in ref.files.items() if not store.has(digest)]
        if missing and not store.writable:
            raise StoreError(f"{store.url} does not have the image {image.name}, and takes no files; publish it there.")
        if missing:
            progress(f"publishing the image {image.name}")
        for name in missing:
            store.put(image.folder / name)
        if image.name == PEER and store.writable:
            store.name(PEER, json.dumps(asdict(ref)).encode())


def newest_peer(store: Store) -> ImageRef | None:
    """Return the image of the peer that was published last. Raises StoreError."""
    said = store.named(PEER)
    return TypeAdapter(ImageRef).validate_json(said) if said else None


def trim(cache: Path, most: float) -> list[str]:
    """Remove the images that were unused longest, until the rest takes no more than so many bytes; returns their names.

    What any process holds stays, however much it is.
    """
    kept, removed = images.store.Store(cache), []
    found = sorted(kept.listing(), key=lambda image: _used(image.folder))
    total = sum(image.manifest.size_bytes for image in found)
    for image in found:
        if total <= most:
            break
        if kept.remove(image):
            total -= image.manifest.size_bytes
            removed.append(image.name)
    return removed


def _used(folder: Path) -> float:
    """When an image was last used here; one that has just been removed was never."""
    with suppress(OSError):
        return folder.stat().st_mtime
    return 0.0


def fetch_image(ref: ImageRef, cache: Path, store: Store | None) -> Image:
    """Return the image in this host's own cache, taken out of the store if it is not there; by one process at a time.

    Raises StoreError, OSError.
    """
    folder = cache / "images" / ref.key
    if not (folder / "manifest.json").exists():
        (cache / "images").mkdir(mode=0o700, parents=True, exist_ok=True)
        with locked(cache / "images" / f"{ref.key}.lock"):  # as the janitor asks
            if not (folder / "manifest.json").exists():
                _fetch(ref, folder, store)
    image = Image(folder, Manifest.model_validate_json((folder / "manifest.json").read_bytes()))
    kept = images.store.Store(cache)
    kept.hold(image)
    kept.check(image)
    os.utime(folder)  # used now: others go before it
    if room := os.environ.get(ROOM):
        trim(cache, float(room) * 2**30)
    return image


def _fetch(ref: ImageRef, folder: Path, store: Store | None) -> None:
    if store is None:
        raise StoreError(f"the image {ref.name} ({ref.key[:12]}) is not here, and no store is named.")
    partial = folder.with_name(f"{ref.key}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(mode=0o700)
    try:
        for name, digest in ref.files.items():
            if "/" in name or name.startswith("."):
                raise StoreError(f"the image {ref.name} has a file called {name!r}, which no image has.")
            store.get(digest, partial / name)
            (partial / name).chmod(0o600)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def ship_driver(driver: BuiltDriver, ship: Callable[[Path], str]) -> DriverRef:
    """Return a driver as it travels; `ship` takes a file and returns its digest."""
    ship(driver.path)
    symbols = driver.symbols if driver.symbols.exists() else driver.path
    return DriverRef(driver.name, driver.twin, driver.path.name, driver.sha256, symbols.name, ship(symbols))


def driver_of(ref: DriverRef, cache: Cache, store: Store | None) -> BuiltDriver:
    """Return the driver on this host. Raises StoreError, OSError."""
    folder = cache.folder.parent / "drivers" / ref.sha256
    path = _named(cache.file(ref.sha256, store), folder / ref.file_name)
    symbols = _named(cache.file(ref.symbols_sha256, store), folder / "symbols" / ref.symbols_name)
    return BuiltDriver(path, ref.sha256, ref.name, ref.twin, symbols)


def ship_foreign(foreign: Foreign, ship: Callable[[Path], str]) -> ForeignRef:
    """Somebody else's driver as it travels, its packages with the catalogs that the target wants."""
    of_this_host = {"path", "files", "build", "twin", "inf", "upgrade_from"}
    profile = foreign.profile.model_dump(mode="json", exclude=of_this_host, exclude_defaults=True)
    files = {name: ship(path) for name, path in foreign.profile.files.items()}
    return ForeignRef(
        foreign.name,
        profile,
        foreign.file.name,
        ship(foreign.file),
        foreign.sha256,
        foreign.loaded_sha256,
        foreign.witnessed,
        files,
        tuple(_ship_package(payload, ship) for payload in foreign.payloads),
    )


def _ship_package(payload: Payload, ship: Callable[[Path], str]) -> PackageRef:
    with tempfile.TemporaryDirectory(prefix="wsklab-package-") as work:
        files = {}
        for number, (name, content) in enumerate(payload.contents.items()):
            file = Path(work) / str(number)
            file.write_bytes(content)
            files[name] = ship(file)
    return PackageRef(payload.package.inf.name, files)


def foreign_of(ref: ForeignRef, cache: Cache, store: Store | None) -> Foreign:
    """Return the same on this host. Raises StoreError, OSError."""
    from wsklab.drivers import package
    from wsklab.orchestrator.lab.foreign_driver import Foreign
    from wsklab.orchestrator.lab.installation import Payload

    drivers = cache.folder.parent / "drivers"
    profile = {**ref.profile, "files": {name: str(cache.file(digest, store)) for name, digest in ref.files.items()}}
    if ref.packages:
        infs = [_package(one, cache, store, drivers) for one in ref.packages]
        older = {"upgrade_from": str(infs[0])} if len(infs) > 1 else {}
        whole = DriverProfile.model_validate({**profile, **older, "inf": str(infs[-1])})
        packages = tuple(package.find(inf, whole.service) for inf in infs)
        payloads = tuple(Payload(one, one.contents()) for one in packages)
        return Foreign(
            whole, packages[-1].driver, ref.sha256, ref.name, ref.loaded_sha256, packages, payloads, ref.witnessed
        )
    file = _named(cache.file(ref.file_sha256, store), drivers / ref.file_sha256 / ref.file_name)
    whole = DriverProfile.model_validate({**profile, "path": str(file)})
    return Foreign(whole, file, ref.sha256, ref.name, ref.loaded_sha256, witnessed=ref.witnessed)


def _package(ref: PackageRef, cache: Cache, store: Store | None, drivers: Path) -> Path:
    """Return the INF of a package that lies in a folder of its own. Raises StoreError, OSError."""
    folder = drivers / hashlib.sha256(repr(sorted(ref.files.items())).encode()).hexdigest()
    for name, digest in ref.files.items():
        _named(cache.file(digest, store), _inside(folder, name))
    return _inside(folder, ref.inf)


def _inside(folder: Path, name: str) -> Path:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise StoreError(f"a driver's package has a file called {name!r}, which no package has.")
    return path


def _named(copy: Path, path: Path) -> Path:
    """Return a file of the cache under the name that it has in the target."""
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.new")
        shutil.copyfile(copy, beside)
        beside.replace(path)
    return path
