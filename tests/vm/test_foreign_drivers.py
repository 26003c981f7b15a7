"""Drivers that know nothing of this lab, run as a user runs his own: a server, a client, and one that is wrong."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from support import driver_package
from support.command import Finished, run, wsklab

from wsklab import images
from wsklab.drivers.build import build_sample
from wsklab.drivers.profile import PROFILES

pytestmark = pytest.mark.vm

ECHO_OF_MUCH = """
name: echo-of-much
title: Everything comes back, more than the driver can keep at a time, and its FIN behind the last byte
tags: [mine]
steps:
  - driver: connect
  - peer: {send: 300000}
  - peer: {shutdown: write}
  - peer: receive
  - driver: {await: disconnect}
expect:
  wire: {peer: fin, driver: fin}
  disconnect: [{abortive: clear}]
  peer: {received: 300000}
"""


def told(finished: Finished, name: str) -> list[tuple[bool | None, int | None]]:
    """Return what a scenario's driver was told, call by call: (abortive, flags)."""
    return [(d["abortive"], d["flags"]) for d in finished.scenario(name)["observed"]["disconnects"]]


def test_a_server(tmp_path: Path) -> None:
    (tmp_path / "much.yaml").write_text(ECHO_OF_MUCH)
    done = run(
        tmp_path / "run",
        "--driver",
        "echo",
        str(tmp_path / "much.yaml"),
        "any-forged-reset-outside",
        "any-unread",
        "any-still-open",
    )
    assert done.code == 0, done.stdout + done.stderr
    assert done.verdicts == dict.fromkeys(
        ("echo-of-much", "any-forged-reset-outside", "any-unread", "any-still-open", "driver-unload"), "pass"
    )
    assert told(done, "echo-of-much") == [(False, 0)]
    assert told(done, "any-unread") == [(True, 1)]
    sha256 = hashlib.sha256(build_sample("echo", images.cache_folder()).path.read_bytes()).hexdigest()
    assert done.results["driver"] == {"name": "echo", "sha256": sha256, "twin": None, "profile": "echo"}
    assert all(s["timing"]["restore_s"] > 0 for s in done.results["scenarios"][1:4]), "each from the same state"
    text = (done.folder / "evidence" / "any-unread" / "debug.txt").read_text().splitlines()
    assert any(line.startswith("echo[1] bye: flags=1 after") for line in text), text


def test_a_package_that_upgrades_an_older_one_on_another_card(tmp_path: Path) -> None:
    driver_package.make(tmp_path / "old", "1.3.0.0")
    driver_package.make(tmp_path, "1.4.0.0", start=1, needs="NDIS, NoSuchService")
    profile = driver_package.profile(tmp_path, "upgrade_from: old/echo.inf")
    done = run(tmp_path / "run", "--driver", str(profile), "any-close", "any-linger-zero", "--variant", "e1000e")
    assert done.code == 0, done.stdout + done.stderr
    assert "its start 'system' is recorded" in done.stdout and "has no service NoSuchService" in done.stdout
    package = done.results["driver"]["package"]
    assert (package["version"], package["upgraded_from"], package["start"]) == ("1.4.0.0", "1.3.0.0", "system")
    assert {row["variant"] for row in done.results["scenarios"]} == {"e1000e"}
    assert told(done, "any-linger-zero") == [(True, 1)]
    wire = (done.folder / "lab-1" / "target" / "command.txt").read_text()
    assert "e1000e,netdev=wire" in wire and "virtio-net-pci,netdev=wire" not in wire


def test_a_client_on_one_state_of_the_target(tmp_path: Path) -> None:
    done = run(tmp_path / "run", "--driver", "pinger", "--shared", "any-close", "any-linger-zero", "any-reset-lost")
    assert done.code == 0, done.stdout + done.stderr
    assert done.verdicts == dict.fromkeys(("any-close", "any-linger-zero", "any-reset-lost", "driver-unload"), "pass")
    assert (told(done, "any-close"), told(done, "any-linger-zero")) == ([(False, 0)], [(True, 1)])
    # Its own FIN comes behind its report, perhaps when the story is over: it is on the recording in any case.
    recorded = (done.folder / "evidence" / "any-close" / "observations.jsonl").read_text().splitlines()
    frames = [line["data"] for line in map(json.loads, recorded) if line["kind"] == "frame"]
    ends = [f["flags"] for f in frames if f["sender"] == "target" and set(f["flags"]) & {"F", "R"}]
    assert "F" in ends[0]


def test_a_driver_that_ignores_the_flag_is_caught(tmp_path: Path) -> None:
    """The client with one word changed: it takes every end for a polite one. Its connect is left to a command."""
    right = build_sample("pinger", images.cache_folder()).path.read_bytes()
    assert right.count(b"broke off\0") == 1
    (tmp_path / "wrong.sys").write_bytes(right.replace(b"broke off\0", b"hung up\0\0\0"))
    profile = (
        (PROFILES / "pinger.yaml")
        .read_text()
        .replace("build: pinger", "path: wrong.sys")
        .replace("{by: start,", r"{by: command, command: 'regedit.exe /S C:\wsklab\parameters.reg',")
    )
    (tmp_path / "mine.yaml").write_text(profile.replace("name: pinger", "name: mine"))
    done = run(tmp_path / "run", "--driver", str(tmp_path / "mine.yaml"), "any-linger-zero", "any-half-close")
    assert done.code == 1, done.stdout + done.stderr
    assert done.verdicts == {"any-linger-zero": "fail", "any-half-close": "pass", "driver-unload": "pass"}
    assert done.scenario("any-linger-zero")["reasons"] == ["the driver takes flags 00000001 for not abortive"]
    assert done.results["driver"]["name"] == "mine"


def test_our_own_driver_plays_their_scenarios_too(tmp_path: Path) -> None:
    done = run(tmp_path / "run", "any-unread", "any-half-close")
    assert done.code == 0, done.stdout + done.stderr
    assert (told(done, "any-unread"), told(done, "any-half-close")) == ([(True, 1)], [(False, 0)])


def test_what_cannot_be_run_is_refused_in_one_sentence(tmp_path: Path) -> None:
    refused = wsklab("run", "--driver", "echo", "linger-zero", "--json", cwd=tmp_path)
    assert (refused.code, refused.stdout) == (2, "")
    assert refused.stderr.startswith("wsklab: the driver echo cannot play linger-zero: step 2 (driver: enable ")
    assert len(refused.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
    listed = json.loads(wsklab("scenario", "list", "--json").stdout)
    assert "any-driver" in next(s for s in listed if s["name"] == "any-close")["tags"]
