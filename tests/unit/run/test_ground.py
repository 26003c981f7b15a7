"""What a run stands on, looked at once more when a verdict may come of its damage."""

from __future__ import annotations

import time
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from support.damage import flip

from wsklab.images.secure import sha256
from wsklab.images.store import Image, Manifest, Store
from wsklab.orchestrator.results.console import Console
from wsklab.orchestrator.run.preparation import Preparation


def image(store: Store, name: str) -> Image:
    with store.building(name, print) as partial:
        (partial / "disk.qcow2").write_bytes(name.encode())
        return store.publish(
            partial,
            Manifest(
                name=name,
                kind=name,
                key=name,
                recipe_sha256=name,
                packages={},
                size_bytes=0,
                built="2026",
                kernel_args="",
                files={"disk.qcow2": sha256(partial / "disk.qcow2")},
            ),
        )


@pytest.fixture
def stands_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Preparation:
    monkeypatch.setenv("WSKLAB_CACHE", str(tmp_path))
    store = Store(tmp_path)
    guest = SimpleNamespace(image=image(store, "standin"))
    return Preparation(tmp_path, Console(quiet=True), guest, image(store, "peer"), "tcg")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["peer", "standin"])
def test_an_image_that_was_damaged_since_the_run_began_is_named(
    stands_on: Preparation, tmp_path: Path, name: str
) -> None:
    flip(tmp_path / "images" / name / "disk.qcow2")
    (said,) = stands_on.damage()
    assert "damaged while the run used it" in said
    assert f"images/{name}/disk.qcow2 is missing or not as it was built (SHA-256 differs)" in said
    assert stands_on.damage() == [said], "it stays said"


def test_looking_costs_a_fiftieth_of_the_time_at_most(
    stands_on: Preparation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock goes on by 2 s whenever an image is hashed."""
    now = [100.0]
    hashed: list[str] = []

    def verify(_store: Store, looked_at: Image) -> None:
        hashed.append(looked_at.name)
        now[0] += 2.0

    monkeypatch.setattr(Store, "verify", verify)
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    assert stands_on.damage() == []
    assert (hashed, now) == (["peer", "standin"], [104.0])
    now[0] = 303.9
    assert stands_on.damage() == []
    assert len(hashed) == 2
    now[0] = 304.0
    assert stands_on.damage() == []
    assert len(hashed) == 4


def test_it_is_made_once_and_filled_in_from_nowhere(stands_on: Preparation) -> None:
    with pytest.raises(FrozenInstanceError):
        stands_on.cold = True  # type: ignore[misc]
    assert replace(stands_on, cold=True).cold and not stands_on.cold
