"""Optical discs as files: reading those of others, with every name in its true case, and writing small ones of ours.

A disc of others is untrusted. What is wrong with one is said in `DiscError`, in words that complete "FILE ...".
"""

import contextlib
import io
import logging
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

import pycdlib
from pycdlib.pycdlibexception import PyCdlibException

from wsklab.common import files

logging.getLogger("pycdlib").setLevel(logging.CRITICAL)  # what matters of its findings is raised

SECTOR = 2048
MOST_READ = 256 << 20
"""Bytes of one file that are read into memory at most."""
_DESCRIPTORS = 16 * SECTOR
_DAMAGED = (PyCdlibException, struct.error, OSError, ValueError, LookupError, TypeError, AttributeError, OverflowError,
            RecursionError, MemoryError, AssertionError)  # fmt: skip
"""What pycdlib raises on discs that are not what they say."""
_SIGNS: Mapping[bytes, str] = {
    b"MSWIM\0\0\0": "is a WIM file: give the whole ISO that it came on",
    b"PK\3\4": "is a ZIP archive: unpack it, and give the ISO inside",
    b"7z\xbc\xaf": "is a 7z archive: unpack it, and give the ISO inside",
    b"vhdxfile": "is a VHDX disk: give the installation ISO instead",
    b"QFI\xfb": "is a qcow2 disk: give the installation ISO instead",
    b"MZ": "is a Windows program (a download assistant?): give the ISO that it downloads",
}
Namespace = Literal["udf_path", "rr_path", "joliet_path", "iso_path"]


class DiscError(ValueError):
    """It is no disc, or not a whole one."""


class Disc:
    """An open disc. Paths are relative, `a/b/c`, and found whatever their case."""

    def __init__(self, iso: pycdlib.PyCdlib, size: int) -> None:
        self._iso = iso
        self._size = size
        trees: dict[Namespace, bool] = {
            "udf_path": iso.has_udf(), "rr_path": iso.has_rock_ridge(), "joliet_path": iso.has_joliet()}  # fmt: skip
        # The richest tree: Microsoft's discs have all in UDF, and in ISO 9660 only a text that says so.
        self._tree: Namespace = next((tree for tree, there in trees.items() if there), "iso_path")

    @property
    def label(self) -> str:
        """The label of the volume."""
        return str(self._iso.pvd.volume_identifier.decode("ascii", "replace").strip())

    def names(self, folder: str = "") -> list[str]:
        """Return the names in a folder; none when there is no such folder."""
        if (real := self._real(folder)) is None:
            return []
        return self._children(real)

    def has(self, path: str) -> bool:
        """Whether there is a file or folder of this path."""
        return self._real(path) is not None

    @contextlib.contextmanager
    def open(self, path: str) -> Iterator[BinaryIO]:
        """Return a file, for reading. Raises DiscError when it is not there or cannot be read."""
        real = self._real(path)
        if real is None:
            raise DiscError(f"has no file {path}")
        where = {self._tree: real}
        with _explained(f"is damaged: {path} cannot be read"), self._iso.open_file_from_iso(**where) as file:
            yield cast(BinaryIO, file)

    def read(self, path: str) -> bytes:
        """Return a whole file. Raises DiscError."""
        with self.open(path) as file:
            end = file.seek(0, 2)
            if end > min(MOST_READ, self._size):
                raise DiscError(f"is damaged: it says that {path} has {end} bytes")
            file.seek(0)
            return file.read(end)

    def _real(self, path: str) -> str | None:
        """Return the path as it is on the disc, which other tools may have put in capitals."""
        real = "/"
        for wanted in path.split("/") if path else []:
            found = next((name for name in self._children(real) if name.lower() == wanted.lower()), None)
            if found is None:
                return None
            real = f"{real.rstrip('/')}/{found}"
        return real

    def _children(self, real: str) -> list[str]:
        with _explained("is damaged: a folder on it cannot be read"):
            try:
                records = [record for record in self._iso.list_children(**{self._tree: real}) if record is not None]
            except PyCdlibException:
                return []  # a file, or nothing
            names = [self._name(record) for record in records if not record.is_dot() and not record.is_dotdot()]
        return [name for name in names if name]

    def _name(self, record: Any) -> str:
        name: bytes = record.rock_ridge.name() if self._tree == "rr_path" else record.file_identifier()
        return name.decode("utf-16-be" if self._tree == "joliet_path" else "utf-8", "replace")


@contextlib.contextmanager
def open_disc(path: Path) -> Iterator[Disc]:
    """Open a disc image. Raises DiscError, which names what the file is instead; OSError when it cannot be read."""
    with files.open_file(path, files.DISC) as file:
        size = file.seek(0, 2)
        look(file, size)
        iso = pycdlib.PyCdlib()
        file.seek(0)
        with _explained("is damaged: its folders cannot be read"):
            iso.open_fp(file)
        try:
            yield Disc(iso, size)
        finally:
            with contextlib.suppress(*_DAMAGED):
                iso.close()


def look(file: BinaryIO, size: int) -> None:
    """See from a few sectors whether this can be a whole disc. Raises DiscError."""
    if size == 0:
        raise DiscError("is empty: the download has not begun, or failed")
    file.seek(0)
    start = file.read(1024)
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<script")):
        raise DiscError("is a web page, not a disc: the download link has expired, or wanted a form filled in first")
    for sign, meaning in _SIGNS.items():
        if start.startswith(sign):
            raise DiscError(meaning)
    file.seek(_DESCRIPTORS)
    descriptor = file.read(SECTOR)
    kind = descriptor[1:6]
    if len(descriptor) < SECTOR:
        raise DiscError(f"ends after {size} bytes, before a disc says what it is: the download is not complete")
    if kind not in (b"CD001", b"BEA01"):
        raise DiscError("is not a disc (ISO 9660 or UDF): nothing of what one begins with is there")
    if kind == b"CD001" and descriptor[0] == 1:
        (sectors,), (block,) = struct.unpack_from("<I", descriptor, 80), struct.unpack_from("<H", descriptor, 128)
        if sectors * block > size:
            whole = sectors * block
            raise DiscError(f"has {size} of the {whole} bytes that it should have: the download is not complete")


def write_disc(files: Mapping[str, bytes], label: str, target: Path) -> None:
    """Write a disc with ISO 9660, Rock Ridge and Joliet names: Windows reads the last.

    Paths are relative, in ASCII; Joliet takes names of up to 64 characters. Raises DiscError.
    """
    iso = pycdlib.PyCdlib()
    iso.new(interchange_level=3, joliet=3, rock_ridge="1.09", vol_ident=label)
    folders: dict[str, str] = {"": ""}
    contents = []
    for number, path in enumerate(sorted(files)):
        *parents, name = path.split("/")
        if any(not part or len(part) > 64 or not part.isascii() for part in (*parents, name)):
            raise DiscError(f"cannot hold {path!r}: a name is empty, not ASCII, or longer than 64 characters")
        here = ""
        for parent in parents:
            below = f"{here}/{parent}"
            if below not in folders:
                # Nobody reads the ISO 9660 names; numbers cannot collide after their shortening.
                folders[below] = f"{folders[here]}/D{len(folders)}"
                iso.add_directory(folders[below], rr_name=parent, joliet_path=below)
            here = below
        contents.append(io.BytesIO(files[path]))
        iso.add_fp(contents[-1], len(files[path]), f"{folders[here]}/F{number}.;1", rr_name=name,
                   joliet_path=f"{here}/{name}")  # fmt: skip
    iso.write(str(target))
    iso.close()


@contextlib.contextmanager
def _explained(what: str) -> Iterator[None]:
    try:
        yield
    except DiscError:
        raise
    except _DAMAGED as error:
        raise DiscError(f"{what} ({error})") from None
