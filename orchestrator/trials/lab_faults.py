"""Every part of a lab, killed, stopped or hung for real in the midst of a scenario: to be named, and blamed rightly."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from wsklab import images
from wsklab.orchestrator.errors import LabError
from wsklab.orchestrator.judge.judge import judge
from wsklab.orchestrator.lab.lab import Lab
from wsklab.orchestrator.observe.observation import Loss
from wsklab.orchestrator.play.player import play
from wsklab.orchestrator.scenario.scenario import Scenario
from wsklab.orchestrator.scenario.yaml_source import parse
from wsklab.orchestrator.trials.fault import Case, Do, Seen, Setup
from wsklab.qemu.disks import create_overlay
from wsklab.qemu.errors import GuestDied

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

STRIKES_AT = 10
"""The driver's send at which a fault strikes."""

MUTE = "ip link set eth0 down; kill -STOP -1"
"""No program runs any more, and the network stack is deaf: as much of a hung kernel as user space can make."""

LOG = "target-debug.log"
CONSOLE = "peer-console.log"
REGISTERS = "target-registers.txt"
"""Kept of what the target did itself."""

Fault = Callable[[Lab], object]


@dataclass
class Struck:
    """When a fault struck, and the lab's word on it; on the monotonic clock."""

    at: float = 0.0
    named: float = 0.0


def _arm(lab: Lab, fault: Fault) -> Struck:
    """Have the fault strike in the midst of the driver's sends."""
    struck, seen = Struck(), list[str]()

    def strike() -> None:
        struck.at = time.monotonic()
        with suppress(LabError):  # the road by which the fault went may break under it
            fault(lab)

    def listen(_t: int, text: str) -> None:
        if "ev=done op=send" in text:
            seen.append(text)
            if len(seen) == STRIKES_AT:
                threading.Thread(target=strike, daemon=True).start()

    def name(_loss: Loss) -> None:
        struck.named = time.monotonic()

    lab.target.machine.debug.on_line(listen)
    lab.journal.on_loss(name)
    return struck


def _strikes(fault: Fault) -> Do:
    """How to do a fault to a lab that plays a scenario."""

    def do(setup: Setup, folder: Path) -> Seen:
        preparation = replace(setup.preparation, folder=folder)
        lab = preparation.boot(setup.driver)
        try:
            struck = _arm(lab, fault)
            scenario = parse(SENDS, Scenario, "faults")
            judgement = judge(scenario, play(lab, scenario, folder / "wire.pcapng"))
            ended, trusted = time.monotonic(), lab.trusted
        finally:
            lab.stop()
        if not struck.at:
            raise LabError(f"the scenario ended before the fault: {'; '.join(judgement.reasons)}.")
        crash = folder / "crash" / "crash.json"
        notes = json.loads(crash.read_text(encoding="utf-8")) if crash.exists() else {"kept": [], "missing": {}}
        return Seen(
            judgement.verdict,
            next(iter(judgement.reasons), ""),
            round(struck.named - struck.at, 1) if struck.named else None,
            round(ended - struck.at, 1),
            tuple(notes["kept"]),
            tuple(sorted(notes["missing"])),
            ("the lab is taken for sound, so that nothing is tried again on a fresh one",) if trusted else (),
        )

    return do


def _empty_disk(setup: Setup, folder: Path) -> Seen:
    """Boot a guest that dies in its boot; the time is that from its start on."""
    preparation = setup.preparation
    broken = folder / "image"
    broken.mkdir()
    for file in (preparation.peer.kernel, preparation.peer.initrd):
        (broken / file.name).symlink_to(file)
    create_overlay(None, broken / preparation.peer.disk.name)
    began = time.monotonic()
    try:
        Lab(
            folder / "lab-1",
            preparation.accelerator,
            preparation.guest,
            images.Image(broken, preparation.peer.manifest),
        ).boot(setup.driver, lambda _text: None)
    except GuestDied as died:
        took = round(time.monotonic() - began, 1)
        console = folder / "lab-1" / "peer" / "console.log"
        return Seen("infra", str(died), took, took, (CONSOLE,) if console.exists() else ())
    finally:
        shutil.rmtree(broken)
    raise LabError("the lab booted, with a peer that has no system.")


def _signal(pid: int, number: int) -> None:
    os.kill(pid, number)


def _peer_program(lab: Lab) -> int:
    program = lab.peer.newest
    if program is None or program.pid is None:
        raise LabError("there is no peer program.")
    return program.pid


def _case(part: str, name: str, fault: Fault, says: str, verdict: str = "infra", panel: bool = False) -> Case:
    kept = (LOG,) if verdict == "infra" else (LOG, REGISTERS)
    return Case(part, name, verdict, says, _strikes(fault), kept, panel)


CASES = (
    _case(
        "QEMU",
        "QEMU of the target is stopped",
        lambda lab: _signal(lab.target.machine.pid, signal.SIGSTOP),
        "QEMU of the target has been stopped by a signal",
    ),
    _case(
        "QEMU",
        "QEMU of the target is killed",
        lambda lab: _signal(lab.target.machine.pid, signal.SIGKILL),
        "QEMU of the target ended",
        panel=True,
    ),
    _case(
        "QEMU",
        "the target is paused in QEMU",
        lambda lab: lab.target.machine.qmp.execute("stop"),
        "it stands still, QEMU calls it 'paused'",
    ),
    _case(
        "QEMU",
        "QEMU of the peer is stopped",
        lambda lab: _signal(lab.peer.machine.pid, signal.SIGSTOP),
        "QEMU of the peer has been stopped by a signal",
        panel=True,
    ),
    _case(
        "QEMU",
        "QEMU of the peer is killed",
        lambda lab: _signal(lab.peer.machine.pid, signal.SIGKILL),
        "QEMU of the peer ended",
    ),
    _case(
        "QEMU",
        "the peer is paused in QEMU",
        lambda lab: lab.peer.machine.qmp.execute("stop"),
        "the peer is gone",
    ),
    _case(
        "guest kernel",
        "the target's kernel panics",
        lambda lab: lab.shell("target", "echo c > /proc/sysrq-trigger"),
        "the kernel of the target panicked",
        "fail",
        panel=True,
    ),
    _case(
        "guest kernel",
        "nothing runs in the target any more",
        lambda lab: lab.shell("target", MUTE),
        "silence, nothing is heard of the target any more",
        "fail",
        panel=True,
    ),
    _case(
        "guest kernel",
        "the peer's kernel panics",
        lambda lab: lab.shell("peer", "echo c > /proc/sysrq-trigger"),
        "the kernel of the peer panicked",
        panel=True,
    ),
    _case(
        "guest kernel",
        "nothing runs in the peer any more",
        lambda lab: lab.shell("peer", MUTE),
        "the peer is gone",
    ),
    Case(
        "guest kernel",
        "the peer's disk holds no system",
        "infra",
        "came on its console line: the peer ",  # its last words, or that it shut down: whichever is heard first
        _empty_disk,
        (CONSOLE,),
        panel=True,
    ),
    _case(
        "agent",
        "the agent is killed",
        lambda lab: lab.shell("target", "kill -9 $(pidof wskagent.exe)"),
        "the target says on its console: the agent has ended, with status 137",
        panel=True,
    ),
    _case(
        "agent",
        "the agent is stopped",
        lambda lab: lab.shell("target", "kill -STOP $(pidof wskagent.exe)"),
        "the agent is gone",
        panel=True,
    ),
    _case(
        "peer",
        "the peer's SSH server is killed",
        lambda lab: lab.shell("peer", "kill -9 $(pidof sshd)"),
        "the peer is gone",
    ),
    _case(
        "peer",
        "the peer's SSH server is stopped",
        lambda lab: lab.shell("peer", "kill -STOP $(pidof sshd)"),
        "the peer is gone",
    ),
    _case(
        "peer",
        "the peer program is stopped",
        lambda lab: lab.shell("peer", f"kill -STOP {_peer_program(lab)}"),
        "the peer program has been stopped",
        panel=True,
    ),
    _case(
        "wire",
        "the wire is stopped",
        lambda lab: _signal(lab.wire.pid, signal.SIGSTOP),
        "the wire's process has been stopped by a signal",
        panel=True,
    ),
    _case(
        "wire",
        "the wire is killed",
        lambda lab: _signal(lab.wire.pid, signal.SIGKILL),
        "the wire's process ended",
        panel=True,
    ),
)
