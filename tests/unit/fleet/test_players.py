"""The process that has a lab: what it says when it cannot have one, and that nothing of it stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsklab.orchestrator.errors import LabError
from wsklab.orchestrator.fleet.job import DriverRef, ImageRef, Job, fingerprint
from wsklab.orchestrator.fleet.worker import players
from wsklab.orchestrator.run import janitor


def a_job() -> Job:
    images = (ImageRef("peer", "a" * 64, {}),)
    driver = DriverRef("wsklab", None, "wsklab.sys", "0" * 64, "wsklab.sys", "0" * 64)
    return Job("run", fingerprint(), "standin", "tcg", 1, images=images, driver=driver)


def test_an_image_that_nobody_has_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSKLAB_CACHE", str(tmp_path))
    monkeypatch.delenv("WSKLAB_FLEET_STORE", raising=False)
    with pytest.raises(LabError, match=r"the image peer \(aaaaaaaaaaaa\) is not here, and no store is named"):
        players.player_of(a_job())
    assert list((tmp_path / "fleet" / "work").iterdir()) == []


def test_what_killed_labs_left_is_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSKLAB_CACHE", str(tmp_path))
    work = tmp_path / "fleet" / "work"
    for name in ("dead", "alive"):
        (work / name / "evidence").mkdir(parents=True)
    (work / "dead.stderr").touch()
    lease = janitor.Lease(work / "alive", tmp_path)
    players.sweep()
    players.sweep()
    assert [path.name for path in work.iterdir()] == ["alive"]
    lease.end()
