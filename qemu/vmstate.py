"""A running machine saved into its own disks, and taken back to that moment (`savevm` and `loadvm` of QEMU).

A debugger's line needs care at both ends: what is half said when a machine is saved, or said in another time when it is
taken back, costs the target a line (docs/kd.md).
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wsklab.qemu.deadline import within
from wsklab.qemu.errors import MachineError
from wsklab.qemu.monitor import Qmp
from wsklab.qemu.serial import SerialLine

if TYPE_CHECKING:  # a debugger's protocol, which Windows alone speaks, is loaded with the first such machine
    from wsklab.qemu.kd.line import KdLine

PATIENCE = 60.0
"""Seconds for a machine with little memory."""

PER_GIB = 30.0
"""Seconds more for each GiB of memory that is written or read."""

BETWEEN_PACKETS = 100
"""Times that a machine is stopped again to be saved, until nothing is half said on its debug line."""


def patience(memory_mib: int) -> float:
    """Return the seconds that saving or going back may take."""
    return PATIENCE + PER_GIB * memory_mib / 1024


@dataclass(frozen=True)
class RunControl:
    """Whether a machine's processors run; a debugger is told before it could wonder at the silence."""

    qmp: Qmp
    kd: KdLine | None

    @property
    def running(self) -> bool:
        return bool(self.qmp.execute("query-status")["running"])

    def pause(self) -> None:
        self.qmp.execute("stop")
        if self.kd:
            self.kd.stand_still()

    def resume(self) -> None:
        self.qmp.execute("cont")
        if self.kd:
            self.kd.resumed()


def save(name: str, control: RunControl, tag: str, memory_mib: int) -> None:
    """Save RAM, devices and disk under `tag`. The guest stands still meanwhile. Raises MachineError."""
    running = control.kd is not None and control.running
    if control.kd:
        _stop_between_packets(control, control.kd)
    try:
        _command(name, control.qmp, f"savevm {tag}", memory_mib)
    finally:
        if running:
            control.resume()


def restore(name: str, control: RunControl, tag: str, memory_mib: int, lines: Iterable[SerialLine]) -> None:
    """Go back to what was saved; a running machine runs on from there, a paused one stays paused. Raises MachineError.

    After an error the machine stands still in an unknown state: start it anew.
    """
    # A debugger must have forgotten what the target said before the target runs on, and the target must not find what
    # the debugger has said to it in another time: an old ACK would cost it a line.
    resume = control.kd is not None and control.running
    if resume:
        control.pause()
    if control.kd:
        control.kd.empty()
    _command(name, control.qmp, f"loadvm {tag}", memory_mib)
    for line in lines:
        line.cut()
    if control.kd:
        control.kd.resync(restored=True)
    if resume:
        control.resume()


def _stop_between_packets(control: RunControl, kd: KdLine) -> None:
    """Make it stand where nothing is half said, if it comes to such a place at all; one in a stop does not."""
    control.pause()
    for _ in range(BETWEEN_PACKETS):
        if kd.between:
            return
        control.resume()
        time.sleep(0.002)
        control.pause()


def _command(name: str, qmp: Qmp, command: str, memory_mib: int) -> None:
    if said := qmp.hmp(command, within(patience(memory_mib))).strip():
        raise MachineError(f"{name}: {command}: {said}")
