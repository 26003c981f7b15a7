"""Damage as a failing disk does it: other bytes, and nothing that `stat` would show."""

from __future__ import annotations

import os
from pathlib import Path


def flip(file: Path) -> None:
    """Change one byte in the middle of a file; size, inode and times that can be set stay as they are."""
    before = file.stat()
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    with file.open("r+b") as opened:
        opened.write(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
