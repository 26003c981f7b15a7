"""Kept snapshots on disk: keys, publishing, damage, limits."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from support.damage import flip

from wsklab.images.windows import names
from wsklab.orchestrator.lab import snapshots
from wsklab.orchestrator.lab.lab import is_right
from wsklab.orchestrator.lab.snapshots import MACHINES, Snapshots, Unfit, copy, kept_name, key_of
from wsklab.qemu.disks import OVERLAY, VARIABLES
from wsklab.qemu.profile import load_profile

PARTS = {"standin": "a", "peer": "b", "driver": "c", "profiles": "d", "qemu": "7.2", "accelerator": "tcg"}


def keep(store: Snapshots, key: str, age: int = 0, size: int = 4096) -> None:
    """Publish a snapshot, last used `age` seconds ago."""
    with store.saving(key) as partial:
        assert partial is not None
        for machine in MACHINES:
            (partial / f"{machine}.qcow2").write_bytes(b"x" * size)
        kept = store.publish(partial, key, PARTS)
    when = kept.folder.stat().st_mtime - age
    os.utime(kept.folder, (when, when))


@pytest.mark.parametrize("part", PARTS)
def test_whatever_changes_the_key_changes(part: str) -> None:
    assert key_of(PARTS) == key_of(dict(reversed(PARTS.items())))
    assert key_of(PARTS) != key_of(PARTS | {part: "other"})


def test_what_was_published_is_found_and_nothing_else(tmp_path: Path) -> None:
    store = Snapshots(tmp_path)
    keep(store, "one")
    found = store.find("one")
    assert found is not None
    assert found.overlay("target").read_bytes() == b"x" * 4096
    assert store.find("two") is None


def test_what_else_a_machine_writes_to_is_kept_and_guarded(tmp_path: Path) -> None:
    store = Snapshots(tmp_path)
    with store.saving("one") as partial:
        assert partial is not None
        for name in ("target.qcow2", "peer.qcow2", kept_name("target", VARIABLES)):
            (partial / name).write_bytes(name.encode())
        store.publish(partial, "one", PARTS)
    found = store.find("one")
    assert found is not None
    assert list(found.disks("peer")) == [OVERLAY]
    assert found.disks("target")[VARIABLES].read_bytes() == b"target-variables.qcow2"
    found.disks("target")[VARIABLES].unlink()
    with pytest.raises(Unfit):
        store.find("one")


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("damage", [flip, lambda disk: os.truncate(disk, 100)])
def test_no_machine_starts_from_a_damaged_disk(tmp_path: Path, machine: str, damage: Callable[[Path], None]) -> None:
    store = Snapshots(tmp_path / "cache")
    keep(store, "one")
    damage(store.folder / "one" / f"{machine}.qcow2")
    found = store.find("one")
    assert found is not None
    with pytest.raises(Unfit, match=rf"{machine}\.qcow2 is not as it was saved \(SHA-256 differs\)"):
        found.copy(machine, tmp_path)
    assert not (tmp_path / OVERLAY).exists()
    (other,) = set(MACHINES) - {machine}
    found.copy(other, tmp_path)
    assert (tmp_path / OVERLAY).read_bytes() == b"x" * 4096


@pytest.mark.parametrize("damage", ["gone", "no manifest", "manifest of another"])
def test_a_snapshot_that_is_not_whole_is_refused(tmp_path: Path, damage: str) -> None:
    store = Snapshots(tmp_path)
    keep(store, "one")
    disk, manifest = tmp_path / "snapshots/one/peer.qcow2", tmp_path / "snapshots/one/manifest.json"
    if damage == "manifest of another":
        manifest.write_text(manifest.read_text().replace('"one"', '"two"'))
    else:
        (disk if damage == "gone" else manifest).unlink()
    with pytest.raises(Unfit):
        store.find("one")


def test_two_runs_do_not_save_the_same_key(tmp_path: Path) -> None:
    with Snapshots(tmp_path).saving("one") as first, Snapshots(tmp_path).saving("one") as second:
        assert first is not None
        assert second is None
    with Snapshots(tmp_path).saving("one") as third:
        assert third is not None


def test_nothing_of_an_unfinished_save_is_left_or_found(tmp_path: Path) -> None:
    store = Snapshots(tmp_path)
    with pytest.raises(RuntimeError), store.saving("one") as partial:
        assert partial is not None
        (partial / "target.qcow2").write_bytes(b"half")
        raise RuntimeError
    assert store.find("one") is None
    assert store.listing() == []


def test_the_longest_unused_go_first(tmp_path: Path) -> None:
    store = Snapshots(tmp_path, newest=2)
    keep(store, "old", age=300)
    keep(store, "older", age=200)
    store.find("old")  # used now
    keep(store, "new")
    assert {kept.folder.name for kept in store.listing()} == {"old", "new"}


def test_the_limit_of_room_spares_the_newest(tmp_path: Path) -> None:
    store = Snapshots(tmp_path, room=10_000)
    keep(store, "first", age=100, size=100_000)
    keep(store, "second", size=100_000)
    assert [kept.folder.name for kept in store.listing()] == ["second"]


def test_a_copy_that_fails_says_so(tmp_path: Path) -> None:
    with pytest.raises(Unfit, match="cannot be copied"):
        copy(tmp_path / "missing", tmp_path / "to")


def test_what_a_killed_process_was_saving_goes_and_what_another_saves_stays(tmp_path: Path) -> None:
    store = Snapshots(tmp_path)
    (store.folder / "killed.partial").mkdir()
    (store.folder / "killed.partial" / "peer.qcow2").touch()
    with Snapshots(tmp_path).saving("other") as other:
        assert other is not None
        keep(store, "one")
        assert other.is_dir()
    assert [kept.folder.name for kept in store.listing()] == ["one"]
    assert [path.name for path in store.folder.iterdir()] == ["one"], "no lock stays either"


def test_there_is_room_for_several_windows_guests() -> None:
    """A kept snapshot of one is a little more than its memory."""
    largest = max(load_profile(name).memory_mib for name in names()) << 20
    assert 5 * largest <= snapshots.ROOM


@pytest.mark.parametrize(
    ("late", "right"), [(0, True), (-20, True), (-21, False), (4000, True), (5000, True), (5001, False)]
)
def test_a_clock_that_was_just_set_may_lag_by_its_ticks(late: int, right: bool) -> None:
    """Windows' time moves in steps of up to 16 ms, so that it may be before what it was set to."""
    assert is_right(1_000_000 + late, 1_000_000, 5.0) == right
