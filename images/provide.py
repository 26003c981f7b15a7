"""What the other layers ask for: a guest image by name, found in the store or built."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from wsklab.images import recipe as recipes
from wsklab.images.errors import ImageError
from wsklab.images.recipe import Recipe
from wsklab.images.store import Image, Store

if TYPE_CHECKING:  # most runs build nothing
    from wsklab.images.packages import Progress


def cache_folder() -> Path:
    """$WSKLAB_CACHE, or `wsklab` in the user's cache folder (XDG base directories)."""
    if own := os.environ.get("WSKLAB_CACHE"):
        return Path(own).absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wsklab"


def ensure(name: str, inputs: Mapping[str, Path], progress: Progress) -> Image:
    """Return the image of a recipe and these input files: of the store, or built now. Its files are as they were built.

    `inputs` are the files that the recipe names (`Recipe.inputs`); others are ignored. `progress` is told each step of
    a build, and nothing when the image is in the store. While this process lives nobody removes it. Raises ImageError.
    """
    recipe, store = _recipe(name, inputs), Store(cache_folder())
    digest = recipe.digest(inputs)
    image = store.find(digest)
    if image is None:
        from wsklab.images import builder  # most runs build nothing

        with store.building(name, progress) as partial:
            # Another process may have built it while this one waited.
            image = store.find(digest) or builder.build(recipe, inputs, store, partial, progress, fresh=False)
    store.hold(image)
    store.check(image)
    return image


def stored(name: str, inputs: Mapping[str, Path]) -> bool:
    """Whether `ensure` would find the image in the store. Raises ImageError."""
    return Store(cache_folder()).find(_recipe(name, inputs).digest(inputs)) is not None


def build(name: str, inputs: Mapping[str, Path], progress: Progress) -> Image:
    """Build an image anew, with the packages that the mirror has now. Raises ImageError."""
    from wsklab.images import builder

    recipe, store = _recipe(name, inputs), Store(cache_folder())
    with store.building(name, progress) as partial:
        return builder.build(recipe, inputs, store, partial, progress, fresh=True)


def listing() -> list[Image]:
    """All images in the store, the newest of each name first."""
    return Store(cache_folder()).listing()


def verify(name: str) -> list[Image]:
    """Hash every file of every image of this name; returns the images. Raises ImageError."""
    store, images = Store(cache_folder()), _named(name)
    for image in images:
        store.verify(image)
    return images


def remove(name: str) -> list[Image]:
    """Delete every image of this name; returns what there was. Raises ImageError for none, and for one in use."""
    store, images = Store(cache_folder()), _named(name)
    used = [image for image in images if not store.remove(image)]
    if used:
        raise ImageError(f"the image {name!r} is in use ({used[0].key[:12]}); wait for the run's end and try again")
    return images


def _named(name: str) -> list[Image]:
    images = [image for image in listing() if image.name == name]
    if not images:
        raise ImageError(f"there is no image {name!r}; run `wsklab image list` to see what there is")
    return images


def _recipe(name: str, inputs: Mapping[str, Path]) -> Recipe:
    recipe = recipes.load(name)
    missing = [wanted for wanted in recipe.inputs() if wanted not in inputs]
    if missing:
        raise ImageError(f"the image {name!r} needs {', '.join(missing)}; run `wsklab driver build` first")
    return recipe
