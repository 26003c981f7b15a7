"""An image in a store that no machine boots from: as much as is shipped, held, checked and removed."""

from __future__ import annotations

from pathlib import Path

from wsklab.images.secure import sha256
from wsklab.images.store import Image, Manifest, Store

HASHED = ("disk.qcow2", "vmlinuz", "initrd.img")


def an_image(cache: Path, name: str = "peer", letter: str = "a") -> Image:
    """Put an image into the store of this cache; `letter` is the whole of its key, and its content has its name."""
    Store(cache)
    folder = cache / "images" / (letter * 64)
    folder.mkdir(mode=0o700)
    for file in (*HASHED, "ssh_key", "known_hosts"):
        (folder / file).write_text(f"{name} {file}")
        (folder / file).chmod(0o600)
    manifest = Manifest(
        name=name,
        kind="linux",
        key=letter * 64,
        recipe_sha256=letter,
        packages={},
        files={file: sha256(folder / file) for file in HASHED},
        size_bytes=1,
        built="2026-01-01T00:00:00+00:00",
        kernel_args="",
    )
    (folder / "manifest.json").write_text(manifest.model_dump_json())
    return Image(folder, manifest)
