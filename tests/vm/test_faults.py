"""Every part of a lab, killed, stopped or hung for real in the midst of a scenario: named, blamed, its evidence kept.

How long it took until each was named is no assertion, as hosts differ: it is written to `faults.json`, of pytest's
temporary folder or where WSKLAB_FAULTS says.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wsklab import images
from wsklab.drivers.build import build_driver
from wsklab.orchestrator.errors import LabError
from wsklab.orchestrator.judge.judge import judge
from wsklab.orchestrator.lab.lab import Lab
from wsklab.orchestrator.observe.observation import Observation
from wsklab.orchestrator.play.player import play
from wsklab.orchestrator.results.console import Console
from wsklab.orchestrator.run.preparation import Preparation
from wsklab.orchestrator.scenario.scenario import Scenario
from wsklab.orchestrator.scenario.yaml_source import parse
from wsklab.qemu.errors import GuestDied
from wsklab.qemu.machine import create_overlay

pytestmark = [pytest.mark.vm, pytest.mark.timeout(300)]

SENDS = (
    """
name: sends
title: Talks to the driver, then waits for longer than any fault needs
steps:
  - driver: {connect: peer}
"""
    + "  - driver: {send: 1, expect: success}\n" * 20
    + """
  - lab: {wait: 120}
expect:
  wire: {peer: none, driver: none}
"""
)

MUTE = "ip link set eth0 down; kill -STOP -1"
"""No program runs any more, and the network stack is deaf: as much of a hung kernel as user space can make."""

Fault = Callable[[Lab], object]


@dataclass(frozen=True)
class Case:
    """A fault, the verdict that it must get, and what the first reason must say."""

    name: str
    strike: Fault
    verdict: str
    says: str


@dataclass(frozen=True)
class Outcome:
    """What became of a fault; seconds from the fault on."""

    fault: str
    named_after_s: float
    judged_after_s: float
    verdict: str
    reason: str
    kept: list[str]
    missing: list[str]
    accelerator: str


def _signal(pid: int, number: int) -> None:
    os.kill(pid, number)


def _peer_program(lab: Lab) -> int:
    program = lab.peer.newest
    assert program is not None and program.pid is not None
    return program.pid


CASES = [
    Case(
        "QEMU of the target is stopped",
        lambda lab: _signal(lab.target.machine.pid, signal.SIGSTOP),
        "infra",
        "QEMU of the target has been stopped by a signal",
    ),
    Case(
        "QEMU of the target is killed",
        lambda lab: _signal(lab.target.machine.pid, signal.SIGKILL),
        "infra",
        "QEMU of the target ended",
    ),
    Case(
        "the target is paused in QEMU",
        lambda lab: lab.target.machine.qmp.execute("stop"),
        "infra",
        "it stands still, QEMU calls it 'paused'",
    ),
    Case(
        "the target's kernel panics",
        lambda lab: lab.shell("target", "echo c > /proc/sysrq-trigger"),
        "fail",
        "the kernel of the target panicked",
    ),
    Case(
        "nothing runs in the target any more",
        lambda lab: lab.shell("target", MUTE),
        "fail",
        "silence, nothing is heard of the target any more",
    ),
    Case(
        "the agent is killed",
        lambda lab: lab.shell("target", "kill -9 $(pidof wskagent.exe)"),
        "infra",
        "the target says on its console: the agent has ended, with status 137",
    ),
    Case(
        "the agent is stopped",
        lambda lab: lab.shell("target", "kill -STOP $(pidof wskagent.exe)"),
        "infra",
        "the agent is gone",
    ),
    Case(
        "QEMU of the peer is stopped",
        lambda lab: _signal(lab.peer.machine.pid, signal.SIGSTOP),
        "infra",
        "QEMU of the peer has been stopped by a signal",
    ),
    Case(
        "QEMU of the peer is killed",
        lambda lab: _signal(lab.peer.machine.pid, signal.SIGKILL),
        "infra",
        "QEMU of the peer ended",
    ),
    Case("the peer is paused in QEMU", lambda lab: lab.peer.machine.qmp.execute("stop"), "infra", "the peer is gone"),
    Case(
        "the peer's kernel panics",
        lambda lab: lab.shell("peer", "echo c > /proc/sysrq-trigger"),
        "infra",
        "the kernel of the peer panicked",
    ),
    Case("nothing runs in the peer any more", lambda lab: lab.shell("peer", MUTE), "infra", "the peer is gone"),
    Case(
        "the peer's SSH server is killed",
        lambda lab: lab.shell("peer", "kill -9 $(pidof sshd)"),
        "infra",
        "the peer is gone",
    ),
    Case(
        "the peer's SSH server is stopped",
        lambda lab: lab.shell("peer", "kill -STOP $(pidof sshd)"),
        "infra",
        "the peer is gone",
    ),
    Case(
        "the peer program is stopped",
        lambda lab: lab.shell("peer", f"kill -STOP {_peer_program(lab)}"),
        "infra",
        "the peer program has been stopped",
    ),
    Case(
        "the wire is stopped",
        lambda lab: _signal(lab.wire.pid, signal.SIGSTOP),
        "infra",
        "the wire's process has been stopped by a signal",
    ),
    Case("the wire is killed", lambda lab: _signal(lab.wire.pid, signal.SIGKILL), "infra", "the wire's process ended"),
]


@pytest.fixture(scope="module")
def preparation(tmp_path_factory: pytest.TempPathFactory) -> Preparation:
    return Preparation.prepare(tmp_path_factory.mktemp("faults"), Console(quiet=True))


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Outcome]]:
    """The table of all that were done, written at the end."""
    found: list[Outcome] = []
    yield found
    path = Path(os.environ.get("WSKLAB_FAULTS") or tmp_path_factory.getbasetemp() / "faults.json")
    path.write_text(json.dumps([asdict(outcome) for outcome in found], indent=1) + "\n", encoding="utf-8")


@dataclass
class Struck:
    """When a fault struck, and the lab's word on it; on the monotonic clock."""

    at: float = 0.0
    named: float = 0.0


def _struck(lab: Lab, fault: Fault) -> Struck:
    """Have the fault strike at the driver's tenth send."""
    struck, seen = Struck(), list[str]()

    def strike() -> None:
        struck.at = time.monotonic()
        with suppress(LabError):  # the road by which the fault went may break under it
            fault(lab)

    def listen(_t: int, text: str) -> None:
        if "ev=done op=send" in text:
            seen.append(text)
            if len(seen) == 10:
                threading.Thread(target=strike, daemon=True).start()

    def name(_loss: Observation) -> None:
        struck.named = time.monotonic()

    lab.target.machine.debug.on_line(listen)
    lab.journal.on_loss(name)
    return struck


@pytest.mark.parametrize("case", CASES, ids=[case.name.replace(" ", "-") for case in CASES])
def test_fault(case: Case, preparation: Preparation, outcomes: list[Outcome], tmp_path: Path) -> None:
    lab = preparation.boot(build_driver(None, images.cache_folder(), lambda _text: None))
    try:
        struck = _struck(lab, case.strike)
        scenario = parse(SENDS, Scenario, "test")
        judgement = judge(scenario, play(lab, scenario, tmp_path / "wire.pcapng"))
        ended = time.monotonic()
        trusted = lab.trusted
    finally:
        lab.stop()
    notes = json.loads((tmp_path / "crash" / "crash.json").read_text())
    reason = judgement.reasons[0]
    outcomes.append(
        Outcome(
            case.name,
            round(struck.named - struck.at, 1),
            round(ended - struck.at, 1),
            judgement.verdict,
            reason,
            notes["kept"],
            sorted(notes["missing"]),
            preparation.accelerator,
        )
    )
    assert judgement.verdict == case.verdict, judgement.reasons
    assert case.says in reason
    assert not trusted, "so that the scenario is run again, on a fresh lab, where the lab was to blame"
    assert "target-debug.log" in notes["kept"]
    assert case.verdict == "infra" or "target-registers.txt" in notes["kept"], "of what the target did itself"


def test_a_guest_that_dies_in_its_boot_is_named_by_its_last_words(
    preparation: Preparation, outcomes: list[Outcome], tmp_path: Path
) -> None:
    peer = preparation.peer
    create_overlay(None, tmp_path / "empty.qcow2")
    broken: Any = SimpleNamespace(
        disk=tmp_path / "empty.qcow2", kernel=peer.kernel, initrd=peer.initrd, kernel_args=peer.kernel_args
    )
    began = time.monotonic()
    with pytest.raises(GuestDied, match="the peer says on its console: the disk cannot be mounted") as raised:
        Lab(tmp_path / "lab", preparation.accelerator, preparation.guest, broken).boot(
            build_driver(None, images.cache_folder(), lambda _text: None), lambda _text: None
        )
    took = round(time.monotonic() - began, 1)  # with the boot up to there
    outcomes.append(
        Outcome(
            "the peer's disk holds no system", took, took, "infra", str(raised.value), [], [], preparation.accelerator
        )
    )
