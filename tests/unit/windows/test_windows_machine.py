"""What Windows needs of a machine: firmware, TPM, discs, enlightenments, and the command line made of them."""

import json
import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsklab.images.windows.media import catalogue
from wsklab.qemu import enlightenments, firmware
from wsklab.qemu.errors import MachineError
from wsklab.qemu.firmware import Uefi
from wsklab.qemu.profile import ImageFiles, Profile, command_line, load_profile

UEFI = Uefi(Path("/f/code.fd"), Path("/run/variables.qcow2"))
FILES = ImageFiles(disk=Path("/i/disk.qcow2"), cdroms=(Path("/windows,1.iso"), Path("/ours.iso")))


def command(profile: Profile, files: ImageFiles = FILES, **changes: Any) -> list[str]:
    arguments: dict[str, Any] = {
        "name": "target", "accelerator": "tcg", "overlay": Path("/run/overlay.qcow2"),
        "serial_fds": {"debug": 11, "agent": 12}, "qmp_fd": 10, "wire_fd": 14, "uefi": UEFI, **changes,
    }  # fmt: skip
    return command_line(profile, files, **arguments)


def values(words: list[str], option: str) -> list[str]:
    return [value for word, value in pairwise(words) if word == option]


@pytest.mark.parametrize("name", catalogue.names())
def test_every_version_has_its_machine(name: str) -> None:
    profile = load_profile(name)
    words = command(profile)
    devices = values(words, "-device")
    assert values(words, "-machine")[0].startswith("pc-q35-7.2,") and "smm=off" in values(words, "-machine")[0]
    assert {"vmcoreinfo", "pvpanic-pci", "VGA"} <= set(devices)
    assert [device for device in devices if device.startswith("isa-serial")] == [
        "isa-serial,chardev=debug,index=0,irq=4",
        "isa-serial,chardev=agent,index=1,irq=3",
    ]
    cards = [device.split(",")[0] for device in devices if ",mac=" in device]
    assert cards == ["virtio-net-pci", "e1000e"]
    assert "reboot=reset" in values(words, "-action")[0] and "panic=none" in values(words, "-action")[0]
    assert values(words, "-global") == ["ICH9-LPC.disable_s3=1", "ICH9-LPC.disable_s4=1"]
    assert values(words, "-boot") == ["strict=on,menu=off"]


def test_enlightenments_are_for_kvm_alone() -> None:
    profile = load_profile("windows-2022")
    assert "hv-time" in values(command(profile, accelerator="kvm"), "-cpu")[0].split(",")
    assert "hv-" not in values(command(profile), "-cpu")[0]


def test_the_disk_comes_before_the_disc_and_our_disc_is_never_started() -> None:
    devices = values(command(load_profile("windows-11")), "-device")
    assert "virtio-blk-pci,drive=disk,bootindex=0" in devices
    assert "ide-cd,drive=cd1,bus=ide.1,serial=CD1,bootindex=1" in devices
    assert "ide-cd,drive=cd2,bus=ide.2,serial=CD2" in devices
    drives = values(command(load_profile("windows-11")), "-drive")
    assert "id=cd1,if=none,format=raw,readonly=on,media=cdrom,file=/windows,,1.iso" in drives


@pytest.mark.parametrize(
    ("disk", "device"),
    [
        ("virtio-scsi-pci", "scsi-hd,bus=scsi.0,drive=disk,bootindex=0"),
        ("ide-hd", "ide-hd,bus=ide.0,drive=disk,bootindex=0"),
    ],
)
def test_other_disks(disk: str, device: str) -> None:
    words = command(load_profile("windows-2019").model_copy(update={"disk": disk}))
    assert device in values(words, "-device")


def test_firmware_and_tpm() -> None:
    words = command(load_profile("windows-11"), tpm_fd=20)
    assert "if=pflash,unit=0,format=raw,readonly=on,file=/f/code.fd" in values(words, "-drive")
    assert "if=pflash,unit=1,format=qcow2,file=/run/variables.qcow2" in values(words, "-drive")
    assert "socket,id=tpm,fd=20" in values(words, "-chardev") and "tpm-crb,tpmdev=tpm0" in values(words, "-device")
    plain = command(load_profile("windows-11"), uefi=None)
    assert not any("pflash" in drive for drive in values(plain, "-drive")) and not values(plain, "-tpmdev")


def test_a_kernel_of_its_own_needs_no_firmware_options() -> None:
    serial = {"debug": 1, "agent": 2, "console": 3}
    words = command(load_profile("peer"), ImageFiles(kernel=Path("/k")), serial_fds=serial)
    assert not values(words, "-boot") and "bootindex" not in " ".join(words) and "debugcon" not in " ".join(words)


def description(**changes: Any) -> dict[str, Any]:
    return {
        "interface-types": ["uefi"],
        "targets": [{"architecture": "x86_64", "machines": ["pc-i440fx-*", "pc-q35-*"]}],
        "features": ["acpi-s3"],
        "mapping": {"device": "flash", "executable": {"filename": "/code", "format": "raw"},
                    "nvram-template": {"filename": "/vars", "format": "raw"}},
        **changes,
    }  # fmt: skip


def test_the_first_firmware_without_secure_boot_is_taken() -> None:
    secure = description(features=["secure-boot", "requires-smm"])
    arm = description(targets=[{"architecture": "aarch64", "machines": ["virt-*"]}])
    assert firmware.choose([{}, None, 3, secure, arm, description()]) == Uefi(Path("/code"), Path("/vars"))
    assert firmware.choose([secure, arm, description(**{"interface-types": ["bios"]})]) is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)


@given(st.dictionaries(st.sampled_from(["interface-types", "targets", "features", "mapping"]), JSON))
def test_any_json_is_a_description_or_not(found: dict[str, Any]) -> None:
    firmware.choose([found, {**description(), **found}])


def test_a_file_hides_its_namesake_and_an_empty_one_masks_it(tmp_path: Path) -> None:
    etc, usr = tmp_path / "etc", tmp_path / "usr"
    etc.mkdir()
    usr.mkdir()
    (usr / "60.json").write_text(json.dumps(description()))
    assert firmware.find([etc, usr]).code == Path("/code")
    (etc / "60.json").write_text("")
    with pytest.raises(MachineError, match="apt-get install ovmf"):
        firmware.find([etc, usr])


def test_this_host_has_a_firmware_and_its_variables_can_be_kept(tmp_path: Path) -> None:
    firmware.make_variables(firmware.find().variables, tmp_path / "variables.qcow2")
    assert (tmp_path / "variables.qcow2").read_bytes()[:4] == b"QFI\xfb"
    firmware.make_variables(tmp_path / "variables.qcow2", tmp_path / "again.qcow2")
    with pytest.raises(MachineError, match="UEFI variables"):
        firmware.make_variables(tmp_path / "nonesuch", tmp_path / "x.qcow2")


def test_what_kvm_lacks_is_left_out_step_by_step() -> None:
    profile = load_profile("windows-2022")
    tried: list[Profile] = []

    def only_without_synthetic_timers(one: Profile) -> bool:
        tried.append(one)
        return "hv-stimer" not in one.hyperv and "arch-capabilities=off" in one.cpu["kvm"]

    fitted = enlightenments.fit(profile, only_without_synthetic_timers)
    assert fitted.hyperv == ("hv-relaxed", "hv-spinlocks=0x1fff")
    assert tried[0] == profile and len(tried) == 4
    assert fitted.cpu["tcg"] == profile.cpu["tcg"]


def test_without_anything_that_starts_the_profile_is_plain() -> None:
    assert enlightenments.fit(load_profile("windows-2022"), lambda _: False).hyperv == ()


def test_no_machine_for_windows_forbids_snapshots() -> None:
    assert not any("migratable" in load_profile(name).cpu["kvm"] for name in catalogue.names())


@pytest.mark.skipif(not os.access("/dev/kvm", os.R_OK | os.W_OK), reason="KVM cannot be opened")
def test_a_cpu_that_cannot_be_saved_is_not_taken() -> None:
    """The real QEMU, a stopped machine, no guest."""
    plain = load_profile("windows-2022").model_copy(update={"hyperv": ()})
    fitted = enlightenments.fit(plain)
    blocked = fitted.model_copy(update={"cpu": fitted.cpu | {"kvm": f"{fitted.cpu['kvm']},migratable=no,invtsc=on"}})
    assert enlightenments._starts(fitted)
    assert not enlightenments._starts(blocked)
