"""For all tests: nothing is judged by how long it took, as machines are shared and noisy."""

from __future__ import annotations

import os

import pytest
from hypothesis import settings
from support.longest_first import LongestFirst

settings.register_profile("lab", deadline=None)
settings.load_profile("lab")

os.environ["WSKLAB_HISTORY"] = "off"  # no run of a test goes into its user's history


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(LongestFirst())
