"""The session of a pytest run: opened by the first test that needs a lab, and asked for by all."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

import pytest

from wsklab import images
from wsklab.common.errors import WsklabError
from wsklab.orchestrator.live.session import Session, Wanted, worker_folder
from wsklab.orchestrator.pytest_plugin import said
from wsklab.orchestrator.results.console import Console

HELD = pytest.StashKey["Holder"]()


def wanted(config: pytest.Config) -> Wanted:
    """Return what the options ask for."""

    def path(name: str) -> Path | None:
        word = said(config, name)
        return Path(word) if word else None

    worker = getattr(config, "workerinput", {})
    return Wanted(
        target=said(config, "target") or "standin",
        driver=said(config, "driver") or "wsklab",
        driver_file=path("driver-file"),
        twin=said(config, "twin") or None,
        strict=config.getoption("--wsklab-strict"),
        verify=said(config, "verifier") or None,
        seed=config.getoption("--wsklab-seed"),
        cold=config.getoption("--wsklab-cold"),
        out=worker_folder(path("out"), worker.get("workerid", ""), worker.get("testrunuid", "")),
        history=said(config, "history") or None,
        known=path("known"),
    )


class Holder:
    """The session, once there is one; one that could not be opened fails every test with the same sentence."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self.session: Session | None = None
        self._why: WsklabError | None = None

    def get(self) -> Session:
        """Return it, opened on first use. Raises WsklabError."""
        if self._why is not None:
            raise self._why
        if self.session is None:
            try:
                with self._alone(), self._visible():
                    if not self._is_worker:
                        print()  # pytest's own line has been begun
                    self.session = Session(wanted(self._config), Console(quiet=self._is_worker))
                    self.session.lab()
            except WsklabError as error:
                if self.session is None:
                    self._why = error
                raise
        return self.session

    @property
    def _is_worker(self) -> bool:
        return hasattr(self._config, "workerinput")

    def _visible(self) -> AbstractContextManager[None]:
        """Show the making of images on the console, as it takes minutes, as nothing else of a run is."""
        capture = self._config.pluginmanager.getplugin("capturemanager")
        if self._is_worker or capture is None:
            return nullcontext()
        disabled: AbstractContextManager[None] = capture.global_and_fixture_disabled()
        return disabled

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Of several workers the first makes what is missing and keeps the snapshot, from which the others start."""
        folder = images.cache_folder()
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "pytest.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def holder(config: pytest.Config) -> Holder:
    """Return the one of this run."""
    if HELD not in config.stash:
        config.stash[HELD] = Holder(config)
    return config.stash[HELD]
