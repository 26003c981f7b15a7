"""A driver as a team ships it: an INF file, a catalog, and the files beside them; found, compared, and signed."""

from __future__ import annotations

import datetime
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from wsklab.common import files

from . import catalog
from .check import check_file
from .errors import DriverError
from .inf import About, Service, load

if TYPE_CHECKING:
    from .sign import SigningKey

BEFORE_WINDOWS = r"C:\wsklab"
"""Where the stand-in has the file of a package that Windows would keep in its driver store."""


@dataclass(frozen=True)
class Package:
    """A package on this host: every file that it names is there."""

    inf: Path
    about: About
    service: Service

    @property
    def driver(self) -> Path:
        """The service's own file."""
        return self.inf.parent / self.service.binary

    @property
    def path(self) -> str:
        """Where the stand-in runs the driver from."""
        return self.service.path or rf"{BEFORE_WINDOWS}\{self.service.binary}"

    def contents(self) -> dict[str, bytes]:
        """Return the files by name, the INF first, as they were given. Raises DriverError."""
        names = dict.fromkeys((self.inf.name, self.service.binary, *self.about.files))
        if self.about.catalog and (self.inf.parent / self.about.catalog).exists():
            names[self.about.catalog] = None
        return {name: _read(self.inf.parent / name) for name in names}

    def document(self) -> dict[str, object]:
        """Return what results.json says of it."""
        return {
            "inf": self.inf.name,
            "version": self.about.version,
            "start": self.service.start,
            "dependencies": [*self.service.dependencies, *(f"+{group}" for group in self.service.groups)],
        }


def find(path: Path, service: str) -> Package:
    """Return the package of an INF file that adds `service`. Raises DriverError, which names what is missing."""
    about = load(path)
    added = about.service(service)
    if added is None:
        names = ", ".join(one.name for one in about.services)
        raise DriverError(f"The INF file {path} adds no service {service}; it adds {names}.")
    package = Package(path, about, added)
    for name in (added.binary, *about.files):
        if not (path.parent / name).exists():
            raise DriverError(f"The INF file {path} names {name}, which is not in its folder.")
    return package


def newer(package: Package, older: Package) -> bool:
    """Whether Windows takes `package` for the newer one: by the date of DriverVer, then by its number."""
    return _rank(package.about) > _rank(older.about)


def _rank(about: About) -> tuple[tuple[int, ...], tuple[int, ...]]:
    day = re.fullmatch(r"(\d{1,2})[/-](\d{1,2})[/-](\d{4})", about.date)
    number = tuple(int(part) for part in about.version.split(".") if part.isdigit())
    return ((int(day[3]), int(day[1]), int(day[2])) if day else ()), number


# --- signatures -------------------------------------------------------------------------------------------------------


def signed(package: Package, pair: SigningKey, folder: Path, now: datetime.datetime) -> dict[str, bytes]:
    """Return the files as they go into Windows. Raises DriverError for what Windows would not install.

    A package whose catalog is signed goes as it is, if the catalog holds all of it. Any other is signed here: the
    driver's file, then a catalog made of all files.
    """
    if not package.about.catalog:
        raise DriverError(
            f"The INF file {package.inf} names no catalog, without which Windows installs nothing; "
            "add CatalogFile = NAME.cat to its section [Version]."
        )
    contents = package.contents()
    given = contents.pop(package.about.catalog, None)
    if given is not None and _is_signed(given, package):
        _held(package, contents, catalog.read(given))
        _embedded(package)
        return contents | {package.about.catalog: given}
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in contents:
        if name.lower().endswith(".sys") and not check_file(package.inf.parent / name).signed:
            contents[name] = _signed_copy(contents[name], folder / name, pair)
    day = now.replace(hour=0, minute=0, second=0, microsecond=0)  # the same catalog for the same files
    made = catalog.write([catalog.member(name, content) for name, content in contents.items()], day)
    return contents | {package.about.catalog: _signed_copy(made, folder / package.about.catalog, pair)}


def catalog_as_given(package: Package) -> bool:
    """Whether the package came with a signed catalog. Raises DriverError."""
    content = package.contents().get(package.about.catalog)
    return content is not None and _is_signed(content, package)


def _is_signed(content: bytes, package: Package) -> bool:
    try:
        return catalog.read(content).signed
    except DriverError as error:
        raise DriverError(f"The catalog {package.inf.parent / package.about.catalog} is damaged: {error}.") from None


def _held(package: Package, contents: Mapping[str, bytes], held: catalog.Catalog) -> None:
    missing = [name for name, content in contents.items() if not held.holds(content)]
    if missing:
        raise DriverError(
            f"The catalog {package.about.catalog} is signed, but does not hold {', '.join(missing)} as it is now: "
            "the file was changed afterwards; make and sign the catalog again, or leave it out for the lab to make one."
        )


def _embedded(package: Package) -> None:
    """Windows' loader reads no catalogs while it boots."""
    if package.service.start == "boot" and not check_file(package.driver).signed:
        raise DriverError(
            f"{package.driver} starts at boot, for which it must carry a signature itself; only the catalog has one."
        )


def _signed_copy(content: bytes, target: Path, pair: SigningKey) -> bytes:
    """Sign a file; one that was signed with this key before serves again."""
    from .sign import sign  # the stand-in loads what is not signed

    key = hashlib.sha256(content + pair.certificate.read_bytes()).hexdigest()[:16]
    kept = target.with_name(f"{key}-{target.name}")
    if not kept.exists():
        raw, fresh = target.with_name(f"{key}.raw"), target.with_name(f"{key}.part")
        raw.write_bytes(content)
        try:
            sign(raw, fresh, pair)
            fresh.replace(kept)
        finally:
            raw.unlink(missing_ok=True)
            fresh.unlink(missing_ok=True)
    return kept.read_bytes()


def _read(path: Path) -> bytes:
    try:
        return files.read_bytes(path, files.DRIVER)
    except OSError as error:
        raise DriverError(f"{path} cannot be read: {files.why(error)}.") from None
