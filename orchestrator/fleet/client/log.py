"""`fleet.jsonl` in a run's folder: what became of batches that did not simply come back. No row depends on it."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

NAME = "fleet.jsonl"


class Log:
    """The file while the run goes on."""

    def __init__(self, folder: Path) -> None:
        self._file = (folder / NAME).open("a", encoding="utf-8")

    def note(self, what: str, **words: object) -> None:
        """Add a line; a disk that is full costs only that."""
        with suppress(OSError):
            at = datetime.now(UTC).isoformat(timespec="milliseconds")
            self._file.write(json.dumps({"at": at, "what": what, **words}) + "\n")
            self._file.flush()

    def close(self) -> None:
        """Nothing more is noted."""
        with suppress(OSError):
            self._file.close()
