"""The target gives no answer: a driver that hangs, an agent that is gone, and silence on every line are told apart.

Nothing proves that a machine is dead; so it is asked on each line that it has, and every answer excludes something.
"""

from __future__ import annotations

import time

from wsklab.orchestrator.errors import LabError
from wsklab.orchestrator.guest.agent import AgentSilent
from wsklab.orchestrator.lab.lab import Lab
from wsklab.orchestrator.observe.journal import MachineLost
from wsklab.orchestrator.observe.lab_notes import AgentGone, Failure, Hang, PeerGone, Silence, Trouble
from wsklab.qemu.deadline import within
from wsklab.qemu.errors import DeadlinePassed, MachineError
from wsklab.qemu.machine import Machine

ALIVE = 3.0
"""Seconds for a healthy agent or machine to answer when it is asked only whether it lives."""

LAST_LINES, LAST_LINE = 3, 200
"""Lines that a hanging target has said last, and characters of each, in a reason."""

LATE = "something did not happen in the time allowed"


def name_it(lab: Lab, error: Exception) -> Trouble | None:
    """Return what it means that `error`, something that did not come in time, happened.

    None when the machine went away. Kinds: hang, agent-gone, silence, failure (of the lab); whom they blame is the
    judge's business.
    """
    patience, asked, said = ALIVE * lab.slowness, time.monotonic(), str(error) or LATE
    try:
        lab.target.agent.ask("ping", patience)
        if isinstance(error, AgentSilent):
            return note(Hang, said + _located(lab))
        return note(Failure, said)
    except MachineLost:
        return None
    except (LabError, MachineError):
        pass
    try:
        lab.target.machine.set_link(up=True)  # the scenario may have pulled the cable
        lab.wire.barrier(time.monotonic() + patience, ["target"])
        return note(AgentGone, f"{said}; its machine still answers on the wire")
    except DeadlinePassed:
        return no_answer(lab, f"{said}, and the whole machine no longer answers on the wire", time.monotonic() - asked)
    except MachineError as wire:
        return note(Failure, str(wire))


def no_answer(lab: Lab, said: str, waited: float) -> Trouble:
    """Neither agent nor network: what do QEMU and the serial lines say? `waited`: for how many seconds we have."""
    machine = lab.target.machine
    if still := _stands_still(machine, lab.slowness):
        return note(Failure, f"{said}{still}")
    quiet = machine.quiet()
    if speaking := [name for name, seconds in quiet.items() if seconds < waited]:
        return note(Hang, f"{said}; it still speaks on its {' and '.join(speaking)} line{_located(lab)}")
    return note(
        Silence,
        f"{said}; its serial lines have been quiet for {min(quiet.values()):.0f} s, while QEMU "
        f"calls it running{_located(lab)}",
    )


def _located(lab: Lab) -> str:
    """Where a target that speaks to a kernel debugger is, which is stopped for a moment, and what it has said last."""
    machine = lab.target.machine
    if machine.profile.debug != "kd":
        return ""
    try:
        where = machine.locate(within(ALIVE * lab.slowness))
        where = where and lab.target.named(where)
    except MachineError as error:
        where = f"unknown ({error})"
    said = " / ".join(repr(line[:LAST_LINE]) for line in machine.debug.last(LAST_LINES))
    return (
        f"; broken into by the kernel debugger, {where}"
        if where
        else "; nor does its kernel stop for the debugger, so that no processor takes interrupts"
    ) + (f"; its last lines were {said}" if said else "; it has said nothing on its debug line")


def peer_silent(lab: Lab, said: str) -> Trouble:
    """Neither SSH nor network of the peer: what does its QEMU say?"""
    still = _stands_still(lab.peer.machine, lab.slowness)
    return note(PeerGone, f"{said}{still or ', while QEMU calls it running'}", "peer")


def _stands_still(machine: Machine, slowness: float) -> str:
    """Return what QEMU has to say about a machine that gives no answer; nothing when it calls it running."""
    try:
        status = machine.status(within(ALIVE * slowness))
    except MachineError as qemu:
        return f"; nor does its QEMU: {qemu}"
    if status == "running":
        return ""
    return f": it stands still, QEMU calls it {status!r}, and nobody asked for that"


def note(kind: type[Trouble], detail: str, machine: str = "target") -> Trouble:
    """Return an observation of the lab itself, about one of its parties."""
    return kind(t=time.time_ns(), machine=machine, detail=detail)
