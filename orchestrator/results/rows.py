"""`results.jsonl`: each row of a run as soon as it is judged, and the folder that a run keeps hold of."""

from __future__ import annotations

import json
import os
from array import array
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Self

from pydantic import TypeAdapter

from wsklab.orchestrator.results.results import ScenarioResult

NAME = "results.jsonl"


class Home:
    """The folder of a run, kept hold of: if somebody moves or removes it, that is noticed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)

    @property
    def wherever(self) -> Path:
        """A path to the folder that holds wherever it has been moved to."""
        return Path(f"/proc/self/fd/{self._fd}")

    def trouble(self) -> str | None:
        """Return what has happened to the folder, in one sentence; None when it is where it was."""
        try:
            if os.path.samestat(self.path.stat(), os.fstat(self._fd)):
                return None
        except OSError:
            pass
        if not os.fstat(self._fd).st_nlink:
            return self.emptied
        return f"the run's folder {self.path} was moved to {self.wherever.readlink()} while the run went on"

    @property
    def emptied(self) -> str:
        """What is said when the folder is gone, or its rows: a removal goes through what is in it first."""
        return f"the run's folder {self.path}, or what was in it, was removed while the run went on"

    def close(self) -> None:
        """Let go of it."""
        os.close(self._fd)


class Rows:
    """The file while the run goes on; adding a row costs the same however many there are."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._file = self._path.open("ab", buffering=0)

    def append(self, row: ScenarioResult) -> None:
        """Add a row: all of it, or nothing. Raises OSError."""
        line = json.dumps(asdict(row), separators=(",", ":")).encode() + b"\n"
        whole = os.fstat(self._file.fileno()).st_size
        try:
            while line:
                line = line[self._file.write(line) or 0 :]
        except OSError:
            self._file.truncate(whole)
            raise

    @property
    def lost(self) -> bool:
        """Whether somebody has removed the file."""
        return not os.fstat(self._file.fileno()).st_nlink

    def close(self) -> None:
        """Nothing more is added."""
        self._file.close()


class Kept:
    """The rows of a run as they are on disk, in the order in which they came; none is in memory."""

    def __init__(self, folder: Path) -> None:
        """Find where each begins; a last line that is cut off is no row. Raises OSError."""
        self._path = folder / NAME
        self._file = self._path.open("rb")
        self._begins = array("Q", [0])
        for line in self._file:
            if line.endswith(b"\n"):
                self._begins.append(self._begins[-1] + len(line))

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._begins) - 1

    def text(self, number: int) -> str:
        """Return a row as JSON. Raises ValueError for what is none."""
        line = self._line(number)
        _read(line, self._path, number + 1)
        return line.decode().rstrip("\n")

    def row(self, number: int) -> ScenarioResult:
        """Return a row. Raises ValueError for what is none."""
        return _read(self._line(number), self._path, number + 1)

    def _line(self, number: int) -> bytes:
        self._file.seek(self._begins[number])
        return self._file.readline()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


def read(folder: Path) -> list[ScenarioResult]:
    """Return the rows of a run, in the order in which they came.

    A last line that is cut off, as a kill may leave it, is no row. Raises OSError, and ValueError for any other line
    that is not one.
    """
    *lines, _ = (folder / NAME).read_bytes().split(b"\n")
    return [_read(line, folder / NAME, number) for number, line in enumerate(lines, 1)]


def _read(line: bytes, path: Path, number: int) -> ScenarioResult:
    try:
        return _reader().validate_json(line)
    except ValueError:
        raise ValueError(f"{path}: line {number} is not a row") from None


@cache
def _reader() -> TypeAdapter[ScenarioResult]:
    return TypeAdapter(ScenarioResult)
