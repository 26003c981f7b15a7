"""Recipes: how a guest image is made, as data (`recipes/*.yaml`)."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from wsklab.common import JSON_IN_C, document, files
from wsklab.common.strict import Strict
from wsklab.images.errors import ImageError

HERE = Path(__file__).resolve().parent
RECIPES = HERE / "recipes"
SHARED_C = JSON_IN_C
"""C files that are part of every program."""


def _within_the_guest(path: str) -> str:
    if path.startswith("/") or ".." in Path(path).parts:
        raise ValueError(f"must be a path relative to the guest's root without '..', not {path!r}")
    return path


GuestPath = Annotated[str, AfterValidator(_within_the_guest)]


class PutFile(Strict):
    """One file put into the guest; exactly one source is given."""

    path: str | None = None
    """A file of this layer, relative to `images/`."""
    program: str | None = None
    """A folder of C files of this layer, relative to `images/`, compiled into one static program with SHARED_C's."""
    input: str | None = None
    """A file that the caller hands over under this name, such as `driver:netio.sys`."""
    mode: Annotated[int, Field(ge=0, le=0o777)] = 0o644

    @model_validator(mode="after")
    def _one_source(self) -> "PutFile":
        if sum(source is not None for source in (self.path, self.program, self.input)) != 1:
            raise ValueError("give exactly one of path, program, input")
        return self

    def sources(self) -> list[Path]:
        """Return the files of this layer that it is made of, sorted; none for an `input`."""
        if self.path is not None:
            return [HERE / self.path]
        if self.program is not None:
            return sorted(
                f for part in (HERE / self.program, SHARED_C) for f in part.iterdir() if f.suffix in (".c", ".h")
            )
        return []


class Recipe(Strict):
    """How one Debian guest image is made. Paths inside the guest are relative to its root."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]*$")]
    kind: Literal["peer", "standin"]
    suite: str
    packages: tuple[str, ...]
    hooks: tuple[str, ...] = ()
    """Shell scripts of this layer that run in the unpacked packages (chroot), in order."""
    keep: tuple[GuestPath, ...]
    """Glob patterns of what stays of the packages. The libraries that a kept program needs stay by themselves."""
    modules: tuple[str, ...]
    """Kernel modules loaded by the initial RAM disk; what they depend on comes by itself."""
    folders: tuple[GuestPath, ...] = ()
    files: dict[GuestPath, PutFile]
    links: dict[GuestPath, str] = {}
    disk_mb: Annotated[int, Field(ge=16, le=65536)]
    kernel_args: str

    def inputs(self) -> list[str]:
        """Return the names of the files that the caller must hand over, sorted."""
        return sorted({put.input for put in self.files.values() if put.input is not None})

    def package_digest(self) -> str:
        """SHA-256 over all that decides the package stage, except the versions that the archive has today."""
        digest = hashlib.sha256()
        stage = self.model_dump_json(include={"suite", "packages", "hooks", "keep", "modules"})
        digest.update(stage.encode())
        for hook in self.hooks:
            digest.update((HERE / hook).read_bytes())
        return digest.hexdigest()

    def digest(self, inputs: Mapping[str, Path]) -> str:
        """SHA-256 over the recipe and every file that goes in."""
        digest = hashlib.sha256(self.model_dump_json().encode())
        digest.update(self.package_digest().encode())
        sources = [source for put in self.files.values() for source in put.sources()]
        for source in [HERE / "guest/initrd.sh", *sources, *(inputs[name] for name in self.inputs())]:
            digest.update(hashlib.sha256(source.read_bytes()).digest())
        return digest.hexdigest()


def names() -> list[str]:
    """Return the recipes there are, sorted."""
    return sorted(path.stem for path in RECIPES.glob("*.yaml"))


def load(name: str) -> Recipe:
    """Read a recipe. Raises ImageError for an unknown name or a wrong file."""
    if name not in names():
        raise ImageError(f"there is no image recipe {name!r}; the recipes are: {', '.join(names())}")
    try:
        return parse(files.read_text(RECIPES / f"{name}.yaml", files.TEXT), f"{name}.yaml")
    except OSError as error:
        raise ImageError(f"{name}.yaml: cannot be read: {files.why(error)}.") from None


def parse(text: str, where: str) -> Recipe:
    """Check the text of a recipe; `where` names it in errors. Raises ImageError."""
    try:
        return document.parse(text, Recipe, where)
    except document.Refused as error:
        raise ImageError(str(error)) from None
