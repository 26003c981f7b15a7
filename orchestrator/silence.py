"""The target gives no answer: a driver that hangs, an agent that is gone, and silence on every line are told apart.

Nothing proves that a machine is dead; so it is asked on each line that it has, and every answer excludes something.
"""

from __future__ import annotations

import time

from wsklab.orchestrator.agent import AgentSilent
from wsklab.orchestrator.errors import LabError
from wsklab.orchestrator.journal import MachineLost
from wsklab.orchestrator.lab import Lab
from wsklab.orchestrator.observation import Observation
from wsklab.qemu.errors import DeadlinePassed, MachineError

ALIVE = 3.0
"""Seconds for a healthy agent or machine to answer when it is asked only whether it lives."""

LATE = "something did not happen in the time allowed"


def name_it(lab: Lab, error: Exception) -> Observation | None:
    """What it means that `error`, something that did not come in time, happened; None when the machine went away.

    Kinds: hang, agent-gone, silence, failure (of the lab); whom they blame is the judge's business.
    """
    patience, asked, said = ALIVE * lab.slowness, time.monotonic(), str(error) or LATE
    try:
        lab.target.agent.ask("ping", patience)
        return note("hang" if isinstance(error, AgentSilent) else "failure", said)
    except MachineLost:
        return None
    except (LabError, MachineError):
        pass
    try:
        lab.target.machine.set_link(up=True)  # the scenario may have pulled the cable
        lab.wire.barrier(time.monotonic() + patience, ["target"])
        return note("agent-gone", f"{said}; its machine still answers on the wire")
    except DeadlinePassed:
        return _no_answer(lab, f"{said}, and the whole machine no longer answers on the wire", asked)
    except MachineError as wire:
        return note("failure", str(wire))


def _no_answer(lab: Lab, said: str, asked: float) -> Observation:
    """Neither agent nor network: what do QEMU and the serial lines say? `asked` (monotonic): since when we wait."""
    machine = lab.target.machine
    try:
        status = machine.status()
    except MachineError as qemu:
        return note("failure", f"{said}; nor does its QEMU: {qemu}")
    if status != "running":
        return note("failure", f"{said}: it stands still, QEMU calls it {status!r}, and nobody asked for that")
    waited = time.monotonic() - asked
    quiet = machine.quiet()
    if speaking := [name for name, seconds in quiet.items() if seconds < waited]:
        return note("hang", f"{said}; it still speaks on its {' and '.join(speaking)} line")
    return note("silence", f"{said}; its serial lines have been quiet for {min(quiet.values()):.0f} s, while QEMU "
                           "calls it running")


def note(kind: str, detail: str) -> Observation:
    """An observation of the lab itself."""
    return Observation(time.time_ns(), "lab", kind, None, {"detail": detail})
