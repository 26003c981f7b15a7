"""The machines for Windows, started for real under TCG: the firmware comes up and finds the disc. No Windows is here:
a program of ours (`windows_setup.c`) plays Setup from a disc that UEFI starts, so that a whole build runs but for it.
"""

import re
import socket
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from support.windows_media import setup_program, virtio_iso, windows_iso

from wsklab.images import windows
from wsklab.images.errors import ImageError
from wsklab.images.store import Store
from wsklab.images.windows import Media
from wsklab.images.windows.media.disc import write_disc
from wsklab.orchestrator.trials import doctor_variants
from wsklab.qemu import firmware
from wsklab.qemu.accel import Choice
from wsklab.qemu.deadline import left, within
from wsklab.qemu.machine import Machine
from wsklab.qemu.profile import ImageFiles, Profile, load_profile

pytestmark = [pytest.mark.vm, pytest.mark.timeout(180)]
FIRMWARE = 60.0
NOT_STARTABLE = r'BdsDxe: failed to load Boot\w+ "UEFI QEMU DVD-ROM CD1 "'
INPUTS = {"driver.cer": b"certificate", "wskagent.exe": b"MZ"}


@contextmanager
def machine(profile: Profile, folder: Path, disc: Path) -> Iterator[Machine]:
    """Yield a started machine with an empty disk and our disc, both cards in place."""
    blank = folder / "blank.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(blank), "64G"], check=True)
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    files = ImageFiles(disk=blank, cdroms=(disc, disc))
    with near, far, Machine("windows", profile, files, folder, "tcg", near) as started:
        started.start()
        yield started


@pytest.fixture(scope="module")
def disc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Our own disc alone: not startable, which the firmware says by its name."""
    path = tmp_path_factory.mktemp("disc") / "wsklab.iso"
    write_disc({"Autounattend.xml": b"<unattend/>"}, "WSKLAB", path)
    return path


@pytest.mark.parametrize("name", windows.names())
def test_the_firmware_comes_up_and_looks_at_the_disc(name: str, tmp_path: Path, disc: Path) -> None:
    with machine(load_profile(name), tmp_path, disc) as started:
        started.agent.expect(NOT_STARTABLE, within(FIRMWARE))
        started.screenshot(tmp_path / "screen.png")
        devices = {one["type"] for one in started.qmp.execute("qom-list", path="/machine/peripheral-anon")}
        network = started.qmp.hmp("info network")
    assert (tmp_path / "screen.png").read_bytes().startswith(b"\x89PNG")
    assert b"BdsDxe" in (tmp_path / "debug.log").read_bytes()
    assert {f"child<{name}>" for name in ("pvpanic-pci", "vmcoreinfo", "isa-serial", "e1000e")} <= devices
    assert all(f"macaddr={mac}" in network for mac in ("52:54:00:77:00:10", "52:54:00:0a:00:10"))


def test_secure_boot_is_in_force_with_microsofts_keys(tmp_path: Path) -> None:
    """A program of ours, which the same firmware without Secure Boot starts (below), is refused for its signature."""
    iso = windows_iso(tmp_path / "unsigned.iso", program=setup_program(tmp_path))
    profile = load_profile("windows-2022").varied("secure-boot")
    with machine(profile, tmp_path, iso) as started:
        started.agent.expect(rf"{NOT_STARTABLE}[^\r\n]*: Access Denied", within(FIRMWARE))
        assert doctor_variants.enrolled(firmware.find(secure=True).variables.read_bytes()) == [
            "PK",
            "KEK",
            "db",
            "Microsoft",
        ]
        assert "secure" in (tmp_path / "command.txt").read_text()


def test_a_tpm_and_another_disk_and_a_snapshot(tmp_path: Path, disc: Path) -> None:
    profile = load_profile("windows-11").model_copy(update={"tpm": True, "disk": "virtio-scsi-pci"})
    with machine(profile, tmp_path, disc) as started:
        started.agent.expect(NOT_STARTABLE, within(FIRMWARE))
        (tpm,) = started.qmp.execute("query-tpm")
        started.save("ready")
        started.restore("ready")
    assert tpm["model"] == "tpm-crb"
    assert list((tmp_path / "tpm").iterdir()), "swtpm has kept no state"


def test_seabios_looks_at_disk_and_disc(tmp_path: Path, disc: Path) -> None:
    profile = load_profile("windows-2019").model_copy(update={"firmware": "seabios", "disk": "ide-hd"})
    log, deadline = tmp_path / "firmware.log", within(FIRMWARE)
    with machine(profile, tmp_path, disc) as started:
        while b"No bootable device" not in log.read_bytes() and left(deadline):
            started.qmp.execute("query-status")
    said = log.read_text()
    assert said.index("Booting from Hard Disk") < said.index("Booting from DVD/CD") < said.index("No bootable device")


@pytest.fixture(scope="module")
def virtio(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return virtio_iso(tmp_path_factory.mktemp("virtio") / "virtio.iso")


def build(iso: Path, virtio: Path, cache: Path) -> tuple[str, list[str]]:
    """Build from a made-up disc, which must fail somewhere; why, and what was shown on the way."""
    shown: list[str] = []
    with pytest.raises(ImageError) as error:
        windows.build("windows-2022", Media(iso, virtio), INPUTS, lambda: Choice("tcg", "the test"), Store(cache),
                      shown.append)  # fmt: skip
    return str(error.value), shown


def test_a_tiny_made_up_disc_gets_as_far_as_it_can(tmp_path: Path, virtio: Path) -> None:
    failure, shown = build(windows_iso(tmp_path / "tiny.iso"), virtio, tmp_path / "cache")
    folder = tmp_path / "cache/windows/windows-2022/install"
    assert "found nothing on the Windows disc that it can start" in failure and str(folder) in failure
    assert any("Windows Server 2022 Standard Evaluation" in line for line in shown)
    assert any("answer file checked" in line for line in shown)
    assert stat.S_IMODE((folder / "setup.iso").stat().st_mode) == 0o600
    assert (folder / "screen.png").exists() and (folder / "agent.log").stat().st_size


def test_a_set_up_that_is_played_runs_through_to_the_verification_boot(tmp_path: Path, virtio: Path) -> None:
    iso = windows_iso(tmp_path / "played.iso", program=setup_program(tmp_path))
    failure, shown = build(iso, virtio, tmp_path / "cache")
    told = " ".join(shown)
    for stage in ("wants a key pressed", "Setup runs from the disc", "sets itself up", "first logon",
                  "Windows is installed", "step drivers", "restarts once more", "what it has become", "set-up is done",
                  "packing the disk"):  # fmt: skip
        assert stage in told, told
    assert "does not pass its verification boot" in failure and "nothing to start on the disk" in failure
    again, shown = build(iso, virtio, tmp_path / "cache")
    # The firmware's own text on COM1 comes in pieces: how many is chance.
    assert re.sub(r"\d+ events", "", again) == re.sub(r"\d+ events", "", failure)
    assert {f"{step}: done by an earlier attempt" for step in ("install", "provision", "pack")} <= set(shown)
    work = tmp_path / "cache/windows/windows-2022"
    assert (work / "verify.1/checks.json").exists() and (work / "verify/checks.json").exists()


def test_a_script_that_fails_in_the_guest_is_quoted(tmp_path: Path, virtio: Path) -> None:
    iso = windows_iso(tmp_path / "failing.iso", program=setup_program(tmp_path, "FAIL"))
    failure, _ = build(iso, virtio, tmp_path / "cache")
    assert "step=drivers line=33 pnputil.exe ended with 5" in failure
    assert "Last screen: " in failure and "The same command tries again" in failure
    again, shown = build(iso, virtio, tmp_path / "cache")  # from the checkpoint, not from the disc
    assert "install: done by an earlier attempt" in shown and not any("key pressed" in line for line in shown)
    assert "step=drivers line=33" in again
    assert (tmp_path / "cache/windows/windows-2022/provision.1/agent.log").stat().st_size
