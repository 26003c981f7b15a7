"""Deliberate faults on real machines: each is named, blamed rightly, and leaves its evidence."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from support.command import run
from support.screen import written_lines

from wsklab import images
from wsklab.drivers.build import build_driver
from wsklab.orchestrator.errors import LabError
from wsklab.orchestrator.guest.ssh import Ssh
from wsklab.orchestrator.judge.judge import Judgement, judge
from wsklab.orchestrator.lab.lab import Lab
from wsklab.orchestrator.play.player import play, unload
from wsklab.orchestrator.results.console import Console
from wsklab.orchestrator.run.preparation import Preparation
from wsklab.orchestrator.scenario.catalogue import BUILT_IN
from wsklab.orchestrator.scenario.scenario import Scenario, load
from wsklab.orchestrator.scenario.yaml_source import parse

LONG = (
    """
name: long
title: Goes on for longer than any fault needs to strike
steps:
  - driver: {connect: peer}
"""
    + "  - driver: {send: 1, expect: success}\n" * 198
    + """
expect:
  wire: {peer: none, driver: none}
"""
)

pytestmark = [pytest.mark.vm, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def preparation(tmp_path_factory: pytest.TempPathFactory) -> Preparation:
    return Preparation.prepare(tmp_path_factory.mktemp("crash"), Console(quiet=True))


Fault = Callable[[Lab, Ssh], None]


class Played:
    """A scenario in whose midst, at the first connection, something was done to the lab."""

    def __init__(self, preparation: Preparation, folder: Path, fault: Fault) -> None:
        driver = build_driver(None, images.cache_folder(), lambda _text: None)
        self.lab = preparation.boot(driver)
        self.folder = folder
        target = self.lab.target
        self.ssh = self.lab.guest.ssh(target.machine, target.agent)  # opened before: the fault shall strike at once

        def listen(_t: int, text: str) -> None:
            if "op=connect" in text and not struck:
                struck.append(text)
                threading.Thread(target=self._strike, args=(fault,), daemon=True).start()

        struck: list[str] = []
        self.lab.target.machine.debug.on_line(listen)
        scenario = parse(LONG, Scenario, "test")
        self.judgement: Judgement = judge(scenario, play(self.lab, scenario, folder / "wire.pcapng"))

    def _strike(self, fault: Fault) -> None:
        with suppress(LabError):
            fault(self.lab, self.ssh)

    @property
    def verdict(self) -> tuple[str, str]:
        return self.judgement.verdict, self.judgement.reasons[0]

    def evidence(self) -> dict[str, object]:
        document: dict[str, object] = json.loads((self.folder / "crash" / "crash.json").read_text())
        return document


Strike = Callable[[Fault], Played]


@pytest.fixture
def strike(preparation: Preparation, tmp_path: Path) -> Iterator[Strike]:
    played: list[Played] = []

    def one(fault: Fault) -> Played:
        played.append(Played(preparation, tmp_path, fault))
        return played[-1]

    yield one
    for each in played:
        each.ssh.close()
        each.lab.stop()


def test_a_crash_of_the_drivers_host_is_noticed_at_once_and_the_next_scenario_gets_a_clean_machine(
    tmp_path: Path,
) -> None:
    # With its events off, the twin is a driver that works.
    crashed = run(tmp_path / "run", "--twin", "crashes", "linger-zero", "close-graceful", "events-off-fin", "--cold")
    assert crashed.code == 1
    assert crashed.verdicts == {
        "linger-zero": "fail",
        "close-graceful": "fail",
        "events-off-fin": "pass",
        "driver-unload": "pass",
    }
    for name in ("linger-zero", "close-graceful"):
        result = crashed.scenario(name)
        assert result["reasons"][0].startswith(
            "the driver's host process in the target crashed: Unhandled page fault on write access to 0000000000000000"
        )
        assert result["timing"]["run_s"] < 15, "nothing is waited for that cannot come"
        assert result["observed"]["disconnects"], "both came as far as the callback: on a machine that lived"
        folder = crashed.folder / result["evidence"]
        assert "RIP=" in (folder / "crash" / "target-registers.txt").read_text()
        assert b"wine: Unhandled page fault" in (folder / "crash" / "target-debug.log").read_bytes()
        assert b"wine: Unhandled page fault" in (folder / "debug.raw").read_bytes()
        notes = json.loads((folder / "crash" / "crash.json").read_text())
        assert list(notes["missing"]) == ["peer-screen.png"], "the peer has no screen"
        assert written_lines(folder / "crash" / "target-screen.png") > 15, "the debug text up to the crash"


def test_a_crash_without_a_word_is_noticed_by_the_next_call(
    preparation: Preparation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wsklab.orchestrator.lab.target.crash_text", lambda _text: None)
    wrong = build_driver("crashes", images.cache_folder(), lambda _text: None)
    lab = replace(preparation, cold=True).boot(wrong)  # a snapshot of it would be of use to nobody
    try:
        scenario = load(BUILT_IN / "close-graceful.yaml")
        judgement = judge(scenario, play(lab, scenario, tmp_path / "wire.pcapng"))
        assert judgement.verdict == "fail"
        assert judgement.reasons[0].startswith("the driver's host process in the target crashed: ioctl: ")
        assert "RIP=" in (tmp_path / "crash" / "target-registers.txt").read_text()
    finally:
        lab.stop()


def test_a_driver_that_waits_in_its_callback_leaves_registers_and_transcript(tmp_path: Path) -> None:
    hung = run(tmp_path / "run", "--twin", "waits-in-callback", "close-graceful", "--cold")
    assert hung.code == 1
    assert hung.verdicts["close-graceful"] == "fail"
    reasons = " ".join(hung.scenario("close-graceful")["reasons"])
    assert "did not finish cleaning up" in reasons and "the IRP of WskCloseSocket" in reasons
    folder = hung.folder / "evidence" / "close-graceful" / "crash"
    assert "RIP=" in (folder / "target-registers.txt").read_text()
    assert b"ev=disc" in (folder / "target-debug.log").read_bytes()


def test_a_killed_qemu_is_the_labs_fault(strike: Strike) -> None:
    struck: list[float] = []

    def kill(lab: Lab, _ssh: Ssh) -> None:
        struck.append(time.monotonic())
        os.kill(lab.target.machine.pid, signal.SIGKILL)

    played = strike(kill)
    assert played.verdict[0] == "infra"
    assert played.verdict[1].startswith("QEMU of the target ended: QEMU ended with code -9")
    assert played.lab.doubt
    assert "target-debug.log" in str(played.evidence()["kept"])
    assert "target-registers.txt" in str(played.evidence()["missing"])
    assert unload(played.lab)[0] == "infra"
    assert time.monotonic() - struck[0] < 120, "nothing is waited for that cannot come"
