"""A lab's process but for its machines: what it fetches, which rows it sends, and what a full disk is to it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support import driver_package
from support.simulated_run import scenario
from support.stored_image import an_image

from wsklab.drivers.build import BuiltDriver
from wsklab.drivers.profile import load_profile
from wsklab.images.secure import sha256
from wsklab.images.store import Store as Images
from wsklab.orchestrator.errors import LabError
from wsklab.orchestrator.fleet.job import Job, PackageRef, fingerprint, row_of, unload_of
from wsklab.orchestrator.fleet.transport import packing, shipping
from wsklab.orchestrator.fleet.transport.store import Cache, Store, StoreError
from wsklab.orchestrator.fleet.worker.lab_process import Place
from wsklab.orchestrator.lab.foreign_driver import Foreign
from wsklab.orchestrator.lab.packages import of_profile
from wsklab.orchestrator.results.results import UNLOAD, Verdict
from wsklab.orchestrator.run.order import Item
from wsklab.orchestrator.run.runner import Done


class Lab:
    """A name; its own supply, too."""

    trusted, doubt = True, None

    def __init__(self, place: Place) -> None:
        self.place = place
        self.retired = 0

    def next(self, suspect: bool = False) -> Any:
        return self

    def retire(self) -> None:
        self.retired += 1


class Played(Place):
    """A place whose labs are names."""

    verdict: Verdict = "pass"

    def _supplied(self, variant: str) -> Any:
        self._run.perform = self._passes  # type: ignore[method-assign]
        self._run.unload = self._unloads_well  # type: ignore[method-assign]
        return Lab(self)

    def _leave(self, item: Item) -> None:
        folder = self._folder / "evidence" / item.folder
        folder.mkdir(parents=True)
        (folder / "verdict.json").write_text("{}")

    def _passes(self, lab: Any, item: Item, attempt: str = "") -> Done:
        self._leave(item)
        return Done(row_of(item, self.verdict), {"sends": ["00000000 4"]})

    def _unloads_well(self, lab: Any, number: int = 1, variant: str = "") -> Any:
        self._leave(unload_of(variant, number))
        return self._run.add(Done(row_of(unload_of(variant, number), "pass")))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Played:
    """Return a place on a worker whose cache is empty, for a job whose images are in the store alone."""
    (tmp_path / "store").mkdir()
    store, found = Store(str(tmp_path / "store")), [an_image(tmp_path / "client", "peer", "a")]
    found.append(an_image(tmp_path / "client", "standin", "b"))
    shipping.publish(store, found, lambda _: None)
    file = tmp_path / "wsklab.sys"
    file.write_bytes(b"MZ")
    driver = shipping.ship_driver(BuiltDriver(file, sha256(file), "wsklab", None, file), store.put)
    refs = tuple(map(shipping.image_ref, found))
    job = Job("r", fingerprint(), "standin", "tcg", 1, store=store.url, images=refs, driver=driver)
    monkeypatch.setenv("WSKLAB_CACHE", str(tmp_path / "worker"))
    monkeypatch.delenv("WSKLAB_FLEET_STORE", raising=False)
    monkeypatch.setattr("wsklab.orchestrator.run.preparation.Preparation.damage", lambda self: [])
    (tmp_path / "work").mkdir()
    return Played(job, tmp_path / "work")


def test_rows_go_out_with_their_evidence_and_unloads_between_variants(place: Played, tmp_path: Path) -> None:
    assert place._driver.content() == b"MZ"
    first, second = Item(1, scenario("first")), Item(1, scenario("second"), "e1000e")
    (sent,) = place.play(first)
    assert (sent.row.name, sent.behaviour) == ("first", {"sends": ["00000000 4"]})
    names = [(back.row.name, back.row.variant, back.row.repeat) for back in [*place.play(second), *place.conclude()]]
    assert names == [(UNLOAD, "", 1), ("second", "e1000e", 1), (UNLOAD, "e1000e", 2)]
    assert place.conclude() == []
    assert [back.row.name for back in place.play(unload_of(""))] == [UNLOAD]
    (tmp_path / "run").mkdir()
    packing.unpack(sent.evidence, "first", "first", tmp_path / "run", None)
    assert (tmp_path / "run" / "evidence" / "first" / "verdict.json").exists()
    assert list((tmp_path / "work" / "evidence").iterdir()) == []


@pytest.mark.parametrize(("before", "after"), [(1 << 20, 1 << 20), (1 << 40, 1 << 20)])
def test_a_disk_that_is_full_makes_no_row(
    place: Played, monkeypatch: pytest.MonkeyPatch, before: int, after: int
) -> None:
    free = iter([before, after, after, after])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=next(free)))
    place.verdict = "infra"
    with pytest.raises(LabError, match=r"only 1 MiB of disk are free"):
        place.play(Item(1, scenario("first")))
    assert place._run.come == []


HOLDER = """
import sys
from pathlib import Path
from wsklab.images.store import Store
store = Store(Path(sys.argv[1]))
store.hold(next(image for image in store.listing() if image.name == "held"))
print("holds", flush=True)
sys.stdin.read()
"""
"""Another process, which has a lab with the image `held`."""


def test_images_that_were_unused_longest_make_room(tmp_path: Path) -> None:
    made = [an_image(tmp_path, name, letter) for name, letter in (("old", "c"), ("held", "d"), ("new", "e"))]
    for age, image in enumerate(made):
        os.utime(image.folder, (age, age))
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"holds\n"
        assert shipping.trim(tmp_path, 3.0) == [], "each is of one byte"
        assert shipping.trim(tmp_path, 2.0) == ["old"]
        assert shipping.trim(tmp_path, 1.0) == ["new"], "a lab of another process has the older one"
        process.communicate()
    assert [image.name for image in Images(tmp_path).listing()] == ["held"]


def test_a_worker_keeps_no_more_images_than_it_is_told(
    place: Played, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stale = an_image(tmp_path / "worker", "windows", "f")
    os.utime(stale.folder, (1, 1))
    monkeypatch.setenv(shipping.ROOM, str(2 / 2**30))
    Played(replace(place._job, seed=2), tmp_path / "work")
    assert {image.name for image in Images(tmp_path / "worker").listing()} == {"peer", "standin"}


def test_the_store_may_have_another_name_on_a_worker(place: Played, tmp_path: Path, monkeypatch: Any) -> None:
    shutil.move(tmp_path / "store", tmp_path / "elsewhere")
    monkeypatch.setenv("WSKLAB_CACHE", str(tmp_path / "another"))
    with pytest.raises(LabError):
        Played(place._job, tmp_path / "work")
    monkeypatch.setenv("WSKLAB_FLEET_STORE", str(tmp_path / "elsewhere"))
    Played(replace(place._job, seed=2), tmp_path / "work")


def test_a_package_comes_out_of_the_store_as_it_would_go_into_the_target(tmp_path: Path) -> None:
    driver_package.make(tmp_path / "old", "1.3.0.0", driver=b"MZ old")
    driver_package.make(tmp_path, "1.4.0.0", driver=b"MZ new")
    profile = load_profile(str(driver_package.profile(tmp_path, "upgrade_from: old/echo.inf")))
    packages = of_profile(profile, standin=False)
    sent = Foreign(profile, packages[-1].driver, sha256(packages[-1].driver), "echo", packages=packages)
    sent = sent.prepared(lambda driver: driver, lambda one: one.contents() | {"echo.cat": b"signed here"})
    (tmp_path / "store").mkdir()
    store = Store(str(tmp_path / "store"))
    ref = shipping.ship_foreign(sent, store.put)
    shutil.rmtree(tmp_path / "old")
    came = shipping.foreign_of(ref, Cache(tmp_path / "worker"), store)
    assert [one.contents for one in came.payloads] == [one.contents for one in sent.payloads]
    assert came.document() == sent.document()
    assert (came.target_path, came.loaded_sha256) == (sent.target_path, sent.loaded_sha256)
    outside = replace(ref, packages=(PackageRef("echo.inf", {"../echo.inf": ref.packages[0].files["echo.inf"]}),))
    with pytest.raises(StoreError, match=r"'\.\./echo.inf', which no package has"):
        shipping.foreign_of(outside, Cache(tmp_path / "worker"), store)
