"""Chromium without a window: where it is, and how it is called."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome")
"""What it may be called."""

PATIENCE = 120
"""Seconds."""

QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)
"""As root it has no sandbox; it is for pages of this lab, which load nothing."""


def program(names: Sequence[str] = NAMES, environment: Mapping[str, str] = os.environ) -> str | None:
    """Where it is; None where it is not installed."""
    return next((found for name in names if (found := shutil.which(name, path=environment.get("PATH")))), None)


def run(program: str, page: Path, *words: str, environment: Mapping[str, str] = os.environ) -> str:
    """Open a page with these words more; returns what it prints. Raises OSError, subprocess.TimeoutExpired."""
    with tempfile.TemporaryDirectory(prefix="wsklab-chromium-") as scratch:  # it writes to its profile and to HOME
        return subprocess.run(
            [program, *QUIET, f"--user-data-dir={scratch}/profile", *words, page.absolute().as_uri()],
            capture_output=True,
            timeout=PATIENCE,
            check=False,
            encoding="utf-8",
            errors="replace",
            env={**environment, "HOME": scratch},
        ).stdout
