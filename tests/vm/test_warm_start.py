"""Kept snapshots and isolated scenarios on real machines; with a cache of its own for the snapshots."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.command import run
from support.damage import flip

from wsklab import images
from wsklab.drivers.build import build_driver, build_standin
from wsklab.orchestrator.errors import LabError
from wsklab.orchestrator.lab.lab import Lab
from wsklab.orchestrator.lab.snapshots import TAG
from wsklab.orchestrator.results.console import Console
from wsklab.orchestrator.run.preparation import Preparation

pytestmark = pytest.mark.vm

WARM = "from the kept snapshot"


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Provide a cache whose images are the usual ones, and whose drivers and snapshots are its own."""
    folder, usual = tmp_path_factory.mktemp("cache"), images.cache_folder()
    build_standin(usual)
    shutil.copytree(usual / "drivers", folder / "drivers", ignore=shutil.ignore_patterns(".*"))
    for name in ("images", "packages", "signing", "accelerator.json"):
        if (usual / name).exists():
            (folder / name).symlink_to(usual / name)
    return folder


def test_second_run_is_warm_and_a_damaged_snapshot_costs_a_boot(cache: Path, tmp_path: Path) -> None:
    first = run(tmp_path / "1", "linger-zero", WSKLAB_CACHE=str(cache))
    assert first.code == 0, first.stdout + first.stderr
    assert WARM not in first.stdout

    second = run(tmp_path / "2", "linger-zero", "close-graceful", WSKLAB_CACHE=str(cache))
    assert second.code == 0, second.stdout + second.stderr
    assert WARM in second.stdout
    for made in ("drivers", "provider and agent", "image of the peer", "image of the stand-in"):
        assert f" s  {made}  cached\n" in second.stdout, second.stdout
    assert set(second.verdicts.values()) == {"pass"}
    assert second.scenario("close-graceful")["timing"]["restore_s"] > 0
    assert not list((tmp_path / "2").rglob("*.qcow2"))

    (disk,) = cache.glob("snapshots/*/target.qcow2")
    driver = build_driver(None, cache).path
    for file in (disk, driver):
        flip(file)
    third = run(tmp_path / "3", "linger-zero", WSKLAB_CACHE=str(cache))
    assert third.code == 0, third.stdout + third.stderr
    said = " ".join(third.stdout.split())
    assert f"{driver} is not as it was built (SHA-256 differs), so it is built again" in said
    assert (
        f"the kept snapshot is removed, a cold boot follows: its disk {disk} is not as it was saved (SHA-256 differs)"
    ) in said
    assert set(third.verdicts.values()) == {"pass"}
    assert third.results["driver"]["sha256"] == hashlib.sha256(driver.read_bytes()).hexdigest()


@pytest.mark.parametrize("file", ["disk.qcow2", "vmlinuz", "initrd.img"])
def test_nothing_boots_from_a_damaged_image(cache: Path, tmp_path: Path, file: str) -> None:
    usual = images.ensure("peer", build_standin(cache).inputs, print)
    own = tmp_path / "cache"
    image = shutil.copytree(usual.folder, own / "images" / usual.key)
    shutil.copytree(usual.folder.parent / "refs", own / "images/refs")
    for part in (own, own / "images", own / "images/refs"):
        part.chmod(0o700)
    (own / "drivers").symlink_to(cache / "drivers")
    flip(image / file)
    refused = run(tmp_path / "run", "linger-zero", WSKLAB_CACHE=str(own))
    assert refused.code == 3
    assert f"{image / file} is missing or not as it was built (SHA-256 differs)" in refused.stderr
    assert "wsklab image remove peer && wsklab image build peer" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_after_a_crash_an_isolated_run_goes_on_in_the_same_lab(cache: Path, tmp_path: Path) -> None:
    finished = run(tmp_path / "run", "--twin", "crashes", "linger-zero", "close-graceful", WSKLAB_CACHE=str(cache))
    assert finished.code == 1, finished.stdout + finished.stderr
    assert finished.verdicts["linger-zero"] == finished.verdicts["close-graceful"] == "fail"
    assert not (tmp_path / "run/lab-2").exists()


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    booted = Preparation.prepare(tmp_path, Console(quiet=True)).boot(build_driver(None, images.cache_folder()))
    yield booted
    booted.stop()


def test_a_restore_sets_the_clock_and_sees_that_it_is_set(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab.shell("target", "date -s @1000000000")
    lab.target.machine.save(TAG)
    lab.restore()
    assert abs(int(lab.shell("target", "date +%s")) - time.time()) < 60

    ask = lab.target.agent.ask

    def a_day_late(op: str, *args: Any, **words: Any) -> dict[str, Any]:
        return ask(op, *args, **words | ({"unix_ms": words["unix_ms"] - 86_400_000} if op == "set_time" else {}))

    monkeypatch.setattr(lab.target.agent, "ask", a_day_late)
    with pytest.raises(LabError, match="clock"):
        lab.restore()
