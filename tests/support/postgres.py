"""A real PostgreSQL server of a test session's own: a temporary cluster that only this host's sockets lead to."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

_NUMBERS = itertools.count()

SETTINGS = "-c fsync=off -c synchronous_commit=off -c full_page_writes=off -c listen_addresses=''"
"""Nothing of it has to survive; no port is taken."""


KEEPER = """
cat > /dev/null
"$1" -D "$2/data" -m immediate stop > /dev/null 2>&1
rm -rf "$2"
"""
"""Ends the server and removes its folder when its standard input ends: when the tests say so, or have been killed."""


@contextmanager
def cluster() -> Iterator[str]:
    """Run a server while the block lasts; yields a URL without a database's name. It refuses to run as root."""
    user = _unprivileged()
    folder = Path(tempfile.mkdtemp(prefix="wsklab-pg-", dir="/tmp"))  # a socket's path has 107 bytes at most
    if user is not None:
        os.chown(folder, user.pw_uid, user.pw_gid)
    data, log = folder / "data", folder / "log"
    keeper = subprocess.Popen(
        ["sh", "-c", KEEPER, "keeper", _tool("pg_ctl"), folder],
        **_as(user),
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is for the tests
    )
    with keeper:
        _run(user, "initdb", "-D", data, "-U", "wsklab", "--auth=trust", "--no-sync", "--encoding=UTF8", "--no-locale")
        _run(user, "pg_ctl", "-D", data, "-w", "-l", log, "-o", f"{SETTINGS} -k {folder}", "start")
        yield f"postgresql://wsklab@/{{name}}?host={folder}"


def new_database(server: str) -> str:
    """Return the URL of an empty database on the server."""
    name = f"t{next(_NUMBERS)}"
    with psycopg.connect(server.format(name="postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return server.format(name=name)


def _unprivileged() -> pwd.struct_passwd | None:
    """Whoever runs the server instead of root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise AssertionError("this host has no user that could run PostgreSQL")


def _as(user: pwd.struct_passwd | None) -> dict[str, Any]:
    """Return what a process of the server's is started with."""
    return {
        "user": user.pw_uid if user else None,
        "group": user.pw_gid if user else None,
        "extra_groups": [] if user else None,
        "cwd": "/",
        "env": {"PATH": os.environ["PATH"], "LC_ALL": "C"},
    }


def _run(user: pwd.struct_passwd | None, program: str, *words: str | Path) -> None:
    done = subprocess.run(
        [_tool(program), *words],
        **_as(user),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,  # a pipe would be held open by the server
        stderr=subprocess.PIPE if program == "initdb" else subprocess.DEVNULL,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{program}: {done.stderr}"


def _tool(name: str) -> str:
    """Debian keeps the server's tools out of everybody's PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[4]))
    tool = str(found[-1]) if found else shutil.which(name)
    assert tool, "PostgreSQL is missing; `./lab test` installs it, or run `apt-get install postgresql`"
    return tool
