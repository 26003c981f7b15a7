"""Both databases, real ones: a file for each test, and a PostgreSQL server for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.postgres import cluster, new_database

from wsklab.orchestrator.history.database import Database, opened, url_of


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    with cluster() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def history(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Provide the URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'history.sqlite'}"
    return new_database(request.getfixturevalue("server"))


@pytest.fixture
def on_server(server: str) -> str:
    """Provide the URL of an empty database on the server."""
    return new_database(server)


@pytest.fixture
def database(history: str) -> Iterator[Database]:
    with opened(url_of(history)) as found:
        yield found


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put notes on runs under way where nobody else's are."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.delenv("WSKLAB_HISTORY", raising=False)
    return tmp_path / "data"
