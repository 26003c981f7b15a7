"""Kept snapshots on their way to the workers: published under their key, their disks by content, and fetched once.

The key has in it all that a saved lab depends on: images, driver, profiles, QEMU's version, the accelerator, and for
KVM the host's processor and kernel. A worker asks for the key that it would save under itself, so what it gets was
saved by a host that is like it; one that does not come to life all the same is removed, and a boot follows.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from wsklab.orchestrator.fleet.transport.store import Store, StoreError, locked
from wsklab.orchestrator.lab.snapshots import DISKS, FORMAT, MACHINES, Snapshots, Unfit, kept_name, key_of
from wsklab.qemu.disks import OVERLAY

_NAMES = {kept_name(machine, disk) for machine in MACHINES for disk in DISKS}
_OVERLAYS = [kept_name(machine, OVERLAY) for machine in MACHINES]


def _word(key: str) -> str:
    return f"snapshot-{key}"


def publish(store: Store, snapshots: Snapshots, images: Collection[str], progress: Callable[[str], None]) -> None:
    """Put the kept snapshots of these images (by their keys) into a store. Raises StoreError, OSError."""
    for kept in snapshots.listing():
        key = kept.folder.name
        try:
            found = snapshots.find(key)
            manifest = (kept.folder / "manifest.json").read_bytes()
            about = json.loads(manifest)["ingredients"]
        except (Unfit, OSError, ValueError, KeyError):
            continue
        if found is None or not set(about.values()) & set(images) or store.named(_word(key)) == manifest:
            continue
        progress(f"publishing the kept snapshot {key[:12]} ({found.size >> 20} MiB)")
        for name, digest in found.hashes.items():
            if store.put(kept.folder / name) != digest:
                raise StoreError(f"the kept snapshot {key[:12]} is damaged: {name}; remove {kept.folder}.")
        store.name(_word(key), manifest)


def fetch(store: Store, snapshots: Snapshots, key: str, images: Path) -> bool:
    """Take the snapshot of a key out of a store, if it is there; returns whether it is here now.

    By one process at a time; `images` is the folder of this host's images, which its disks lie over. Raises StoreError
    for one that is damaged, OSError.
    """
    with locked(snapshots.folder / f"{key}.fetch"):
        if (snapshots.folder / key).exists():
            return True
        said = store.named(_word(key))
        if said is None:
            return False
        hashes, ingredients = _read(said, key)
        with snapshots.saving(key) as partial:
            if partial is None:
                return False  # a lab that has booted is being saved
            for name, digest in hashes.items():
                store.get(digest, partial / name)
                (partial / name).chmod(0o600)
            for name in _OVERLAYS:
                _rebase(partial / name, images)
            snapshots.publish(partial, key, ingredients)
    return True


def _read(said: bytes, key: str) -> tuple[dict[str, str], dict[str, str]]:
    """Return hashes and ingredients out of a manifest. Raises StoreError when it is not that of this key."""
    try:
        manifest: Any = json.loads(said)
        hashes = {str(name): str(digest) for name, digest in manifest["hashes"].items()}
        ingredients = {str(name): str(value) for name, value in manifest["ingredients"].items()}
        right = manifest["format"] == FORMAT and key_of(ingredients) == key
    except (ValueError, KeyError, TypeError, AttributeError):
        right, hashes, ingredients = False, {}, {}
    if not right or not set(_OVERLAYS) <= set(hashes) <= _NAMES:
        raise StoreError(f"what the store has as the snapshot {key[:12]} is not that.")
    return hashes, ingredients


def _rebase(overlay: Path, images: Path) -> None:
    """Let an overlay lie over the same image in the folder that it has on this host. Raises StoreError."""

    def told(*command: str) -> str:
        done = subprocess.run(["qemu-img", *command, str(overlay)], capture_output=True, text=True)
        if done.returncode:
            raise StoreError(f"{overlay.name} of a snapshot out of the store is no disk: {done.stderr.strip()}")
        return done.stdout

    backing = json.loads(told("info", "--output=json", "--force-share")).get("backing-filename")
    if backing is None:
        return  # it holds nothing but a snapshot
    image = Path(backing).parent.name
    base = images / image / Path(backing).name
    if not base.exists():
        raise StoreError(f"{overlay.name} of a snapshot out of the store lies over the image {image[:12]}, not here.")
    told("rebase", "-u", "-f", "qcow2", "-F", "qcow2", "-b", str(base.resolve()))
