"""Windows images, made unattended from the user's own ISO. Not yet run with Windows: docs/windows.md says what was."""

from wsklab.images.windows.install.builder import Media, build, require, work_folder
from wsklab.images.windows.media.catalogue import names
from wsklab.images.windows.media.installation_media import WrongMedium

__all__ = ["Media", "WrongMedium", "build", "names", "require", "work_folder"]
