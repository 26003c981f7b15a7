"""A log that may grow for ever and takes bounded disk: its beginning and its end are kept, a marker stands between.

A guest that prints without end must fill neither the disk nor, when its log is copied, the memory. QEMU's own
`logfile=` has no bound, so whoever drains a line writes its log.
"""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

HEAD = 2 << 20
"""Bytes kept of the beginning: the boot."""

TAIL = 8 << 20
"""Bytes kept of the end; up to as many more are there until they are left out."""

COPIED_HEAD, COPIED_TAIL = 1 << 20, 3 << 20
"""Bytes of a part that are copied when it is larger than both."""

LEFT_OUT = b"bytes are left out here"
"""What the line says that stands where bytes are missing."""

_PIECE = 1 << 20


class LogFile:
    """An append-only file. Positions count every byte ever written, also those left out meanwhile.

    One thread writes, any may copy. A disk that is full costs what is written then, never an exception: the text of a
    guest is heard by others, too, and the log says what it lacks.
    """

    def __init__(self, path: Path, head: int = HEAD, tail: int = TAIL) -> None:
        self.path = path
        self._head, self._tail = head, tail
        self._lock = threading.Lock()
        self._file: BinaryIO | None = None
        path.touch()  # whoever looks for it finds it, even if nothing is ever said
        self._size = path.stat().st_size  # of the file
        self._resumes = 0  # the position of the first byte behind the marker, 0 as long as nothing is left out
        self._shift = 0  # position minus place in the file, of what is behind the marker
        self._mark = 0  # where in the file the marker begins
        self._lost = 0  # bytes that could not be written

    def write(self, data: bytes) -> None:
        """Append; never raises OSError."""
        with self._lock:
            try:
                if self._file is None:
                    self._file = self.path.open("ab", buffering=0)
                if self._lost:
                    self._append(left_out(self._lost, "they could not be written"))
                    self._lost = 0
                self._append(data)
                if self._size > self._head + 2 * self._tail:
                    self._compact(self._file)
            except OSError:
                self._lost += len(data)

    @property
    def position(self) -> int:
        """The present end."""
        with self._lock:
            return self._size + self._shift

    def copy(self, target: Path, since: int = 0, head: int = COPIED_HEAD, tail: int = COPIED_TAIL) -> None:
        """Copy what has been written from position `since` on; of too much, head and tail. Raises OSError."""
        with self._lock:
            if not self.path.exists():
                return
            with self.path.open("rb") as source:
                begin, end = self._place(since), self._size
                if end - begin <= head + tail:
                    _copy(source, target, [(begin, end)])
                else:
                    between = left_out(end - begin - head - tail, "of this part")
                    _copy(source, target, [(begin, begin + head), (end - tail, end)], between)

    def close(self) -> None:
        """Close the file; a later `write` opens it again."""
        with self._lock:
            if self._file is not None:
                self._file.close()
            self._file = None

    def _append(self, data: bytes) -> None:
        assert self._file is not None
        while data:
            written = self._file.write(data) or 0
            self._size += written
            data = data[written:]

    def _place(self, position: int) -> int:
        """Where in the file a position is; the marker for what was left out."""
        if not self._resumes or position <= self._mark:
            return min(position, self._size)
        return self._mark if position < self._resumes else min(position - self._shift, self._size)

    def _compact(self, full: BinaryIO) -> None:
        """Write the beginning, a marker and the end beside the file, and rename that over it."""
        beside = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        end = self._size + self._shift  # a position
        head = self._mark if self._resumes else self._head
        kept = self._tail
        try:
            with self.path.open("rb") as source:
                marker = left_out(end - kept - head, "the beginning and the end of this log are kept")
                _copy(source, beside, [(0, head), (self._size - kept, self._size)], marker)
            beside.replace(self.path)
            full.close()
            self._file = self.path.open("ab", buffering=0)
            self._size = head + len(marker) + kept
        except OSError:  # no room for a second file: what came since the beginning goes
            with suppress(OSError):
                beside.unlink(missing_ok=True)
            os.ftruncate(full.fileno(), head)
            self._size = head
            marker, kept = left_out(end - head, "the disk was full"), 0
            self._append(marker)
        self._mark, self._resumes, self._shift = head, end - kept, end - self._size


def left_out(count: int, why: str) -> bytes:
    """Return the line that stands where bytes are missing."""
    return f"\n[wsklab: {count} ".encode() + LEFT_OUT + f"; {why}]\n".encode()


def _copy(source: BinaryIO, target: Path, parts: list[tuple[int, int]], between: bytes = b"") -> None:
    with target.open("wb") as out:
        for number, (begin, end) in enumerate(parts):
            if number:
                out.write(between)
            source.seek(begin)
            while begin < end and (piece := source.read(min(_PIECE, end - begin))):
                out.write(piece)
                begin += len(piece)
