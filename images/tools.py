"""Programs of this host that make images, wherever Debian keeps them."""

import os
import shutil

from wsklab.images.errors import ImageError

_ADMIN = "/usr/sbin:/sbin"
"""Where `mke2fs` is, which Debian has in root's PATH alone."""


def find(program: str) -> str | None:
    """Return the path of a program, in PATH or among the administrator's; None where there is none."""
    return shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:{_ADMIN}")


def need(program: str, package: str) -> str:
    """Return the path of a program. Raises ImageError, which names the package that has it."""
    path = find(program)
    if path is None:
        raise ImageError(f"{program} is missing, which guest images are made with; run `apt-get install {package}`")
    return path
