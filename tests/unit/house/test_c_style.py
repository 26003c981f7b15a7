"""What tools can check in the C code: its layout, and what cppcheck finds in it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
HEADERS = (
    "drivers/include", "drivers/native", "drivers/wsklab", "drivers/standin", "drivers/strict", "images/guest/peer",
    "common/json",
)  # fmt: skip


def sources(*patterns: str) -> list[str]:
    listed = subprocess.run(["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True, check=True)
    return listed.stdout.split()


def test_the_layout_is_clang_formats() -> None:
    """One version for everybody: the one of requirements.lock, not the host's."""
    formatter = Path(sys.executable).with_name("clang-format")
    done = subprocess.run(
        [formatter, "--dry-run", "--Werror", *sources("*.c", "*.h")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_cppcheck_finds_nothing() -> None:
    command = [
        "cppcheck",
        "--quiet",
        "--std=c11",
        "--enable=warning,performance,portability",
        "--inline-suppr",
        "--error-exitcode=1",
        *(f"-I{folder}" for folder in HEADERS),
    ]
    done = subprocess.run(
        [*command, *sources("common/*.c", "drivers/*.c", "images/*.c", ":!drivers/include/tests")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
