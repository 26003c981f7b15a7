"""A real run of a build that the user has named, with a failure that is known, and what the history has of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from support.command import command, run, wsklab

from wsklab import images
from wsklab.drivers.build import build_driver

pytestmark = pytest.mark.vm

KNOWN = """known:
- {scenario: linger-zero, reason: WSK_FLAG_ABORTIVE is clear, why: the flag is masked, until: 9999-12-31}
- {scenario: close-graceful, reason: never seen, why: an entry of long ago, until: 9999-12-31}
"""


def test_a_known_failure_of_a_named_build_is_told_and_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    build, known, history = tmp_path / "build-7.sys", tmp_path / "known.yaml", str(tmp_path / "history.sqlite")
    shutil.copy(build_driver("ignores-flag", images.cache_folder()).path, build)
    known.write_text(KNOWN, encoding="utf-8")
    words = ["linger-zero", "close-graceful", "--driver-file", str(build), "--known", str(known), "--history", history]
    done = run(tmp_path / "run", "--cold", *words)
    assert done.code == 1, "a pass that was to fail breaks the run"
    assert done.results["totals"] | {"known": 1, "unexpected_pass": 1, "fail": 0} == done.results["totals"]
    assert done.scenario("linger-zero")["known"]["said"] == "the flag is masked; until 9999-12-31"
    assert "unexpected-pass" in done.stdout
    assert "not recorded" not in done.stderr
    asked = subprocess.run(
        command("history", "linger-zero", "--json", "--history", history),
        env=os.environ,
        capture_output=True,
        text=True,
        check=True,
    )
    [past] = json.loads(asked.stdout)
    assert [entry["verdicts"] for entry in past["runs"]] == [{"known": 1}]
    assert past["runs"][0]["driver_sha256"] == done.results["driver"]["sha256"]
    assert list((tmp_path / "data/wsklab/under-way").iterdir()) == []


def test_the_build_that_broke_it_is_found_by_running_builds(tmp_path: Path) -> None:
    for number, twin in ((8, None), (9, None), (10, "ignores-flag")):
        build = tmp_path / "builds" / f"build-{number}" / "wsklab.sys"
        build.parent.mkdir(parents=True)
        shutil.copy(build_driver(twin, images.cache_folder()).path, build)
    words = ["--driver-dir", str(tmp_path / "builds"), "--repeat", "1", "--out", str(tmp_path / "out"), "--json"]
    done = wsklab("bisect", "linger-zero", "--good", "build-8", "--bad", "build-10", *words)
    assert done.code == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    assert (found["last_good"], found["first_bad"], found["scenarios"]) == ("build-9", "build-10", ["linger-zero"])
    assert [(one["build"], one["outcome"]) for one in found["tested"]] == [
        ("build-10", "bad"),
        ("build-8", "good"),
        ("build-9", "good"),
    ]
