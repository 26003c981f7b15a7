"""Hashes of what takes part in a qualification and is named in no run's results."""

from __future__ import annotations

import hashlib
import shutil
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from wsklab import images
from wsklab.common import files
from wsklab.drivers.build import build_standin
from wsklab.images.secure import sha256
from wsklab.orchestrator.release.statement import Lab
from wsklab.qemu.confinement import QEMU

LAYERS = ("common", "qemu", "images", "drivers", "orchestrator")


def lab() -> Lab:
    """Return the version of this lab, and a hash of all its files."""
    whole = hashlib.sha256()
    for layer in LAYERS:
        home = Path(import_module(f"wsklab.{layer}").__path__[0])
        for path in sorted(home.rglob("*")):
            parts = path.relative_to(home).parts
            if path.is_file() and not any(part.startswith((".", "__pycache__")) for part in parts):
                whole.update(f"{layer}/{'/'.join(parts)} {sha256(path)}\n".encode())
    return Lab(version=version("wsklab"), sha256=whole.hexdigest())


def of_run(folder: Path) -> dict[str, str]:
    """Return name -> SHA-256 of QEMU, of the lab's own programs and of both images that the run in `folder` was on."""
    program = shutil.which(QEMU)
    found = {QEMU: sha256(Path(program).resolve())} if program is not None else {}
    standin = build_standin(images.cache_folder())
    found |= {built.path.name: built.sha256 for built in (standin.netio, standin.agent)}
    disk = files.read_json(folder / "results.json", files.RESULT)["target"].get("image_sha256")
    peer = images.ensure("peer", standin.inputs, lambda _: None)
    target = next((image for image in images.listing() if image.manifest.files.get("disk.qcow2") == disk), None)
    for image in (peer, target):
        if image is not None:
            found |= {f"image {image.name}, {name}": digest for name, digest in image.manifest.files.items()}
    return found
