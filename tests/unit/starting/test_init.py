"""`wsklab init` without a trial run, and the folder that it makes."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import yaml
from support.command import wsklab

from wsklab import images
from wsklab.drivers.build import build_sample
from wsklab.drivers.profile import load_profile
from wsklab.orchestrator.scenario.scenario import load
from wsklab.orchestrator.starting import folder
from wsklab.orchestrator.starting.course import Course
from wsklab.orchestrator.starting.folder import Project


def test_every_file_of_a_folder_is_right(tmp_path: Path) -> None:
    texts = folder.files(Project("my-driver", "my-driver.yaml", "name: my-driver\n", ["the port"]))
    folder.write(tmp_path, texts)
    assert load(tmp_path / "scenarios" / "close.yaml").name == "close"
    ast.parse((tmp_path / "tests" / "test_reset.py").read_text())
    workflow = yaml.safe_load((tmp_path / ".github" / "workflows" / "driver-tests.yml").read_text())
    assert "${{ vars.WSKLAB }}" in str(workflow)
    assert "* the port" in (tmp_path / "README.md").read_text()
    assert "wsklab_driver = my-driver.yaml" in (tmp_path / "pytest.ini").read_text()


def test_nothing_of_a_users_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("mine")
    done = wsklab("init", "--out", str(tmp_path))
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr.endswith("README.md: it is there already; name another folder with --out.\n")
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


def test_a_file_that_is_no_driver_is_refused(tmp_path: Path) -> None:
    (tmp_path / "my.sys").write_text("hello")
    done = wsklab("init", "my.sys", "--out", "tests", cwd=tmp_path)
    assert done.code == 2
    assert "my.sys is no driver that could be loaded" in done.stderr
    assert not (tmp_path / "tests").exists()


@pytest.mark.parametrize(("device", "first"), [("", "peer"), (r"\\.\MyFilter", "command")])
def test_the_ways_to_connect_that_are_proposed_are_right_as_they_stand(device: str, first: str, tmp_path: Path) -> None:
    (tmp_path / "mytool.exe").touch()
    (tmp_path / "my.sys").touch()
    course = Course("none", why="it neither listened nor sent a SYN")
    text = folder.profile_text("my", "my.sys", device, (), {}, course, ())
    ways = [line.removeprefix("# ") for line in text.splitlines() if line.startswith("# provoke:")]
    (files,) = (line.removeprefix("# ") for line in text.splitlines() if line.startswith("# files:"))
    found = []
    for way in ways:
        (tmp_path / "my.yaml").write_text(f"{text}\n{way}\n{files}\n")
        profile = load_profile(str(tmp_path / "my.yaml"))
        assert profile.provoke is not None
        found.append(profile.provoke.by)
    assert (found[0], sorted(found)) == (first, ["command", "peer", "start"])
    assert (f"asks it to by {device}" in text) == bool(device)


@pytest.mark.parametrize("sample", ["echo"])
def test_without_a_trial_run_it_says_what_to_fill_in(sample: str, tmp_path: Path) -> None:
    file = tmp_path / "echo.sys"
    file.write_bytes(build_sample(sample, images.cache_folder()).path.read_bytes())
    done = wsklab("init", str(file), "--no-trial", "--out", str(tmp_path / "t"))
    assert done.code == 0, done.stderr
    assert "to fill in: `provoke` in echo.yaml: there was no trial run (--no-trial)." in done.stdout
    profile = (tmp_path / "t" / "echo.yaml").read_text()
    assert "path: ../echo.sys" in profile
    assert "values of its Parameters key: Port" in profile
