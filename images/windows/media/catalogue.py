"""The versions of Windows that images are made of, and the media that are known (`catalogue.yaml`)."""

import functools
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from wsklab.images.errors import ImageError

EVALUATION = "Eval"
"""The suffix of the edition of evaluation media, as in `ServerStandardEval`."""
WHERE_TO_GET = "Microsoft's Evaluation Center (https://www.microsoft.com/evalcenter), x64, English"
VIRTIO_WHERE = "https://fedorapeople.org/groups/virt/virtio-win/direct-downloads/archive-virtio/"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Version(_Model):
    """One version of Windows."""

    title: str
    kind: Literal["client", "server"]
    builds: tuple[int, int]
    """The first and the last build number."""
    virtio: str
    """Its folder on the virtio-win medium."""
    editions: tuple[str, ...]
    """EDITIONID without the evaluation suffix, the most wanted first."""
    keys: dict[str, Annotated[str, Field(pattern=r"^[A-Z0-9]{5}(-[A-Z0-9]{5}){4}$")]]
    skip_hardware_checks: bool = False
    """Setup refuses machines without TPM, Secure Boot and a listed CPU unless told not to."""
    brings_ssh: bool = False
    """An OpenSSH server is installed with the system."""

    def key(self, edition: str) -> str | None:
        """Return the installation key of an EDITIONID; none on evaluation media, where any key is refused."""
        return None if edition.endswith(EVALUATION) else self.keys.get(edition)


class Medium(_Model):
    """A medium whose SHA-256 somebody has recorded."""

    version: str
    title: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    source: str
    file: str | None = None
    bytes: int | None = None


class Catalogue(_Model):
    """All of it."""

    families: tuple[tuple[int, ...], ...]
    """Build numbers of one system: it says the later ones of itself, its medium the first."""

    versions: dict[str, Version]
    media: tuple[Medium, ...]


@functools.cache
def catalogue() -> Catalogue:
    """Return the catalogue that comes with the lab."""
    text = (Path(__file__).parent / "catalogue.yaml").read_text()
    return Catalogue.model_validate(yaml.safe_load(text))


def names() -> list[str]:
    """Return the versions that an image can be made of."""
    return list(catalogue().versions)


def version(name: str) -> Version:
    """Return a version by the name of its image. Raises ImageError."""
    try:
        return catalogue().versions[name]
    except KeyError:
        raise ImageError(f"there is no Windows image {name!r}; there are: {', '.join(names())}") from None


def version_of(build: int, kind: str) -> str | None:
    """Return the name of the version that a build number of this kind belongs to."""
    for name, one in catalogue().versions.items():
        if one.kind == kind and one.builds[0] <= build <= one.builds[1]:
            return name
    return None


def family(build: int) -> int:
    """Return the first build of the family that a build number belongs to; itself where none is known."""
    return next((one[0] for one in catalogue().families if build in one), build)


def recorded(sha256: str) -> Medium | None:
    """Return the medium with this hash."""
    return next((medium for medium in catalogue().media if medium.sha256 == sha256), None)


def recorded_as(file: str) -> Medium | None:
    """Return the medium that is distributed under this file name."""
    return next((medium for medium in catalogue().media if medium.file == file), None)
