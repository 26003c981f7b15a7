"""Variants of a machine: what they change, which a run takes, and what of them the wire and the guest are told."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from wsklab.drivers.profile import load_profile as driver_profile
from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.guest import variants
from wsklab.orchestrator.scenario import catalogue
from wsklab.orchestrator.scenario.families import over_ipv6
from wsklab.qemu import firmware
from wsklab.qemu.errors import MachineError
from wsklab.qemu.profile import ImageFiles, Profile, command_line, load_profile
from wsklab.qemu.variants import Variant
from wsklab.qemu.wire import frames

STANDIN, WINDOWS = load_profile("standin"), load_profile("windows-2022")


def command(profile: Profile, uefi: firmware.Uefi | None = None) -> list[str]:
    return command_line(
        profile, ImageFiles(Path("/d")), name="target", accelerator="kvm", overlay=Path("o"),
        serial_fds={"debug": 1, "agent": 2, "console": 3}, qmp_fd=4, wire_fd=5, uefi=uefi,
    )  # fmt: skip


def values(words: list[str], option: str) -> list[str]:
    return [value for word, value in pairwise(words) if word == option]


def test_processors_and_card() -> None:
    assert values(command(STANDIN.varied("")), "-smp") == ["1"]
    assert values(command(STANDIN.varied("cpus-4")), "-smp") == ["4"]
    wire = [word for word in values(command(STANDIN.varied("e1000e")), "-device") if "netdev=wire" in word]
    assert wire[0].startswith("e1000e,") and STANDIN.wire_mac in wire[0]


def test_every_variant_is_another_machine_to_a_kept_snapshot() -> None:
    told = [STANDIN.varied(name).model_dump_json() for name in ("", *STANDIN.variants)]
    assert len(set(told)) == len(told)
    changed = STANDIN.model_copy(update={"variants": {"other": Variant()}})
    assert changed.varied("").model_dump_json() == told[0], "what is not run is no part of it"


def test_secure_boot_takes_smm_and_guarded_variables() -> None:
    words = command(WINDOWS.varied("secure-boot"), firmware.Uefi(Path("/c"), Path("/v"), secure=True))
    assert "smm=on" in values(words, "-machine")[0]
    assert "driver=cfi.pflash01,property=secure,value=on" in values(words, "-global")
    plain = command(WINDOWS.varied(""), firmware.Uefi(Path("/c"), Path("/v")))
    assert "smm=off" in values(plain, "-machine")[0] and not any("pflash" in v for v in values(plain, "-global"))


def test_the_firmware_is_chosen_by_what_its_description_says(tmp_path: Path) -> None:
    said = (
        '{{"interface-types": ["uefi"], "mapping": {{"device": "flash",'
        ' "executable": {{"filename": "/{0}", "format": "raw"}},'
        ' "nvram-template": {{"filename": "/v", "format": "raw"}}}}, "features": [{1}],'
        ' "targets": [{{"architecture": "x86_64", "machines": ["pc-q35-*"]}}]}}'
    )
    features = {"1": '"secure-boot", "requires-smm"', "2": '"secure-boot", "requires-smm", "enrolled-keys"', "3": ""}
    for name, words in features.items():
        (tmp_path / f"{name}.json").write_text(said.format(name, words))
    assert firmware.find([tmp_path]).code == Path("/3")
    assert firmware.find([tmp_path], secure=True) == firmware.Uefi(Path("/2"), Path("/v"), secure=True)
    with pytest.raises(MachineError, match="with Secure Boot and Microsoft's keys"):
        firmware.find([tmp_path / "nothing"], secure=True)


def test_memory_integrity_gives_the_guest_virtualisation() -> None:
    assert values(command(WINDOWS.varied("memory-integrity")), "-cpu")[0].startswith("host,hv-")


# --- which a run takes


def test_all_are_the_machine_and_what_can_be_run_on_this_target() -> None:
    names, left_out = variants.chosen(STANDIN, "standin", (), every=True)
    assert names == ["", "cpus-2", "cpus-4", "e1000e", "mtu-1280", "ipv6-only"]
    assert [sentence.split(":")[0] for sentence in left_out] == [
        f"variant {name} is left out"
        for name in ("offloads-off", "internet-custom", "datacenter-custom", "memory-integrity", "secure-boot")
    ]
    names, left_out = variants.chosen(WINDOWS, "windows-2022", (), every=True)
    assert names[:3] == ["", "cpus-1", "cpus-4"] and "memory-integrity" in names
    assert len(left_out) == 1 and "Secure Boot refuses the kernel debugger" in left_out[0]
    assert variants.chosen(STANDIN, "standin", ("mtu-1280", "base", "mtu-1280"), every=False)[0] == ["mtu-1280", ""]


@pytest.mark.parametrize(
    ("profile", "target", "name", "says"),
    [
        (STANDIN, "standin", "cpus-9", "has no such variant; there are base, cpus-2"),
        (STANDIN, "standin", "internet-custom", "only Windows has TCP templates; name a Windows image"),
        (STANDIN, "standin", "offloads-off", "only Windows has offloads"),
        (WINDOWS, "windows-2022", "secure-boot", "no verdict can be reached under it"),
    ],
)
def test_what_cannot_be_run_is_refused(profile: Profile, target: str, name: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        variants.chosen(profile, target, (name,), every=False)


def test_memory_integrity_needs_kvm() -> None:
    variants.fits(WINDOWS, ["", "memory-integrity"], "kvm", None)
    with pytest.raises(UsageError, match="takes KVM with nested virtualisation"):
        variants.fits(WINDOWS, ["memory-integrity"], "tcg", None)


# --- what the guest is told


def test_what_a_windows_guest_is_told() -> None:
    said = {name: variants.powershell(v, "wire", WINDOWS.wire_mac, v.network is not None)
            for name, v in WINDOWS.variants.items()}  # fmt: skip
    assert said["cpus-4"] == "" and said["ipv6-only"] == ""
    assert "-NlMtuBytes 1280" in said["mtu-1280"]
    assert "52-54-00-77-00-10" in said["e1000e"] and "fd77::10" in said["e1000e"]
    assert all(f"Disable-NetAdapter{what} " in said["offloads-off"] for what in ("ChecksumOffload", "Rsc", "Lso"))
    assert "-SettingName DatacenterCustom" in said["datacenter-custom"]
    assert "HypervisorEnforcedCodeIntegrity" in said["memory-integrity"]
    assert variants.linux(STANDIN.variants["mtu-1280"], "eth0") == ["ip link set dev eth0 mtu 1280"]


# --- IPv6 alone


def test_scenarios_over_ipv6() -> None:
    kept, left_out = over_ipv6(catalogue.built_in(), None, "ipv6-only")
    assert {s.socket.family for s in kept} == {"ipv6"} and len(kept) + len(left_out) == len(catalogue.built_in())
    assert any(line.startswith("target-address-gone is left out of variant ipv6-only") for line in left_out)
    with pytest.raises(UsageError, match="does not say that its driver listens on IPv6"):
        over_ipv6(catalogue.any_driver(), driver_profile("echo"), "ipv6-only")


def solicitation(for_whom: str = frames.WIRE_ADDRESS_6, source: str = "fd77::10") -> frames.Frame:
    """Who has this address? (RFC 4861 4.3)"""
    message = b"\x87\0\0\0\0\0\0\0" + frames._packed(for_whom) + b"\1\1" + frames.MACS["target"]
    data = frames.ip_frame(bytes.fromhex("3333ff000001"), frames.MACS["target"], "ff02::1:ff00:1", source, 58, message)
    return frames.decode(data, sender="target")


def test_the_wire_has_an_address_of_its_own() -> None:
    answer = frames.neighbour_reply(solicitation())
    assert answer is not None
    told = frames.decode(answer)
    assert (told.kind, told.icmp_type, told.src, told.dst) == ("icmp6", 136, "fd77::1", "fd77::10")
    assert answer[:6] == frames.MACS["target"] and answer[-6:] == frames.WIRE_MAC and answer[21] == 255
    pseudo = frames._pseudo_header(told.src, told.dst, 58, len(answer) - 54)
    assert frames.checksum(pseudo + answer[54:]) in (0, 0xFFFF)
    assert frames.neighbour_reply(solicitation("fd77::20")) is None
    assert frames.neighbour_reply(solicitation(source="::")) is None


def test_a_ping_of_the_wire_over_ipv6() -> None:
    ping = frames.echo_request("target", 7, 2, ipv6=True)
    asked = frames.decode(ping)
    assert (asked.kind, asked.icmp_type, asked.src, asked.dst) == ("icmp6", 128, "fd77::1", "fd77::10")
    reply = frames.ip_frame(frames.WIRE_MAC, frames.MACS["target"], "fd77::1", "fd77::10", 58, b"\x81" + ping[55:76])
    assert frames.echo_reply_ident(frames.decode(reply)) == (7, 2)
    assert frames.echo_reply_ident(asked) is None
