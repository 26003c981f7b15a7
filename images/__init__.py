"""Guest images: recipes, the store, the builder.

`ensure` is what a lab calls; `build`, `listing`, `verify` and `remove` are the commands of `wsklab image`.
"""

from wsklab.images.errors import ImageError
from wsklab.images.keys import ADDRESS
from wsklab.images.provide import build, cache_folder, ensure, listing, remove, stored, verify
from wsklab.images.recipe import Recipe, load, names
from wsklab.images.store import Image, Manifest

__all__ = [
    "ADDRESS",
    "Image",
    "ImageError",
    "Manifest",
    "Recipe",
    "build",
    "cache_folder",
    "ensure",
    "listing",
    "load",
    "names",
    "remove",
    "stored",
    "verify",
]
