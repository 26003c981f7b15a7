"""Which variants of the machine a run takes, and how a booted guest is made one. The Windows half is not yet run there.

Facts: Microsoft, "Set-NetIPInterface", "Disable-NetAdapterRsc", "New-NetTransportFilter", "Enable virtualization-based
protection of code integrity".
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from wsklab.orchestrator.errors import UsageError
from wsklab.qemu.network import MACHINES, WIRE_PREFIX
from wsklab.qemu.profile import Accelerator, Profile
from wsklab.qemu.variants import BASE, Variant

_FAMILIES = {"ipv4": "IPv4", "ipv6": "IPv6"}
"""In PowerShell's words."""

NO_SECURE_BOOT = (
    "Secure Boot refuses the kernel debugger, over whose line the driver's text comes, and the lab's own test-signed "
    "driver: no verdict can be reached under it; `wsklab doctor --target IMAGE --variant {name}` sees what boots there"
)


def chosen(profile: Profile, target: str, words: Sequence[str], every: bool) -> tuple[list[str], list[str]]:
    """Return (the variants of a run in order, why others are left out). "" is the machine as it is. Raises UsageError.

    What is named must be possible; of `every` variant those that are not are left out.
    """
    names, left_out = [], []
    for word in [BASE, *profile.variants] if every else dict.fromkeys(words):
        if word == BASE:
            names.append("")
            continue
        reason = refusal(profile, target, word)
        if reason is None:
            names.append(word)
        elif not every:
            raise UsageError(f"--variant {word}: {reason}.")
        else:
            left_out.append(f"variant {word} is left out: {reason}")
    return names or [""], left_out


def refusal(profile: Profile, target: str, name: str) -> str | None:
    """Why a run cannot take this variant; None when it can."""
    variant = profile.variants.get(name)
    if variant is None:
        return f"the machine of {target} has no such variant; there are {', '.join([BASE, *profile.variants])}"
    if target == "standin" and variant.windows_only:
        return f"only Windows has {' and '.join(variant.windows_only)}; name a Windows image with --target"
    if variant.secure_boot:
        return NO_SECURE_BOOT.format(name=name)
    return None


class UnderTest(Protocol):
    """A driver's file on this host."""

    @property
    def file(self) -> Path: ...


def fits(profile: Profile, names: Sequence[str], accelerator: Accelerator, driver: UnderTest | None) -> None:
    """See that host and driver are fit for Memory Integrity, where a variant has it. Raises UsageError."""
    for name in names:
        if not name or not profile.variants[name].memory_integrity:
            continue
        if accelerator != "kvm":
            raise UsageError(
                f"--variant {name}: Windows runs Hyper-V for it, which takes KVM with nested virtualisation "
                "(`nested=1` of the module kvm_intel or kvm_amd); `wsklab doctor` says what KVM does here."
            )
        if driver is not None and (wrong := writable_code(driver.file)):
            raise UsageError(
                f"--variant {name}: {driver.file.name} has sections that are both written and run "
                f"({', '.join(wrong)}), which Memory Integrity refuses; build it without them."
            )


def writable_code(file: Path) -> list[str]:
    """Return the names of sections that Memory Integrity does not allow."""
    from wsklab.drivers.check import check_file

    return [section.name for section in check_file(file).sections if section.writable and section.executable]


def linux(variant: Variant, nic: str) -> list[str]:
    """Return the command lines that make a Linux target the variant, all but its address."""
    return [f"ip link set dev {nic} mtu {variant.mtu}"] if variant.mtu else []


def powershell(variant: Variant, nic: str, mac: str, changed_card: bool) -> str:
    """Return the script that makes a Windows target the variant, all but its IPv4 address.

    "" when there is nothing to do. Another card is another adapter to Windows, with neither the name nor the addresses
    of the first.
    """
    lines: list[str] = []
    if changed_card:
        lines += [
            f"$card = Get-NetAdapter | Where-Object {{ $_.MacAddress -eq '{mac.replace(':', '-').upper()}' }}",
            "if (-not $card) { throw 'no network card has the address of the wire' }",
            f"Rename-NetAdapter -Name $card.Name -NewName '{nic}'",
        ]
        for family, address in MACHINES["target"].addresses.items():
            length = WIRE_PREFIX[family]
            lines += [
                f"Set-NetIPInterface -InterfaceAlias '{nic}' -AddressFamily {_FAMILIES[family]} -Dhcp Disabled",
                f"$null = New-NetIPAddress -InterfaceAlias '{nic}' -IPAddress '{address}' -PrefixLength {length}",
            ]
    if variant.mtu:
        lines += [
            f"Set-NetIPInterface -InterfaceAlias '{nic}' -AddressFamily {family} -NlMtuBytes {variant.mtu}"
            for family in _FAMILIES.values()
        ]
    if not variant.offloads:
        lines += [
            f"Disable-NetAdapter{what} -Name '{nic}' -ErrorAction SilentlyContinue"
            for what in ("ChecksumOffload", "Rsc", "Lso")
        ]
    if variant.tcp_template:
        lines.append(
            f"$null = New-NetTransportFilter -SettingName {variant.tcp_template} -LocalPortStart 0 -LocalPortEnd 65535 "
            "-RemotePortStart 0 -RemotePortEnd 65535"
        )
    if variant.memory_integrity:
        key = r"HKLM:\SYSTEM\CurrentControlSet\Control\DeviceGuard"
        scenario = rf"{key}\Scenarios\HypervisorEnforcedCodeIntegrity"
        lines += [
            f"$null = New-Item -Path '{scenario}' -Force",
            f"Set-ItemProperty -Path '{key}' -Name EnableVirtualizationBasedSecurity -Value 1 -Type DWord",
            f"Set-ItemProperty -Path '{key}' -Name RequirePlatformSecurityFeatures -Value 0 -Type DWord",
            f"Set-ItemProperty -Path '{scenario}' -Name Enabled -Value 1 -Type DWord",
        ]
    return "\n".join(["$ErrorActionPreference = 'Stop'", *lines]) if lines else ""
