"""pytest with the plugin, `wsklab init` and `wsklab shell`, as a user runs them, on real QEMU with the stand-in."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from support.command import processes_of, wsklab

from wsklab import images
from wsklab.drivers.build import build_sample
from wsklab.orchestrator.judge.judge import judge
from wsklab.orchestrator.observe import observation
from wsklab.orchestrator.scenario.catalogue import BUILT_IN
from wsklab.orchestrator.scenario.scenario import load

pytestmark = pytest.mark.vm

TESTS = """
import pytest

@pytest.mark.parametrize("linger", [None, 0])
def test_ends(driver, peer, wire, linger):
    driver.connect()
    driver.enable(["disconnect"])
    peer.close(linger=linger)
    assert driver.await_disconnect().abortive is (linger == 0)
    assert wire.endings("peer") == ["fin" if linger is None else "rst"]

@pytest.mark.shared
def test_lost_fin(driver, peer, wire, target):
    driver.connect()
    driver.enable(["disconnect"])
    wire.drop_first("fin", sender="peer")
    peer.close()
    assert driver.await_disconnect().flags == 0
    assert [f.fate for f in wire.frames if "F" in f.flags and f.sender == "peer"][0] == "dropped"
    assert target.shell("uname").strip() == "Linux"

def test_wrong(driver, peer):
    driver.connect()
    driver.enable(["disconnect"])
    peer.close(linger=0)
    assert driver.await_disconnect().flags == 0
"""


def run_pytest(folder: Path, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "--junitxml", "junit.xml", "--wsklab-out", "run", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, input=stdin, timeout=600)


def test_scenarios_and_python_in_one_run(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\nwsklab_target = standin\njunit_logging = system-out\n")
    (tmp_path / "test_mine.py").write_text(TESTS)
    scenario = (BUILT_IN / "linger-zero.yaml").read_text()
    (tmp_path / "linger-zero.yaml").write_text(scenario)
    (tmp_path / "lies.yaml").write_text(scenario.replace("name: linger-zero", "name: lies").replace("set", "clear"))
    done = run_pytest(tmp_path)
    assert "2 failed, 4 passed" in done.stdout, done.stdout + done.stderr
    assert "driver-unload: pass" in done.stdout
    assert "told (WskDisconnectEvent): abortive 0x1" in done.stdout
    assert "on the wire: peer sent RST" in done.stdout
    rows = {row["name"]: row for row in json.loads((tmp_path / "run" / "results.json").read_text())["scenarios"]}
    assert {name: row["verdict"] for name, row in rows.items()} == {
        "linger-zero": "pass",
        "lies": "fail",
        "test_mine-test_ends-None": "pass",
        "test_mine-test_ends-0": "pass",
        "test_mine-test_lost_fin": "pass",
        "test_mine-test_wrong": "fail",
        "driver-unload": "pass",
    }
    for name in ("test_mine-test_ends-0", "test_mine-test_lost_fin"):
        folder = tmp_path / "run" / rows[name]["evidence"]
        again = judge(load(folder / "scenario.yaml"), observation.read(folder / "observations.jsonl").observations)
        assert again.verdict == "pass", again.reasons
    attached = [
        line[len("[[ATTACHMENT|") : -2]
        for case in ET.parse(tmp_path / "junit.xml").iter("testcase")
        for line in (case.findtext("system-out") or "").splitlines()
        if line.startswith("[[ATTACHMENT|")
    ]
    assert len(attached) == len(set(attached)) == 3 * 6
    assert processes_of(tmp_path / "run") == []


def test_at_the_prompt_the_lab_is_up_as_the_failing_test_has_left_it(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\nwsklab_target = standin\n")
    (tmp_path / "test_mine.py").write_text(TESTS)
    typed = """print("TOLD", driver.disconnects[-1].flags, peer.shell("uname").strip())
continue
"""
    done = run_pytest(tmp_path, "--pdb", "-k", "wrong", stdin=typed)
    assert "TOLD 1 Linux" in done.stdout, done.stdout + done.stderr
    assert "1 failed, 3 deselected" in done.stdout
    assert "driver-unload: pass" in done.stdout


@pytest.mark.parametrize(("sample", "parameters"), [("echo", {"Port": 7007}), ("pinger", {"Address": "10.77.0.20"})])
def test_a_new_users_folder_is_green(sample: str, parameters: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / f"my{sample}.sys").write_bytes(build_sample(sample, images.cache_folder()).path.read_bytes())
    words = [word for name, value in parameters.items() for word in ("--parameter", f"{name}={value}")]
    made = wsklab("init", f"my{sample}.sys", "--out", "tests", *words, cwd=tmp_path)
    assert made.code == 0, made.stdout + made.stderr
    assert "to fill in" not in made.stdout, made.stdout + (tmp_path / "tests" / f"my{sample}.yaml").read_text()
    done = run_pytest(tmp_path / "tests")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout


def test_the_shell_keeps_a_lab_until_it_is_left(tmp_path: Path) -> None:
    typed = """driver.connect(); driver.enable(["disconnect"])
peer.close(linger=0)
print("FLAGS", driver.await_disconnect().flags)
exit
"""
    pytest.importorskip("IPython")
    command = [sys.executable, "-m", "wsklab.orchestrator", "shell", "--out", str(tmp_path / "run")]
    done = subprocess.run(command, input=typed, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FLAGS 1" in done.stdout
    rows = json.loads((tmp_path / "run" / "results.json").read_text())["scenarios"]
    assert [(row["name"], row["verdict"]) for row in rows] == [("shell", "pass"), ("driver-unload", "pass")]
