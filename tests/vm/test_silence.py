"""A target of which nothing is heard any more: noticed, named, its evidence kept, and the next scenario is well."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from support.screen import written_lines

from wsklab import images
from wsklab.drivers.build import build_driver
from wsklab.orchestrator.errors import LabError
from wsklab.orchestrator.judge.judge import Judgement, judge
from wsklab.orchestrator.lab.lab import Lab
from wsklab.orchestrator.liveness import heartbeat, silence
from wsklab.orchestrator.play.player import play
from wsklab.orchestrator.results.console import Console
from wsklab.orchestrator.run.preparation import Preparation
from wsklab.orchestrator.scenario.catalogue import BUILT_IN
from wsklab.orchestrator.scenario.scenario import Scenario, load
from wsklab.orchestrator.scenario.yaml_source import parse

pytestmark = [pytest.mark.vm, pytest.mark.timeout(300)]

SENDS = (
    """
name: sends
title: Talks to the driver for longer than it takes to silence it
steps:
  - driver: {connect: peer}
"""
    + "  - driver: {send: 1, expect: success}\n" * 198
    + """
expect:
  wire: {peer: none, driver: none}
"""
)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """One lab for all of them: that it can be restored is part of what is tested."""
    preparation = Preparation.prepare(tmp_path_factory.mktemp("silence"), Console(quiet=True))
    lab = preparation.boot(build_driver(None, images.cache_folder(), lambda _text: None))
    lab.save()
    yield lab
    lab.stop()


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait less for what is still as a stone than for what is only slow."""
    monkeypatch.setattr(silence, "ALIVE", 1.0)
    monkeypatch.setattr(heartbeat, "PATIENCE", 1.5)


def struck(lab: Lab, fault: Callable[[], object], folder: Path) -> Judgement:
    """Return the verdict on a scenario in whose midst something happens behind the lab's back."""

    def strike() -> None:
        with suppress(LabError):  # the road by which the fault went is silenced too
            fault()

    def listen(_t: int, text: str) -> None:
        if "op=connect" in text and not connected:
            connected.append(text)
            threading.Thread(target=strike, daemon=True).start()

    connected: list[str] = []
    forget = lab.target.machine.debug.on_line(listen)
    folder.mkdir()
    scenario = parse(SENDS, Scenario, "test")
    observations = play(lab, scenario, folder / "wire.pcapng")
    forget()
    return judge(scenario, observations)


def passes(lab: Lab, folder: Path) -> bool:
    """Tell whether the next scenario passes, on the machine as its snapshot has it."""
    lab.restore()
    folder.mkdir()
    scenario = load(BUILT_IN / "linger-zero.yaml")
    return judge(scenario, play(lab, scenario, folder / "wire.pcapng")).verdict == "pass"


def test_silence_is_the_targets_fault_and_leaves_its_evidence(lab: Lab, tmp_path: Path) -> None:
    """Nothing runs in the target any more but its kernel, which has no network: QEMU itself sees nothing wrong."""
    judgement = struck(lab, lambda: lab.shell("target", "ip link set eth0 down; kill -STOP -1"), tmp_path / "1")
    assert judgement.verdict == "fail"
    assert judgement.reasons[0].startswith("silence, nothing is heard of the target any more: the agent ")
    assert "while QEMU calls it running" in judgement.reasons[0]
    crash = tmp_path / "1" / "crash"
    status = json.loads((crash / "target-status.json").read_text())
    assert status["status"] == "running"
    assert all(seconds > 3 for seconds in status["quiet_s"].values()), "longer than the question that was not answered"
    assert "RIP=" in (crash / "target-registers.txt").read_text()
    assert b"op=connect" in (crash / "target-debug.log").read_bytes()
    assert written_lines(crash / "target-screen.png") > 15, "what was said last stands on the screen"
    assert json.loads((crash / "crash.json").read_text())["why"].startswith("the agent has not answered a ping")
    assert passes(lab, tmp_path / "2")
