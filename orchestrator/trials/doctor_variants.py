"""What the doctor asks of a Windows with Memory Integrity or Secure Boot. Not yet run on Windows.

Facts: Microsoft, "Win32_DeviceGuard", "Confirm-SecureBootUEFI"; UEFI 2.10 section 32; reference/windows-images.md 3.1.
"""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from wsklab.drivers.build import BuiltDriver
from wsklab.images.windows.install.report import MEMORY_INTEGRITY, TEST_SIGNING
from wsklab.orchestrator.errors import LabError, UsageError
from wsklab.orchestrator.guest import deploy, find
from wsklab.orchestrator.guest.agent import Agent
from wsklab.orchestrator.guest.guest import Guest
from wsklab.orchestrator.guest.variants import refusal
from wsklab.orchestrator.lab.foreign_driver import Foreign
from wsklab.orchestrator.lab.installed_foreign import InstalledForeign
from wsklab.orchestrator.lab.lab import Lab
from wsklab.orchestrator.lab.target import Target
from wsklab.orchestrator.observe.journal import Journal
from wsklab.orchestrator.trials import doctor_driver
from wsklab.orchestrator.trials.doctor_windows import CODE_INTEGRITY, Check
from wsklab.qemu import firmware
from wsklab.qemu.machine import Machine
from wsklab.qemu.profile import Accelerator

RUNNING = r"(Get-CimInstance -Namespace root\Microsoft\Windows\DeviceGuard Win32_DeviceGuard).SecurityServicesRunning"
HVCI = 2
"""Of SecurityServicesRunning: code integrity that the hypervisor enforces."""

SECURE_BOOT = r"""
"confirmed $(Confirm-SecureBootUEFI)"
"state $((Get-ItemProperty 'HKLM:\SYSTEM\CurrentControlSet\Control\SecureBoot\State').UEFISecureBootEnabled)"
"""

_KEYS = ("PK", "KEK", "db")
_MICROSOFT = (b"Microsoft Corporation UEFI CA", b"Microsoft Windows Production PCA", b"Windows UEFI CA 2023")


def check(target: str, name: str) -> None:
    """See that the target has this variant. Raises UsageError."""
    if not name:
        return
    profile = find.machine(target)
    variant = profile.variants.get(name)
    if variant is None or not variant.secure_boot or target == find.STANDIN:
        reason = refusal(profile, target, name)
        if reason is not None:
            raise UsageError(f"--variant {name}: {reason}.")


def memory_integrity(lab: Lab, facts: dict[str, Any]) -> Iterator[Check]:
    """Whether it is in force in the running system, by two roads."""
    if not lab.guest.profile.variant.memory_integrity:
        return

    def look() -> str:
        agent = lab.target.agent
        services = [int(word) for word in re.findall(r"\d+", deploy.powershell(agent, RUNNING))]
        options = _code_integrity(agent)
        facts.update({"security_services_running": services, "code_integrity": options})
        if HVCI not in services or not options & MEMORY_INTEGRITY:
            raise LabError(f"it is not in force: SecurityServicesRunning {services}, code integrity {options:#x}.")
        return (
            f"in force: SecurityServicesRunning {services}, code integrity {options:#x}; the driver is loaded under it"
        )

    yield Check(
        "Memory Integrity",
        "the host's KVM must offer nested virtualisation; see msinfo32 and the event log of DeviceGuard",
        look,
    )


def secure_boot(
    guest: Guest,
    driver: BuiltDriver,
    folder: Path,
    accelerator: Accelerator,
    facts: dict[str, Any],
    foreign: Foreign | None = None,
    ending: Callable[[Machine], None] = lambda machine: None,
) -> Iterator[Check]:
    """Yield the firmware's keys, then a boot without debugger, driver and peer, and what Windows says of it.

    A `foreign` driver is loaded there as it is signed. `ending` is called with the machine before it is stopped.
    """

    def keys() -> str:
        found = enrolled(firmware.find(secure=True).variables.read_bytes())
        facts["firmware_keys"] = found
        if found != [*_KEYS, "Microsoft"]:
            raise LabError(
                f"of {', '.join(_KEYS)} and Microsoft's certificates it has only {', '.join(found) or 'none'}."
            )
        return f"{', '.join(_KEYS)} are enrolled, Microsoft's certificates among them"

    yield Check("firmware keys", "install Debian's package ovmf anew: its OVMF_VARS_4M.ms.fd has the keys", keys, True)

    if foreign is not None:
        yield from doctor_driver.signed(foreign, facts)
    place = folder / "lab-1" / "target"
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)  # the same cards as ever, with nobody at the wire
    machine = Machine("target", guest.profile, guest.files(driver, place), place, accelerator, near)
    slow = guest.slow[accelerator]
    try:

        def boots() -> str:
            machine.start()
            target.append(Target(machine, Journal()))
            target[0].agent.await_hello(time.monotonic() + guest.boot * slow)
            return "the agent answers"

        def restart() -> None:
            target[0].agent.hello = None
            deploy.run(target[0].agent, deploy.RESTART, 30)
            target[0].agent.await_hello(time.monotonic() + guest.boot * slow)

        def in_force() -> str:
            agent = target[0].agent
            said = " ".join(deploy.powershell(agent, SECURE_BOOT).split())
            options = _code_integrity(agent)
            facts.update({"secure_boot": said, "code_integrity": options})
            if said.lower() != "confirmed true state 1":
                raise LabError(f"Windows says: {said or 'nothing'}.")
            if options & TEST_SIGNING:
                raise LabError(f"test signing is in force all the same (code integrity options {options:#x}).")
            return f"Windows says so, and takes no test signatures (code integrity options {options:#x})"

        target: list[Target] = []
        yield Check("boots", f"see {place}/screen.png and firmware.log: a refused loader says so there", boots, True)
        yield Check("Secure Boot", "see `firmware keys`; msinfo32 in the guest", in_force)
        if foreign is not None:
            yield from doctor_driver.loads(InstalledForeign(foreign, target[0], slow), restart)
    finally:
        ending(machine)
        machine.stop()
        near.close()
        far.close()


def enrolled(variables: bytes) -> list[str]:
    """Which of the keys a store of UEFI variables has: names as UTF-16, certificates with their subjects in plain."""
    found = [name for name in _KEYS if (name + "\0").encode("utf-16-le") in variables]
    return [*found, *(["Microsoft"] if any(subject in variables for subject in _MICROSOFT) else [])]


def _code_integrity(agent: Agent) -> int:
    said = deploy.powershell(agent, CODE_INTEGRITY).split()
    if not said or not said[-1].isdigit():
        raise LabError(f"the code integrity options could not be read: {' '.join(said)[:200] or 'no answer'}")
    return int(said[-1])
