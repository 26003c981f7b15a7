"""What a Windows target needs of the host besides what every run needs."""

from __future__ import annotations

import shutil
from collections.abc import Callable

from wsklab.orchestrator.errors import UsageError

TOOLS = {"osslsigncode": "osslsigncode", "ntfscat": "ntfs-3g"}
"""Programs that a Windows target needs besides those of every run, each with its Debian package."""


def require_tools(which: Callable[[str], str | None] = shutil.which) -> None:
    """See that drivers can be signed and files taken off a disk of Windows. Raises UsageError."""
    if missing := [package for program, package in TOOLS.items() if which(program) is None]:
        raise UsageError(f"Windows as a target needs the Debian packages {' and '.join(missing)}: "
                         f"`apt-get install {' '.join(missing)}`")  # fmt: skip
