"""Builds a Debian guest image in two stages, so that a changed file of ours does not fetch packages again.

1. packages (`packages.py`): kept under `<cache>/packages/`, remade when the recipe's package part changes or on demand;
2. this file: our own files, SSH keys, disk, initial RAM disk.
"""

import hashlib
import json
import shutil
import subprocess
import tarfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from wsklab.images import disk, packages
from wsklab.images.errors import ImageError
from wsklab.images.keys import ADDRESS, KeyPair, write_private
from wsklab.images.packages import PackageStage, Progress
from wsklab.images.recipe import HERE, SHARED_C, PutFile, Recipe
from wsklab.images.secure import sha256
from wsklab.images.store import Image, Manifest, Store

_COMPILER = ["gcc", "-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-Werror", "-static"]
_SPACE = 3 << 30
"""Bytes needed while a guest is made; the unpacked packages of the stand-in are the most of it."""


def build(recipe: Recipe, inputs: Mapping[str, Path], store: Store, partial: Path, progress: Progress,
          fresh: bool) -> Image:  # fmt: skip
    """Build and publish an image inside `Store.building`. `fresh`: fetch the packages even if they are kept.

    Raises ImageError.
    """
    for folder in {store.images, packages.scratch(store.images)}:
        require_space(folder, shutil.disk_usage(folder).free)
    digest = recipe.digest(inputs)
    stage = _package_stage(recipe, store, partial, progress, fresh)
    progress("putting our files in")
    client, host = KeyPair.generate(), KeyPair.generate()
    root = partial / "root"
    with tarfile.open(stage.root) as archive:
        # Debian 12's Python 3.11.2 has no filters yet; the archive is of our own making either way.
        archive.extraction_filter = getattr(tarfile, "tar_filter", None)
        archive.extractall(root)
    for path in recipe.folders:
        (root / path).mkdir(parents=True, exist_ok=True)
    for path, put in recipe.files.items():
        _put(put, _place(root, path), inputs)
    for path, target in recipe.links.items():
        _place(root, path).symlink_to(target)
    write_private(root / "etc/ssh/ssh_host_ed25519_key", host.private)
    (root / "etc/ssh/authorized_keys").write_bytes(client.public)
    progress("making the disk")
    disk.ext4_disk(root, partial / "disk.qcow2", recipe.disk_mb)
    script, busybox = (HERE / "guest/initrd.sh").read_bytes(), (root / "bin/busybox").read_bytes()
    (partial / "initrd.img").write_bytes(disk.initial_ram_disk(busybox, script, stage.modules))
    shutil.copyfile(stage.kernel, partial / "vmlinuz")
    shutil.rmtree(root)
    write_private(partial / "ssh_key", client.private)
    (partial / "ssh_key.pub").write_bytes(client.public)
    (partial / "known_hosts").write_bytes(f"{ADDRESS} ".encode() + host.public)
    return store.publish(partial, _manifest(recipe, digest, stage, host, partial))


def require_space(folder: Path, free: int) -> None:
    """Raise ImageError when less than a build needs is free (bytes)."""
    if free < _SPACE:
        raise ImageError(
            f"{folder} has {free >> 20} MB free, but making a guest image takes {_SPACE >> 20} MB; free some space, "
            "or set WSKLAB_CACHE (images) or TMPDIR (unpacking) to a folder on another disk"
        )


def _package_stage(recipe: Recipe, store: Store, partial: Path, progress: Progress, fresh: bool) -> PackageStage:
    kept = store.packages / f"{recipe.name}-{recipe.package_digest()[:16]}"
    if kept.exists() and not fresh and not PackageStage(kept).intact:
        progress(f"{kept} cannot be shown to be as it was unpacked (SHA-256), so the packages are fetched again")
        fresh = True
    if fresh or not kept.exists():
        folder = partial / "packages"
        folder.mkdir()
        packages.make(recipe, folder, store.packages / f"{recipe.name}.log", progress).seal()
        for old in store.packages.glob(f"{recipe.name}-" + "?" * 16):
            shutil.rmtree(old)
        folder.rename(kept)
    return PackageStage(kept)


def _place(root: Path, path: str) -> Path:
    """Clear a place in the guest's tree. A link there goes, and none is followed: absolute ones lead into the host."""
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.parent.resolve().is_relative_to(root.resolve()):
        raise ImageError(f"the recipe puts {path} behind a link that leads out of the image; name the real folder")
    target.unlink(missing_ok=True)
    return target


def _put(put: PutFile, target: Path, inputs: Mapping[str, Path]) -> None:
    if put.program is not None:
        compile_program(HERE / put.program, target)
    elif put.path is not None:
        shutil.copyfile(HERE / put.path, target)
    elif put.input is not None:
        shutil.copyfile(inputs[put.input], target)
    target.chmod(put.mode)


def compile_program(folder: Path, target: Path, options: tuple[str, ...] = ()) -> None:
    """Compile the C files of a folder, and those that it shares, into one static Linux program. Raises ImageError."""
    sources = sorted(str(source) for part in (folder, SHARED_C) for source in part.glob("*.c"))
    try:
        command = [*_COMPILER, f"-I{SHARED_C}", *options, "-o", str(target), *sources]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise ImageError("gcc is missing, which compiles the guest's own programs; run `apt-get install gcc`") from None
    if done.returncode != 0:
        raise ImageError(f"{folder} does not compile: {done.stderr.strip()}")


def _manifest(recipe: Recipe, digest: str, stage: PackageStage, host: KeyPair, folder: Path) -> Manifest:
    identity = json.dumps([digest, stage.versions, host.public.decode()], sort_keys=True)
    files = [folder / name for name in ("disk.qcow2", "vmlinuz", "initrd.img")]
    return Manifest(
        name=recipe.name,
        kind=recipe.kind,
        key=hashlib.sha256(identity.encode()).hexdigest(),
        recipe_sha256=digest,
        packages=stage.versions,
        files={file.name: sha256(file) for file in files},
        size_bytes=sum(file.stat().st_size for file in files),
        built=datetime.now(UTC).isoformat(timespec="milliseconds"),
        kernel_args=recipe.kernel_args,
    )
