"""Takes Setup's own logs off the disk of an installation that failed: without root, without mounting anything.

The Windows partition is written out as a sparse file by qemu-img, and read by ntfscat (Debian's ntfs-3g). Before Setup
copies files there is nothing on the disk: then only the screen tells.
"""

import json
import shutil
import struct
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

SECTOR = 512
FILES = (
    "$WINDOWS.~BT/Sources/Panther/setupact.log",
    "$WINDOWS.~BT/Sources/Panther/setuperr.log",
    "Windows/Panther/setupact.log",
    "Windows/Panther/setuperr.log",
    "Windows/Panther/UnattendGC/setupact.log",
    "Windows/inf/setupapi.dev.log",
    "wsklab/provision.log",
    "wsklab/finish.log",
)
MOST = 32 << 20
"""Bytes of one log that are kept."""
_BASIC_DATA = bytes.fromhex("a2a0d0ebe5b9334487c068b6b72699c7")
"""EBD0A0A2-B9E5-4433-87C0-68B6B72699C7 as it is on a disk: Windows' own partitions."""
_TABLE = 34 * SECTOR


def pull(disk: Path, target: Path, files: Sequence[str] = FILES) -> str:
    """Copy the logs into a folder; says in one line what came of it, and never fails."""
    if shutil.which("ntfscat") is None:
        return "Setup's logs are on the disk; with `apt-get install ntfs-3g` they are taken off it"
    try:
        places = [place for place in partitions(_head(disk)) if place[1] > 1 << 30] or partitions(_head(disk))
        if not places:
            return "nothing is on the disk yet: the screen is all there is"
        start, size = max(places, key=lambda place: place[1])
        return _copy(disk, start, size, target, files)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        return f"Setup's logs could not be taken off the disk: {error}"


def partitions(head: bytes) -> list[tuple[int, int]]:
    """Start and size, in bytes, of Windows' partitions, from the first 34 sectors of a disk (GPT or MBR)."""
    if len(head) < _TABLE or head[510:512] != b"\x55\xaa":
        return []
    if head[SECTOR : SECTOR + 8] != b"EFI PART":
        records = (struct.unpack_from("<B3xB3xII", head, 446 + 16 * number) for number in range(4))
        return [(start * SECTOR, count * SECTOR) for _, kind, start, count in records if kind == 7 and count]
    return list(_gpt(head))


def _gpt(head: bytes) -> Iterator[tuple[int, int]]:
    for number in range(128):
        entry = head[2 * SECTOR + 128 * number :][:128]
        first, last = struct.unpack_from("<QQ", entry, 32)
        if entry[:16] == _BASIC_DATA and 0 < first <= last < 1 << 50:
            yield first * SECTOR, (last - first + 1) * SECTOR


def _head(disk: Path) -> bytes:
    """The first sectors of a qcow2 disk."""
    with_options = {"driver": "raw", "size": _TABLE, "file": {"driver": "qcow2", "file.filename": str(disk)}}
    return _convert(with_options, disk.with_suffix(".head"))


def _convert(options: dict[str, object], out: Path, read: bool = True) -> bytes:
    command = ["qemu-img", "convert", "-q", "-O", "raw", f"json:{json.dumps(options)}", str(out)]
    subprocess.run(command, check=True, capture_output=True)
    try:
        return out.read_bytes() if read else b""
    finally:
        if read:
            out.unlink()


def _copy(disk: Path, start: int, size: int, target: Path, files: Sequence[str]) -> str:
    volume = disk.with_suffix(".volume")
    target.mkdir(exist_ok=True)
    found = []
    try:
        options = {"driver": "raw", "offset": start, "size": size,
                   "file": {"driver": "qcow2", "file.filename": str(disk)}}  # fmt: skip
        _convert(options, volume, read=False)
        for path in files:
            read = subprocess.run(["ntfscat", "--force", str(volume), path], capture_output=True, check=False)
            if read.returncode == 0:
                (target / path.replace("/", "_").replace("$", "")).write_bytes(read.stdout[-MOST:])
                found.append(path)
    finally:
        volume.unlink(missing_ok=True)
    return f"{len(found)} logs of Setup are in {target}" if found else "Setup has left no logs on the disk yet"
