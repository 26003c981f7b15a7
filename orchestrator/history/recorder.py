"""What `wsklab run` does with the history: a note when it begins, a record when it ends, and never an exit code.

The note needs no database. So a run that is killed is found by whoever opens the history next, and a run that ended
while the database could not be reached is recorded then, too. A server, which outlives this host and its notes, is
told at the beginning as well, beside the run.
"""

from __future__ import annotations

import platform
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from wsklab.orchestrator.errors import LabError, UsageError
from wsklab.orchestrator.history.where import Note, chosen, notes
from wsklab.orchestrator.run import janitor

if TYPE_CHECKING:  # its library takes longer to import than all the rest of a run's beginning
    from wsklab.orchestrator.history.database import Database


class Recorder:
    """One run's way into the history; `warn` is told what goes wrong."""

    def __init__(self, history: str | None, folder: Path, warn: Callable[[str], None]) -> None:
        self._history = chosen(history)
        self._folder = folder.absolute()
        self._warn = warn
        self.getting_ready: threading.Thread | None = None
        """Loads the database's library while the lab boots, and tells a server of the run."""

    def begin(self) -> None:
        """Note that the run is under way."""
        if note := self._note:
            try:
                note.keep()
            except OSError as error:
                self._warn(f"this run will not be found in the history if it is killed: {error}")
            self.getting_ready = threading.Thread(target=self._get_ready, args=(note,), name="history", daemon=True)
            self.getting_ready.start()

    def _get_ready(self, note: Note) -> None:
        with suppress(Exception):  # the end tries again, and tells
            from wsklab.orchestrator.history import database, records, writing  # noqa: F401

            if not note.history.startswith("postgresql"):
                return
            with database.opened(database.url_of(note.history)) as found:
                save(found, self._folder, alive=True)

    def end(self) -> None:
        """Record the run, whose files are written, and earlier ones that are not recorded yet."""
        if not (note := self._note):
            return
        try:
            if self.getting_ready:
                self.getting_ready.join()
            with opened(note.history) as database:
                save(database, self._folder, alive=True)  # what it says of itself is true
                note.drop()
        except LabError as error:
            self._warn(f"this run is not recorded: {str(error).rstrip('.')}; it will be by the next `wsklab history`.")
        except Exception as error:  # whatever a database's library may raise: the run has its verdicts
            self._warn(f"this run is not recorded: {type(error).__name__}: {error}")

    @property
    def _note(self) -> Note | None:
        return Note(str(self._folder), self._history) if self._history else None


@contextmanager
def opened(history: str) -> Iterator[Database]:
    """Yield the database, with the runs in it that ended without having recorded themselves.

    Raises UsageError, LabError.
    """
    from wsklab.orchestrator.history import database

    with database.opened(database.url_of(history)) as found:
        for note in notes(history):
            folder = Path(note.folder)
            if janitor.alive(folder):
                continue
            with suppress(UsageError):  # nothing is left of it that could be read
                save(found, folder)
            note.drop()
        yield found


def save(database: Database, folder: Path, alive: bool | None = None) -> int:
    """Record one run's folder; returns how many of its rows are new. Raises UsageError, LabError."""
    from wsklab.orchestrator.history import records, writing

    run, rows = records.read(folder, platform.node(), janitor.alive(folder) if alive is None else alive)
    with database.writing() as connection:
        return writing.record(connection, run, rows)
