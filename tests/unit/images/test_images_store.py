"""The store: publishing, finding, trusting, removing, and two builders side by side."""

import os
import re
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import pytest
from support.damage import flip

from wsklab import images
from wsklab.images import builder
from wsklab.images import recipe as recipes
from wsklab.images import store as store_module
from wsklab.images.errors import ImageError
from wsklab.images.packages import Progress
from wsklab.images.recipe import Recipe
from wsklab.images.secure import sha256
from wsklab.images.store import Image, Manifest, Store

BOOTED = ("disk.qcow2", "vmlinuz", "initrd.img")


def publish(store: Store, partial: Path, key: str, name: str = "peer", digest: str = "d1") -> Image:
    for file in BOOTED:
        (partial / file).write_bytes(key.encode())
    files = {file: sha256(partial / file) for file in BOOTED}
    manifest = Manifest(
        name=name,
        kind="peer",
        key=key,
        recipe_sha256=digest,
        packages={},
        files=files,
        size_bytes=2,
        built=f"2020-{key}",
        kernel_args="",
    )
    return store.publish(partial, manifest)


def build(store: Store, key: str, digest: str = "d1") -> Image:
    with store.building("peer", print) as partial:
        return publish(store, partial, key, digest=digest)


def test_an_image_is_found_by_what_it_was_made_from(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.find("d1") is None
    image = build(store, "01")
    assert store.find("d1") == image
    assert image.disk.read_bytes() == b"01"
    assert store.listing() == [image]


def test_a_failed_build_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(RuntimeError), store.building("peer", print) as partial:
        (partial / "disk.qcow2").write_bytes(b"half")
        raise RuntimeError
    assert store.listing() == []
    assert not partial.exists()


def test_a_changed_file_is_refused_with_the_way_out(tmp_path: Path) -> None:
    store = Store(tmp_path)
    image = build(store, "01")
    store.check(image)
    image.disk.write_bytes(b"02")
    for trust in (store.check, store.verify):
        with pytest.raises(ImageError, match=r"disk\.qcow2.*wsklab image remove peer && wsklab image build peer"):
            trust(image)


@pytest.mark.parametrize("file", BOOTED)
def test_damage_that_no_stamp_shows_is_noticed_before_each_use(
    cache: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    monkeypatch.setattr(store_module, "_HELD", {})
    image = build(Store(cache), "01", digest=recipes.load("peer").digest({}))
    assert images.ensure("peer", {}, pytest.fail) == image
    flip(image.folder / file)
    with pytest.raises(ImageError, match=rf"{re.escape(file)} .*SHA-256 differs.*wsklab image build peer"):
        images.ensure("peer", {}, pytest.fail)


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Store, Image]:
    """Provide an image whose every file is too large to be hashed each time."""
    monkeypatch.setattr(store_module, "_HASHED_ALWAYS", -1)
    store = Store(tmp_path)
    return store, build(store, "01")


def hashed(store: Store, image: Image, now: float, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Return the files that `check` reads at this time."""
    read: set[str] = set()

    def spy(path: Path) -> str:
        read.add(path.name)
        return sha256(path)

    with monkeypatch.context() as context:
        context.setattr(store_module, "sha256", spy)
        store.check(image, now)
    return read


def test_a_large_file_is_hashed_once_a_day(large: tuple[Store, Image], monkeypatch: pytest.MonkeyPatch) -> None:
    store, image = large
    now = 10 * 86400.0
    assert hashed(store, image, now, monkeypatch) == set(BOOTED)  # never before at this time of day
    assert hashed(store, image, now + 86399, monkeypatch) == set()
    assert hashed(store, image, now + 86400, monkeypatch) == set(BOOTED)
    assert hashed(store, image, now - 1, monkeypatch) == set(BOOTED), "a clock that was set back is no reason to trust"


def test_a_large_file_that_was_written_to_is_hashed_whatever_its_times_say(large: tuple[Store, Image]) -> None:
    store, image = large
    store.check(image)
    flip(image.disk)
    with pytest.raises(ImageError, match=r"disk\.qcow2 .*SHA-256 differs"):
        store.check(image)


def test_a_touched_but_equal_file_is_trusted_after_hashing(large: tuple[Store, Image]) -> None:
    store, image = large
    image.disk.touch()
    store.check(image)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660])
def test_a_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    store = Store(tmp_path)
    image = build(store, "01")
    image.ssh_key.write_text("secret")
    image.ssh_key.chmod(mode)
    with pytest.raises(ImageError, match=rf"ssh_key is open to others \({mode:04o}\).*chmod 600"):
        store.check(image)
    image.ssh_key.chmod(0o600)
    store.check(image)


@pytest.mark.parametrize("folder", [".", "images", "images/refs", "packages"])
def test_a_cache_that_everybody_may_write_to_is_refused(tmp_path: Path, folder: str) -> None:
    Store(tmp_path)
    (tmp_path / folder).chmod(0o707)
    with pytest.raises(ImageError, match=r"everybody may write to .*chmod o-w"):
        Store(tmp_path)


def test_an_image_that_everybody_may_write_to_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path)
    image = build(store, "01")
    image.folder.chmod(0o777)
    with pytest.raises(ImageError, match=r"everybody may write to .*chmod o-w"):
        store.check(image)


def test_a_cache_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Store(tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(ImageError, match=r"belongs to user .* set WSKLAB_CACHE to a folder of your own"):
        Store(tmp_path)


def test_old_images_of_a_name_are_dropped(tmp_path: Path) -> None:
    store = Store(tmp_path)
    for number in range(5):
        build(store, f"0{number}", digest=f"d{number}")
    assert [image.key for image in store.listing()] == ["04", "03", "02"]
    assert store.find("d0") is None


def test_an_image_that_a_run_holds_stays_whatever_is_built_or_removed(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held: dict[Path, BinaryIO] = {}
    monkeypatch.setattr(store_module, "_HELD", held)
    store = Store(cache)
    store.hold(build(store, "00", digest="d0"))
    for number in range(1, 6):
        build(store, f"0{number}", digest=f"d{number}")
    assert [image.key for image in store.listing()] == ["05", "04", "03", "00"]
    with pytest.raises(ImageError, match="in use"):
        images.remove("peer")
    assert [image.key for image in store.listing()] == ["00"]
    held.popitem()[1].close()  # the run has ended
    images.remove("peer")
    assert store.listing() == []


def test_an_image_that_is_gone_cannot_be_held(tmp_path: Path) -> None:
    store = Store(tmp_path)
    image = build(store, "01")
    assert store.remove(image)
    with pytest.raises(ImageError, match="run the command again"):
        store.hold(image)


def test_a_damaged_manifest_is_no_image(tmp_path: Path) -> None:
    store = Store(tmp_path)
    image = build(store, "01")
    (image.folder / "manifest.json").write_text("{")
    assert store.find("d1") is None
    assert store.listing() == []


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WSKLAB_CACHE", str(tmp_path))
    return tmp_path


def test_two_who_need_the_same_image_build_it_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started, waiting = threading.Event(), threading.Event()
    builds: list[bool] = []

    def slow_build(recipe: Recipe, inputs: Mapping[str, Path], store: Store, partial: Path, progress: Progress,
                   fresh: bool) -> Image:  # fmt: skip
        builds.append(fresh)
        started.set()
        assert waiting.wait(10)
        return publish(store, partial, "01", digest=recipe.digest(inputs))

    def told(step: str) -> None:
        assert f"waiting for process {os.getpid()}, which is building the image peer" in step
        waiting.set()

    monkeypatch.setattr(builder, "build", slow_build)
    found: list[Image] = []
    both = [threading.Thread(target=lambda: found.append(images.ensure("peer", {}, told))) for _ in range(2)]
    both[0].start()
    assert started.wait(10)
    both[1].start()
    for thread in both:
        thread.join(20)
    assert builds == [False]
    assert found[0] == found[1]
    images.ensure("peer", {}, pytest.fail)


def test_commands_on_images_by_name(cache: Path) -> None:
    build(Store(cache), "01")
    assert [image.key for image in images.verify("peer")] == ["01"]
    assert [image.key for image in images.remove("peer")] == ["01"]
    assert images.listing() == []
    with pytest.raises(ImageError, match="wsklab image list"):
        images.remove("peer")


def test_missing_inputs_are_named(cache: Path) -> None:
    with pytest.raises(ImageError, match=r"driver:netio\.sys, driver:wskagent\.exe.*wsklab driver build"):
        images.ensure("standin", {}, print)
