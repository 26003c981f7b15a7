"""Crash dumps of Windows, taken off its disk without its help, where QEMU can make none. Not yet run on Windows.

Windows writes a kernel dump to MEMORY.DMP and a small one to Minidump, both by way of the page file: a guest that stays
on its blue screen has it there until it starts the next time (reference/windows-images.md 7.4).
"""

import shutil
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from wsklab.images.windows.disk import logs

SIGNATURE = b"PAGEDU64"
HEADER = 0x2000
"""Bytes of a 64-bit dump's header."""
FOLDER, MEMORY, PAGES = "Windows/Minidump", "Windows/MEMORY.DMP", "pagefile.sys"
MOST_SMALL = 32 << 20
"""Bytes of a small dump; they have one or two MiB."""
MOST_FILES = 8
KINDS = {1: "complete", 2: "kernel", 4: "small", 5: "complete", 6: "kernel", 7: "automatic"}
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Dump:
    """What the header of a dump says."""

    kind: str
    code: int
    parameters: tuple[int, int, int, int]
    size: int
    """Bytes that the whole has, as it says itself."""


@dataclass(frozen=True)
class Taken:
    """A dump that was found. `file` is what was written of it: all, or its header alone."""

    path: str
    file: Path
    whole: bool
    dump: Dump


def header(data: bytes) -> Dump | None:
    """Return the header of a 64-bit dump, or None. Offsets: `_DUMP_HEADER64`, as in QEMU's win_dump_defs.h."""
    if len(data) < HEADER or not data.startswith(SIGNATURE):
        return None
    (code,), (kind,), (size,) = (
        struct.unpack_from(layout, data, at) for layout, at in (("<I", 0x38), ("<I", 0xF98), ("<Q", 0xFA0))
    )
    first, second, third, fourth = struct.unpack_from("<4Q", data, 0x40)
    return Dump(KINDS.get(kind, f"type {kind}"), code, (first, second, third, fourth), size)


def take(disk: Path, folder: Path) -> tuple[list[Taken], str]:
    """Copy what dumps there are on a qcow2 disk (which nobody writes to meanwhile) into `folder`.

    Returns them, and one sentence on what came of it; never fails.
    """
    found: list[Taken] = []
    try:
        with logs.volume(disk, folder) as volume:
            for path in [*(f"{FOLDER}/{name}" for name in _names(volume)), MEMORY]:
                if one := _take(volume, path, folder):
                    found.append(one)
            pages = _head(volume, PAGES)
        if found:
            return found, f"{len(found)} dumps were on the disk"
        if pages.startswith(SIGNATURE):
            return found, (
                "the dump is still in the page file: Windows makes MEMORY.DMP of it when this disk is started once more"
            )
        return found, "Windows has left no dump on the disk: it did not get as far, or may not write there"
    except logs.Unreadable as error:
        return found, str(error)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        return found, f"dumps could not be taken off the disk: {error}"


def _names(volume: Path) -> Iterator[str]:
    command = ["ntfsls", "--force", "--path", f"/{FOLDER}", str(volume)]
    listed = subprocess.run(command, capture_output=True, check=False)
    names = [name for name in listed.stdout.decode(errors="replace").splitlines() if name.lower().endswith(".dmp")]
    yield from (name for name in sorted(names)[-MOST_FILES:] if "/" not in name)


def _take(volume: Path, path: str, folder: Path) -> Taken | None:
    """One dump: whole when there is room for it twice, else its header. None when it is no dump."""
    start = _head(volume, path)
    dump = header(start)
    if dump is None:
        return None
    limit = MOST_SMALL if path.startswith(FOLDER) else dump.size
    target = folder / path.rpartition("/")[2].replace("/", "_")
    if not 0 < 2 * limit <= shutil.disk_usage(folder).free:
        target = target.with_suffix(".header")
        target.write_bytes(start)
        return Taken(path, target, False, dump)
    with target.open("wb") as out, _reading(volume, path) as file:
        while out.tell() < limit and (block := file.read(min(_BLOCK, limit - out.tell()))):
            out.write(block)
    return Taken(path, target, True, dump)


def _head(volume: Path, path: str) -> bytes:
    with _reading(volume, path) as file:
        return file.read(HEADER)


@contextmanager
def _reading(volume: Path, path: str) -> Iterator[BinaryIO]:
    """Return the bytes of a file; the reader is ended when enough has been read."""
    process = subprocess.Popen(["ntfscat", "--force", str(volume), path], stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL)  # fmt: skip
    assert process.stdout is not None
    try:
        yield cast(BinaryIO, process.stdout)
    finally:
        process.kill()
        process.communicate()
