"""The one way to read a file that somebody else has made.

A path that a user names may lead to a fifo (which waits for ever), to /dev/zero (which never ends), to a folder, or to
far more than was meant. What is opened here is a regular file within its limit; symbolic links to one are fine.

Every refusal is an OSError whose `strerror` is a clause for people ("it is a fifo, not a regular file"), so that
callers report it like any other file that cannot be read.
"""

from __future__ import annotations

import errno
import io
import json
import os
import stat
from pathlib import Path
from typing import Any

TEXT = 256 << 10
"""Bytes of a file that is written by hand: scenarios, profiles, recipes, answers."""

KEY = 64 << 10
"""Bytes of a key, a certificate, a list of known hosts."""

DRIVER = 64 << 20
"""Bytes of a driver's file, and of the files that are put beside it."""

RESULT = 256 << 20
"""Bytes of what a run leaves and a later command reads: results, observations, recordings."""

DISC = 64 << 30
"""Bytes of an installation medium."""

_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a fifo",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


def open_file(path: Path, limit: int) -> io.BufferedReader:
    """Open a regular file of at most `limit` bytes for reading. Raises OSError."""
    _see(path.stat(), path, limit)  # before it is opened: opening a device may already do something
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        _see(os.fstat(number), path, limit)  # another file may have taken its place
        return os.fdopen(number, "rb")
    except BaseException:
        os.close(number)
        raise


def read_bytes(path: Path, limit: int) -> bytes:
    """All bytes of a regular file. Raises OSError, also for a file that grows beyond `limit` meanwhile."""
    with open_file(path, limit) as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise _too_large(path, limit)
    return content


def read_text(path: Path, limit: int) -> str:
    """All text of a regular UTF-8 file; a byte order mark is passed over. Raises OSError."""
    try:
        return read_bytes(path, limit).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise OSError(errno.EILSEQ, f"it is not UTF-8 text ({error.reason} at byte {error.start})", str(path)) from None


def read_json(path: Path, limit: int) -> Any:
    """Return a regular file as JSON. Raises OSError, and ValueError for what is no JSON."""
    text = read_text(path, limit)
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def why(error: OSError) -> str:
    """Return the reason of an OSError without its number and its path."""
    return error.strerror or str(error)


def size(limit: int) -> str:
    """Return a number of bytes for people."""
    for unit, name in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if limit >= unit and limit % unit == 0:
            return f"{limit // unit} {name}"
    return f"{limit} bytes"


def _see(status: os.stat_result, path: Path, limit: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise OSError(errno.EINVAL, f"it is {kind}, not a regular file", str(path))
    if status.st_size > limit:
        raise _too_large(path, limit)


def _too_large(path: Path, limit: int) -> OSError:
    return OSError(errno.EFBIG, f"it is larger than {size(limit)}, the most that is read of such a file", str(path))
