"""Where the history is, and which runs are under way: without the database's library, as every run begins here."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from wsklab.common import files
from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.results.results import write_atomically

VARIABLE = "WSKLAB_HISTORY"

OFF = "off"
"""Instead of a URL: nothing is recorded."""


def data_folder() -> Path:
    """Where a user's data is kept (XDG base directory specification)."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "wsklab"


def chosen(option: str | None) -> str | None:
    """Return the history's URL or file: what the command says, then the environment, then the user's own.

    None for `off`. Raises UsageError for a database of another kind.
    """
    named = option or os.environ.get(VARIABLE) or str(data_folder() / "history.sqlite")
    kind = named.partition("://")[0].partition("+")[0]
    if "://" in named and kind not in ("sqlite", "postgresql"):
        raise UsageError(
            f"a history is kept in SQLite or PostgreSQL, not in '{kind}'; give a file, sqlite:///FILE or "
            "postgresql://USER@HOST/NAME."
        )
    if named == OFF:
        return None
    return named if "://" in named else str(Path(named).expanduser().absolute())


@dataclass(frozen=True)
class Note:
    """A run that has begun. Its note stays until it is in the database: that of a killed run is found there."""

    folder: str
    history: str

    @property
    def path(self) -> Path:
        """The note's own file."""
        return _notes() / f"{hashlib.sha256(f'{self.folder} {self.history}'.encode()).hexdigest()[:16]}.json"

    def keep(self) -> None:
        """Write it down. Raises OSError."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_atomically(self.path, json.dumps(asdict(self)) + "\n")

    def drop(self) -> None:
        """Remove the note: the run is in the database, or nothing is left of it."""
        with suppress(OSError):
            self.path.unlink()


def notes(history: str) -> Iterator[Note]:
    """Yield the runs of this host that have begun and are not yet in the database `history`."""
    for path in sorted(_notes().glob("*.json")):
        with suppress(OSError, ValueError, TypeError):
            note = Note(**files.read_json(path, files.TEXT))
            if note.history == history:
                yield note


def _notes() -> Path:
    return data_folder() / "under-way"
