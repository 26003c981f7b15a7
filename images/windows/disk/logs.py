"""Takes files off a disk of Windows, Setup's own logs first of all: without root, without mounting anything.

The Windows partition is written out as a sparse file by qemu-img, and read by ntfscat (Debian's ntfs-3g). Before Setup
copies files there is nothing on the disk: then only the screen tells.
"""

import json
import shutil
import struct
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
SPARE = 256 << 20
"""Bytes of the host's disk that a copy of the guest's leaves free."""
_BASIC_DATA = bytes.fromhex("a2a0d0ebe5b9334487c068b6b72699c7")
"""EBD0A0A2-B9E5-4433-87C0-68B6B72699C7 as it is on a disk: Windows' own partitions."""
_TABLE = 34 * SECTOR


class Unreadable(ValueError):
    """Nothing can be taken off the disk; the message is a sentence for people."""


def pull(disk: Path, target: Path, files: Sequence[str] = FILES) -> str:
    """Copy the logs into a folder; says in one line what came of it, and never fails."""
    try:
        target.mkdir(exist_ok=True)
        found = []
        with volume(disk, disk.parent) as whole:
            for path in files:
                read = subprocess.run(["ntfscat", "--force", str(whole), path], capture_output=True, check=False)
                if read.returncode == 0:
                    (target / path.replace("/", "_").replace("$", "")).write_bytes(read.stdout[-MOST:])
                    found.append(path)
    except Unreadable as error:
        return str(error)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        return f"Setup's logs could not be taken off the disk: {error}"
    return f"{len(found)} logs of Setup are in {target}" if found else "Setup has left no logs on the disk yet"


@contextmanager
def volume(disk: Path, scratch: Path) -> Iterator[Path]:
    """Windows' own partition of a qcow2 disk as a sparse file in `scratch`, gone afterwards.

    Another QEMU may have the disk open, but must not write to it. Raises Unreadable, OSError, SubprocessError.
    """
    if shutil.which("ntfscat") is None:
        raise Unreadable("there may be files on the disk; with `apt-get install ntfs-3g` they are taken off it")
    scratch.mkdir(mode=0o700, parents=True, exist_ok=True)
    whole = scratch / f"{disk.stem}.volume"
    places = partitions(_head(disk, whole))
    if not places:
        raise Unreadable("nothing is on the disk yet: the screen is all there is")
    needed, free = _allocated(disk), shutil.disk_usage(scratch).free
    if free < needed + SPARE:
        raise Unreadable(
            f"files of the guest are still on its disk: {free >> 20} MiB are free at {scratch}, "
            f"{(needed + SPARE) >> 20} are needed to take them off it"
        )
    start, size = max(places, key=lambda place: place[1])
    try:
        _convert({"driver": "raw", "offset": start, "size": size,
                  "file": {"driver": "qcow2", "file.filename": str(disk)}}, whole)  # fmt: skip
        yield whole
    finally:
        whole.unlink(missing_ok=True)


def _allocated(disk: Path) -> int:
    """Return the bytes that a disk and those below it have on the host: no sparse copy takes more."""
    told = subprocess.run(["qemu-img", "info", "-U", "--backing-chain", "--output=json", str(disk)], check=True,
                          capture_output=True)  # fmt: skip
    return sum(int(one["actual-size"]) for one in json.loads(told.stdout))


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


def _head(disk: Path, scratch: Path) -> bytes:
    """Return the first sectors of a qcow2 disk."""
    out = scratch.with_suffix(".head")
    _convert({"driver": "raw", "size": _TABLE, "file": {"driver": "qcow2", "file.filename": str(disk)}}, out)
    try:
        return out.read_bytes()
    finally:
        out.unlink()


def _convert(options: dict[str, object], out: Path) -> None:
    command = ["qemu-img", "convert", "-q", "-U", "-O", "raw", f"json:{json.dumps(options)}", str(out)]
    subprocess.run(command, check=True, capture_output=True)
