"""The database: where it is, opening it, and bringing it to the revision that this version writes.

SQLite and PostgreSQL. SQLAlchemy and Alembic are imported here and in the modules beside it, never by what
starts a run: a run writes when it is over.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from wsklab.orchestrator.errors import LabError, UsageError

MIGRATIONS = Path(__file__).with_name("migrations")

BUSY = 10.0
"""Seconds that a writer waits for another one in SQLite."""

_LOCK = 0x77736B6C61620001
"""Of PostgreSQL's advisory lock that whoever upgrades holds: "wsklab", 1."""

NETWORKED = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "ceph", "glusterfs"})
"""Kinds of file systems over which SQLite's journal is not safe (sqlite.org/wal.html: all on one host)."""


class Database:
    """An open database whose tables are those of this version."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def server(self) -> bool:
        """Whether it is PostgreSQL, which several hosts share."""
        return self._engine.dialect.name == "postgresql"

    @property
    def name(self) -> str:
        """The URL without its password, for people."""
        return self._engine.url.render_as_string(hide_password=True)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Yield a connection to read with. Raises LabError."""
        with _explained(self.name), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Yield a transaction that is committed at the end of the block, or not at all. Raises LabError."""
        with _explained(self.name), self._engine.connect() as connection:
            connection = connection.execution_options(wsklab_writes=True)
            with connection.begin():
                yield connection

    def close(self) -> None:
        """Let go of all connections."""
        self._engine.dispose()


@contextmanager
def opened(url: URL) -> Iterator[Database]:
    """Yield the database at `url`, made or upgraded when it has to be. Raises UsageError, LabError."""
    database = Database(_engine(url))
    try:
        with database.reading() as connection:
            present = _revision(connection)
        if present != newest():
            with database.writing() as connection:
                _upgrade(connection, database)
        yield database
    finally:
        database.close()


def url_of(text: str) -> URL:
    """Return a user's words for a database: a URL, or the path of an SQLite file. Raises UsageError."""
    if "://" not in text:
        return URL.create("sqlite", database=str(Path(text).expanduser().absolute()))
    try:
        url = make_url(text)
        if url.get_backend_name() == "postgresql" and "+" not in url.drivername:
            url = url.set(drivername="postgresql+psycopg")
        if url.get_backend_name() not in ("sqlite", "postgresql"):
            raise UsageError(
                f"a history is kept in SQLite or PostgreSQL, not in {url.get_backend_name()}; "
                "give sqlite:///FILE or postgresql://USER@HOST/NAME."
            )
        url.get_dialect()
    except (ArgumentError, NoSuchModuleError, ValueError):
        raise UsageError(
            "the history's URL cannot be read; give sqlite:///FILE or postgresql://USER@HOST/NAME."
        ) from None
    return url


def _engine(url: URL) -> Engine:
    if url.get_backend_name() == "postgresql":
        waits = "-c statement_timeout=60000 -c lock_timeout=20000"  # a server that hangs must not hold a run's end
        return sa.create_engine(url, connect_args={"connect_timeout": 10, "options": waits})
    _see(url)
    engine = sa.create_engine(url, connect_args={"timeout": BUSY})

    @sa.event.listens_for(engine, "connect")
    def _connected(connection: Any, _: object) -> None:
        # Python's module would begin transactions when it likes, also before a SELECT, and never for DDL
        # (docs.sqlalchemy.org, "Serializable isolation / Savepoints / Transactional DDL" of the SQLite dialect).
        connection.isolation_level = None
        # Whoever changes the journal's mode while another does is told BUSY at once, whatever its timeout.
        with _one_at_a_time(url):
            connection.execute("PRAGMA journal_mode=WAL")
        for pragma in ("synchronous=NORMAL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        # A transaction that first reads and then writes fails at once when another writer came between.
        writes = connection.get_execution_options().get("wsklab_writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


@contextmanager
def _one_at_a_time(url: URL) -> Iterator[None]:
    """Hold the folder of an SQLite file (flock(2)); the file has SQLite's own locks, which a close would drop."""
    file = _file(url)
    if file is None:
        yield
        return
    try:
        folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise LabError(f"{file.parent}: cannot be read: {error.strerror}; name another file.") from None
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _file(url: URL) -> Path | None:
    """Return an SQLite database's file, None of one in memory."""
    return None if url.database in (None, "", ":memory:") else Path(str(url.database)).absolute()


def _see(url: URL) -> None:
    """Make the folder of an SQLite file. Raises UsageError for one on another host, and for one that cannot be."""
    file = _file(url)
    if file is None:
        return
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{file.parent}: cannot be made: {error.strerror}; name another file.") from None
    kind = file_system(file.parent, Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace"))
    if kind in NETWORKED:
        raise UsageError(
            f"{file}: lies on another host ({kind}), where SQLite loses what several write; "
            "name a file on a disk of this host, or a PostgreSQL server."
        )


def file_system(folder: Path, mounts: str) -> str:
    """Return the kind of file system that a folder is on, by `mounts` (proc(5), mountinfo).

    Empty if that does not tell.
    """
    best, kind = -1, ""
    for line in mounts.splitlines():
        head, _, tail = line.partition(" - ")
        point = head.split(" ")[4].encode().decode("unicode_escape") if head.count(" ") > 4 else "?"
        if (folder == Path(point) or Path(point) in folder.parents) and len(point) >= best:
            best, kind = len(point), tail.split(" ")[0]
    return kind


def _upgrade(connection: Connection, database: Database) -> None:
    """Bring the tables to the newest revision; one process at a time. Raises LabError for a database of the future."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    present = _revision(connection)
    if present == newest():
        return
    from alembic import command  # of use only once in a database's life
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if present is not None and present not in known:
        raise LabError(
            f"the history {database.name} is of revision {present}, and this version of wsklab knows "
            f"{newest()}; use a newer wsklab, or name another database."
        )
    config.attributes["connection"] = connection
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("SET LOCAL statement_timeout = 0"))  # a table may have to be copied
    command.upgrade(config, "head")


def newest() -> str:
    """Return the revision that this version writes: the number of its last migration."""
    return max(path.name[1:5] for path in (MIGRATIONS / "versions").glob("r[0-9]*_*.py"))


def _revision(connection: Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()


@contextmanager
def _explained(name: str) -> Iterator[None]:
    """Raise what a database has to complain about as one sentence."""
    try:
        yield
    except SQLAlchemyError as error:
        text = str(getattr(error, "orig", None) or error).strip().partition("\n")[0]
        raise LabError(f"the history {name}: {text}.") from error
    except ImportError as error:
        raise LabError(f"the history {name}: {error}; install it with pip.") from None
