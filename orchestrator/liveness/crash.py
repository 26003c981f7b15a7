"""When a scenario goes down: what happened is named, and evidence is kept before anything is torn down.

A crash (the driver's host is gone), a hang (the driver does not return), silence (nothing is heard of the target at
all), a driver that refuses, and a failure of the lab itself are different things; `name_it` tells them apart by asking,
and the judge blames.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from wsklab.common.text import visible
from wsklab.drivers import protocol
from wsklab.orchestrator.errors import LabError
from wsklab.orchestrator.guest.agent import AgentError, AgentSilent
from wsklab.orchestrator.lab.lab import Lab
from wsklab.orchestrator.lab.target import SERVICE, Misanswer
from wsklab.orchestrator.liveness import silence
from wsklab.orchestrator.liveness.silence import note
from wsklab.orchestrator.observe.journal import MachineLost
from wsklab.orchestrator.observe.lab_notes import Failure, Hang, Refusal, WrongAnswer
from wsklab.orchestrator.observe.machine_events import Crash
from wsklab.orchestrator.observe.observation import Loss, describe_loss
from wsklab.qemu.deadline import within
from wsklab.qemu.errors import DeadlinePassed, MachineError, QmpError
from wsklab.qemu.kd import bugcheck
from wsklab.qemu.machine import Machine
from wsklab.qemu.pulse import feel

TIMED_OUT = frozenset({1053, 1460})
"""Win32 errors with which the agent says that a call into the driver did not come back in time."""

NEWS = 1.0
"""Seconds in which the news of a machine's end follows the first call that fails for it."""

STATUS = 3.0
"""Seconds for QEMU to say how a machine is; one that does not is asked nothing else."""

COPIED = 4 << 20
"""Bytes of a log that are copied, from its end."""

LOGS = ("debug.log", "kd.jsonl", "console.log", "agent.log", "qmp.log", "qemu.stderr", "command.txt")


def name_it(lab: Lab, error: Exception) -> Loss | None:
    """Return what stopped a scenario, as an observation; None when the journal already says which machine went away."""
    if isinstance(error, MachineLost) or _news(lab):
        return None
    if isinstance(error, AgentError):
        return _refused(lab, error)
    if isinstance(error, Misanswer):
        return note(WrongAnswer, str(error))
    if isinstance(error, (AgentSilent, DeadlinePassed, TimeoutError)):
        return silence.name_it(lab, error)
    return note(Failure, str(error) or silence.LATE)


def _news(lab: Lab) -> bool:
    """Whether it becomes known within a moment that a machine went away."""
    try:
        lab.journal.pass_time(NEWS)
    except MachineLost:
        return True
    return False


def _refused(lab: Lab, error: AgentError) -> Loss | None:
    """Return what a refusal tells while the agent lives: a call did not come back, or the driver's device is gone."""
    if error.code in TIMED_OUT:
        return note(Hang, str(error))
    agent, patience = lab.target.agent, silence.ALIVE * lab.slowness
    try:
        state = f"its service, which nobody stopped, is {agent.service('query', SERVICE, timeout=patience)['state']}"
        if state.endswith(" running"):  # Wine says so even when the process that ran the driver is gone
            agent.ask("close_device", patience, device=protocol.DEVICE)
            lab.target.state()
            return note(Refusal, str(error))
    except AgentError as again:
        state = f"then {again}"
    except AgentSilent as again:
        return silence.name_it(lab, AgentSilent(f"{error}; then {again}"))
    except (LabError, MachineError) as again:
        return note(Hang, f"{error}; then {again}")
    return Crash(t=time.time_ns(), machine="target", detail=f"{error}; {state}")


# --- evidence ---------------------------------------------------------------------------------------------------------


@dataclass
class Collector:
    """Keeps what a broken lab can still tell, once per scenario, in a folder `crash` of the scenario's evidence."""

    lab: Lab
    folder: Path
    kept: list[str] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    done: bool = False

    def collect(self, why: str) -> None:
        """Status, registers, screen, logs and dump of both machines; what cannot be had is named in the notes.

        Never raises.
        """
        if self.done:
            return
        self.done = True
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in ("target", "peer"):
            machine = self.lab.machine(name)
            if self._keep(f"{name}-status.json", partial(_write_status, machine)):
                self._keep(f"{name}-registers.txt", partial(_write_registers, machine))
                self._keep(f"{name}-screen.png", machine.screenshot)
            else:  # each question would take as long as the first
                self.missing |= dict.fromkeys([f"{name}-registers.txt", f"{name}-screen.png"], "QEMU does not answer")
            for log in LOGS:
                if _size(machine.folder / log):
                    self._keep(f"{name}-{log}", partial(copy_tail, machine.folder / log))
        if _size(stderr := self.lab.wire.folder / "wire.stderr"):
            self._keep("wire.stderr", partial(copy_tail, stderr))
        self._keep("processes.json", partial(_write_processes, self.lab))
        target = self.lab.machine("target")
        if "vmcoreinfo" in target.profile.devices:
            self._keep("target.dmp", partial(dump, target))
            if "target.dmp" in self.missing:
                self._keep("dumps", partial(dumps_of_disk, target))
            for found in (self.folder / "target.dmp", *(self.folder / "dumps").glob("*.[dD][mM][pP]")):
                if found.exists():
                    name = f"{found.relative_to(self.folder)}.txt"
                    self._keep(name, partial(report_of_dump, found, self.lab.target.named))
        notes = {"why": why, "t": time.time_ns(), "kept": self.kept, "missing": self.missing}
        (self.folder / "crash.json").write_text(json.dumps(notes, indent=1) + "\n", encoding="utf-8")

    def _keep(self, name: str, take: Callable[[Path], None]) -> bool:
        """Whether whoever was asked answered at all."""
        try:
            take(self.folder / name)
            self.kept.append(name)
        except (MachineError, OSError) as error:
            self.missing[name] = str(error)
            return not isinstance(error, DeadlinePassed)
        return True


def _write_status(machine: Machine, path: Path) -> None:
    """Write what QEMU says of the machine, and the seconds for which its serial lines have been quiet."""
    quiet = {name: round(seconds, 3) for name, seconds in machine.quiet().items()}
    status = machine.status(within(STATUS))
    path.write_text(json.dumps({"status": status, "quiet_s": quiet}, indent=1) + "\n", encoding="utf-8")


def _write_processes(lab: Lab, path: Path) -> None:
    """Write the host's view of the lab's processes: state, and the seconds that each waited for a processor so far."""
    found: dict[str, object] = {}
    for name, party in (("target", lab.machine("target")), ("peer", lab.machine("peer")), ("wire", lab.wire)):
        pulse = None
        with suppress(MachineError):
            pulse = feel(party.pid)
        found[name] = (
            None if pulse is None else {"state": pulse.state, "waited_s": round(sum(pulse.waited.values()) / 1e9, 3)}
        )
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _write_registers(machine: Machine, path: Path) -> None:
    path.write_text(machine.registers(), encoding="utf-8")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def copy_tail(source: Path, path: Path) -> None:
    """Copy the last `COPIED` bytes of a log that still grows."""
    with source.open("rb") as file:
        file.seek(max(0, source.stat().st_size - COPIED))
        path.write_bytes(file.read(COPIED))


def dump(machine: Machine, path: Path) -> None:
    """Write the memory of a Windows machine in the format of its own dumps.

    Not yet run on Windows. Raises MachineError.
    """
    needed, free = machine.profile.memory_mib << 20, shutil.disk_usage(path.parent).free
    if free < 2 * needed:
        raise MachineError(f"no dump: {free >> 20} MiB of disk are free, {2 * needed >> 20} are wanted")
    try:
        machine.dump(path)
    except QmpError as error:
        path.unlink(missing_ok=True)
        raise MachineError(f"QEMU makes no dump: {error}") from None


def dumps_of_disk(machine: Machine, folder: Path) -> None:
    """Fetch what Windows itself has written down of its crash; the machine stands still meanwhile.

    Raises MachineError.
    """
    from wsklab.images.windows.disk import dumps  # only a Windows that has crashed needs it

    ran = False
    with suppress(MachineError):
        ran = machine.status(within(STATUS)) == "running"
        machine.pause()  # what QEMU has in its own memory of the disk goes into the file
    folder.mkdir()
    try:
        taken, said = dumps.take(machine.overlay, folder)
    finally:
        with suppress(MachineError):
            if ran:  # somebody may hold the lab, to look at it with another debugger
                machine.resume()
    if not taken:
        folder.rmdir()
        raise MachineError(said)
    lines = [
        f"{one.file.name}: {one.path}, {one.dump.kind} dump{'' if one.whole else ' (header only)'}, "
        f"{bugcheck.describe(one.dump.code, one.dump.parameters)}\n"
        for one in taken
    ]
    (folder / "dumps.txt").write_text("".join(lines), encoding="utf-8")


def report_of_dump(dump: Path, named: Callable[[str], str], path: Path) -> None:
    """Write what can be read of a dump, with the functions of drivers that are known. Raises MachineError."""
    from wsklab.images.windows.disk import crash_report  # only a Windows that has crashed needs it

    try:
        path.write_text(visible(named(crash_report.report(dump)), lines=True), encoding="utf-8")
    except crash_report.Unreadable as error:
        raise MachineError(str(error)) from None


def why_of(lab: Lab, observation: Loss | None) -> str:
    """One sentence for people: what happened."""
    if observation is None:
        return describe_loss(lab.journal.lost) if lab.journal.lost else "a machine went away"
    return describe_loss(observation)
