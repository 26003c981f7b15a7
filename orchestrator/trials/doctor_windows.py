"""What the doctor asks of a Windows target, besides what it asks of every target. Not yet run on Windows."""

from __future__ import annotations

import base64
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsklab.images.windows.install.report import MEMORY_INTEGRITY, TEST_SIGNING
from wsklab.orchestrator.errors import LabError
from wsklab.orchestrator.guest import deploy
from wsklab.orchestrator.guest.guest import WindowsGuest, attached
from wsklab.orchestrator.lab.lab import Lab
from wsklab.orchestrator.lab.target import SERVICE
from wsklab.orchestrator.trials.doctor import Finding
from wsklab.qemu.errors import MachineError
from wsklab.qemu.kd.line import read_transcript

LAST_WORDS = 40
"""Lines of debug text that a report holds when Windows did not come up."""

# SystemCodeIntegrityInformation: what is in force in this boot, which bcdedit cannot say (windows-images.md 2.8).
CODE_INTEGRITY = """
$null = Add-Type -Namespace Wsklab -Name Native -MemberDefinition '[DllImport("ntdll.dll")] public static extern int NtQuerySystemInformation(int kind, int[] buffer, int length, out int written);'
$buffer = New-Object 'int[]' 2
$buffer[0] = 8
$written = 0
if ([Wsklab.Native]::NtQuerySystemInformation(103, $buffer, 8, [ref] $written) -ne 0) { exit 1 }
$buffer[1]
"""  # noqa: E501

SETUP_LOG = r"""
$log = "$env:SystemRoot\Panther\UnattendGC\setupact.log"
if (Test-Path -LiteralPath $log) { Get-Content -LiteralPath $log -Tail 120 }
"""
"""How the out-of-box part of set-up went: the last lines of its log."""

FIRST_BYTES = 4096
"""Of COM1 as it came: firmware, then the kernel debugger's first packets."""

BREAK_IN = 5.0
"""Seconds for Windows to stop for its debugger."""

_PROGRAM = 60.0
"""Seconds for a program in the guest; PowerShell takes its time at its first start."""


@dataclass(frozen=True)
class Check:
    """One step: what it is called, what to do when it fails, and the look itself, which returns the detail.

    A look raises LabError. After a check that is not `vital` the others still mean something.
    """

    what: str
    next: str
    look: Callable[[], str]
    vital: bool = False


def before_load(lab: Lab, facts: dict[str, Any]) -> Iterator[Check]:
    """Yield what must be right before a driver can be loaded; `facts` receives what is worth sending."""
    guest, target = lab.guest, lab.target
    if not isinstance(guest, WindowsGuest):
        return
    slow = lab.slowness

    def debugger() -> str:
        events = kd_events(target.machine.folder / "kd.jsonl")
        facts["kd_events"] = events
        return f"Windows speaks KD on COM1: {sum(events.values())} events, {events.get('TextLine', 0)} lines of text"

    def system() -> str:
        facts["hello"] = target.agent.hello
        with suppress(OSError):
            facts["com1"] = (target.machine.folder / "debug.log").read_bytes()[:FIRST_BYTES].decode("latin-1")
        facts["setupact"] = powershell(
            lambda command: deploy.run(target.agent, command, _PROGRAM * slow, harmless=None), SETUP_LOG
        )
        said = str((target.agent.hello or {}).get("system", "nothing"))
        if not said.startswith("windows "):
            raise LabError(f"the agent says that it runs on {said}, not on Windows.")
        return said

    def ssh() -> str:
        connection = guest.ssh(target.machine, target.agent)
        try:
            state = deploy.SshServices(connection).service("query", "sshd", timeout=_PROGRAM * slow)["state"]
            facts["groups"] = connection.call("whoami.exe /groups", _PROGRAM * slow)[1].decode(errors="replace")
        finally:
            connection.close()
        return f"sc.exe over SSH says that sshd is {state}"

    def signing() -> str:
        facts["bcdedit"] = deploy.run(target.agent, "bcdedit.exe /enum {current}", _PROGRAM * slow, harmless=None)
        options = code_integrity(lambda command: deploy.run(target.agent, command, _PROGRAM * slow))
        facts["code_integrity"] = options
        if not options & TEST_SIGNING:
            raise LabError(f"test signing is not in force in this boot (code integrity options {options:#x}).")
        if options & MEMORY_INTEGRITY and not guest.profile.variant.memory_integrity:
            raise LabError(
                f"Memory Integrity is on (code integrity options {options:#x}), under which fewer drivers "
                "load than a lab is for."
            )
        return f"in force (code integrity options {options:#x})"

    yield Check("boots", "COM2 must be that of the Windows target", system)
    yield Check("kernel debugger", "`bcdedit /debug` and `/dbgsettings` in the guest; see kd.jsonl", debugger)
    if guest.has_ssh:
        yield Check("SSH to Windows", r"see C:\ProgramData\ssh\logs in the guest; without SSH, files go by a disc", ssh)
    yield Check(
        "test signing",
        "Secure Boot and Memory Integrity must be off, `bcdedit /set testsigning on`, restart; "
        "or build the image again",
        signing,
    )


def after_load(lab: Lab) -> Iterator[Check]:
    """Yield what can be asked twice, by two roads."""
    guest, target = lab.guest, lab.target
    if not isinstance(guest, WindowsGuest) or not guest.has_ssh:
        return

    def service() -> str:
        connection = guest.ssh(target.machine, target.agent)
        try:
            over_ssh = deploy.SshServices(connection).service("query", SERVICE, timeout=_PROGRAM * lab.slowness)
        finally:
            connection.close()
        states = {over_ssh["state"], target.agent.service("query", SERVICE)["state"]}
        if states != {"running"}:
            raise LabError(f"the service {SERVICE} is {' and '.join(sorted(states))}, by sc.exe and by the agent.")
        return "sc.exe over SSH and the agent both say running"

    yield Check("service", "the two must agree: send the report", service)


def latency(lab: Lab, facts: dict[str, Any]) -> Iterator[Check]:
    """How quick the kernel debugger's line is: a break-in, in which every processor is asked where it is."""
    if not isinstance(lab.guest, WindowsGuest):
        return
    machine = lab.target.machine

    def measure() -> str:
        places = machine.locate(time.monotonic() + BREAK_IN * lab.slowness)
        times = sorted(machine.debugger_latencies())
        if places is None or not times:
            raise LabError("Windows did not stop for its debugger when it was broken into.")
        facts["kd_latency_ms"] = [round(1000 * one, 3) for one in times]
        facts["kd_places"] = places
        middle, slowest = times[len(times) // 2], times[-1]
        return (
            f"{len(times)} packets since power-on, half of them acknowledged within {1000 * middle:.1f} ms, "
            f"the slowest after {1000 * slowest:.1f} ms; it was stopped at {places}, and went on"
        )

    yield Check(
        "debugger's latency",
        "text and bugchecks may still come: see kd.jsonl; a break-in is what names the place of a hang",
        measure,
    )


def after_failure(lab: Lab, facts: dict[str, Any]) -> Iterator[Finding]:
    """How far Windows came when it did not come up; and a picture, the one thing that always tells something."""
    machine = lab.machine("target")
    if not isinstance(lab.guest, WindowsGuest):
        return
    transcript = machine.folder / "kd.jsonl"
    facts["kd_events"] = kd_events(transcript)
    facts["last_words"] = last_words(transcript)
    with suppress(MachineError):
        machine.screenshot(machine.folder / "screen.png")
    if attached(transcript):
        yield Finding("boots", "ok", "its kernel speaks KD on COM1")
    else:
        yield Finding(
            "boots",
            "fail",
            "its kernel has said nothing on COM1",
            f"look at {machine.folder / 'screen.png'} and at firmware.log beside it: did it boot at all?",
        )


def code_integrity(run: Callable[[str], str]) -> int:
    """CodeIntegrityOptions of the running system; `run` runs a program there. Raises LabError."""
    said = powershell(run, CODE_INTEGRITY).split()
    if not said or not said[-1].isdigit():
        raise LabError(f"the code integrity options could not be read: {' '.join(said)[:200] or 'no answer'}")
    return int(said[-1])


def powershell(run: Callable[[str], str], script: str) -> str:
    """Return what a script prints; encoded, so that nothing on the way quotes it."""
    encoded = base64.b64encode(script.encode("utf-16-le")).decode()
    return run(f"powershell.exe -NoProfile -NonInteractive -EncodedCommand {encoded}")


def kd_events(transcript: Path) -> dict[str, int]:
    """How many of each kind the debugger's link has brought."""
    return dict(Counter(str(event.get("event")) for event in read_transcript(transcript)))


def last_words(transcript: Path) -> list[str]:
    """Return the last lines of debug text."""
    words = [str(event["text"]) for event in read_transcript(transcript) if event.get("event") == "TextLine"]
    return words[-LAST_WORDS:]
