"""Windows images, made unattended from the user's own ISO. Not yet run with Windows: docs/windows.md says what was.

The builder is loaded when it is asked for: most runs have another target.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wsklab.images.windows.install.builder import Media, build, require, work_folder
    from wsklab.images.windows.media.catalogue import names
    from wsklab.images.windows.media.installation_media import WrongMedium

__all__ = ["Media", "WrongMedium", "build", "names", "require", "work_folder"]

_HOME = {
    "Media": "install.builder",
    "WrongMedium": "media.installation_media",
    "build": "install.builder",
    "names": "media.catalogue",
    "require": "install.builder",
    "work_folder": "install.builder",
}


def __getattr__(name: str) -> Any:
    """Load a name of `__all__` from its module (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
