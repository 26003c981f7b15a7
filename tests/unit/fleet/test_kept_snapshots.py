"""Kept snapshots through a store: fetched by whoever would keep the same one, over that host's own images."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from wsklab.orchestrator.fleet.transport import kept_snapshots
from wsklab.orchestrator.fleet.transport.store import Store, StoreError
from wsklab.orchestrator.lab.snapshots import Snapshots, key_of
from wsklab.qemu.disks import create_overlay

IMAGE = "b" * 64
INGREDIENTS = {"standin": IMAGE, "peer": "a" * 64, "qemu": "7.2", "accelerator": "tcg", "host": ""}
KEY = key_of(INGREDIENTS)


def an_image(cache: Path) -> Path:
    folder = cache / "images" / IMAGE
    folder.mkdir(parents=True)
    create_overlay(None, folder / "disk.qcow2")
    return folder / "disk.qcow2"


def backing(overlay: Path) -> str | None:
    told = subprocess.run(["qemu-img", "info", "--output=json", str(overlay)], check=True, capture_output=True)
    found: str | None = json.loads(told.stdout).get("backing-filename")
    return found


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Return a store in which there is a snapshot of another host's lab."""
    (tmp_path / "store").mkdir()
    here = Snapshots(tmp_path / "client")
    with here.saving(KEY) as partial:
        assert partial is not None
        create_overlay(an_image(tmp_path / "client"), partial / "target.qcow2")
        create_overlay(None, partial / "peer.qcow2")
        here.publish(partial, KEY, INGREDIENTS)
    made, said = Store(str(tmp_path / "store")), list[str]()
    kept_snapshots.publish(made, here, ["c" * 64], said.append)
    assert said == [], "of another image"
    kept_snapshots.publish(made, here, [IMAGE], said.append)
    kept_snapshots.publish(made, here, [IMAGE], said.append)
    assert [line.partition(" (")[0] for line in said] == [f"publishing the kept snapshot {KEY[:12]}"], "only once"
    return made


def test_it_lies_over_the_image_of_the_host_that_fetches_it(store: Store, tmp_path: Path) -> None:
    base, there = an_image(tmp_path / "worker"), Snapshots(tmp_path / "worker")
    assert kept_snapshots.fetch(store, there, KEY, tmp_path / "worker" / "images")
    kept = there.find(KEY)
    assert kept is not None
    assert backing(kept.overlay("target")) == str(base.resolve())
    assert backing(kept.overlay("peer")) is None
    (tmp_path / "lab").mkdir()
    kept.copy("target", tmp_path / "lab")  # which compares its hash
    (tmp_path / "store").rename(tmp_path / "gone")
    assert kept_snapshots.fetch(store, there, KEY, tmp_path / "worker" / "images"), "it is here"


def test_a_key_that_nobody_has_kept_is_booted(store: Store, tmp_path: Path) -> None:
    there = Snapshots(tmp_path / "worker")
    other = key_of({**INGREDIENTS, "qemu": "9.0"})
    assert kept_snapshots.fetch(store, there, other, tmp_path / "worker" / "images") is False
    assert there.listing() == []


def test_what_is_not_as_it_was_published_is_not_used(store: Store, tmp_path: Path) -> None:
    there, images = Snapshots(tmp_path / "worker"), tmp_path / "worker" / "images"
    with pytest.raises(StoreError, match=f"lies over the image {IMAGE[:12]}, not here"):
        kept_snapshots.fetch(store, there, KEY, images)
    an_image(tmp_path / "worker")
    name = next((tmp_path / "store").rglob(f"snapshot-{KEY}"))
    said = json.loads(name.read_bytes())
    digest = said["hashes"]["target.qcow2"]
    disk = tmp_path / "store" / "sha256" / digest[:2] / digest[2:]
    whole = disk.read_bytes()
    disk.write_bytes(whole[:-1] + b"x")
    with pytest.raises(StoreError, match="is damaged"):
        kept_snapshots.fetch(store, there, KEY, images)
    disk.write_bytes(whole)
    for wrong in ({"ingredients": {"standin": IMAGE}}, {"hashes": {"../x": digest}}, {"hashes": 3}):
        name.write_text(json.dumps(said | wrong))
        with pytest.raises(StoreError, match=f"what the store has as the snapshot {KEY[:12]} is not that"):
            kept_snapshots.fetch(store, there, KEY, images)
    assert there.listing() == []
    name.write_text(json.dumps(said))
    assert kept_snapshots.fetch(store, there, KEY, images)
