"""The order in which two workers take up the files of tests: those that took longest last time go first.

With `--dist loadfile` a worker runs a file alone. Begun last, a long one would keep one worker busy while the other has
nothing left to do. A plugin that tests/conftest.py registers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from math import inf

import pytest

TOOK = "wsklab/took"
"""In pytest's cache: by file, the seconds that its tests took when all of them last ran side by side."""


def ordered(files: list[str], took: Mapping[str, float]) -> list[int]:
    """Return the places of these, one for each test, in the order to run them in.

    Tests of one file stay together in their order, and files that are not known yet go first, in theirs.
    """
    return sorted(range(len(files)), key=lambda place: -took.get(files[place], inf))


class LongestFirst:
    """What the workers and their controller have to do for it. A run in one process keeps pytest's order."""

    def __init__(self) -> None:
        self._took: dict[str, float] = defaultdict(float)

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        """Sort the tests of a worker: all of them read the same file, so that they agree."""
        cache = _cache(config)
        if cache is not None and hasattr(config, "workerinput"):
            files = [item.nodeid.partition("::")[0] for item in items]
            items[:] = [items[place] for place in ordered(files, cache.get(TOOK, {}))]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add up what each file takes."""
        self._took[report.nodeid.partition("::")[0]] += report.duration

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Keep it, from the controller of a run with workers: there all tests of a file take part."""
        cache = _cache(session.config)
        if cache is not None and session.config.getoption("dist", "no") != "no":
            seconds = {file: round(took, 1) for file, took in self._took.items()}
            cache.set(TOOK, {**cache.get(TOOK, {}), **seconds})


def _cache(config: pytest.Config) -> pytest.Cache | None:
    """Return pytest's cache; none where its plugin is turned off."""
    return getattr(config, "cache", None)
