"""The lab's own disc: what is on it under which names, and the scripts as far as Linux can check them."""

import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import pycdlib
import pytest
from support.powershell import errors
from support.windows_media import virtio_iso
from support.windows_settings import INPUTS, PASSWORD, settings_of

from wsklab.images.windows.answers import answer_file, contents
from wsklab.images.windows.answers.settings import DISC_LABEL, PREFIX
from wsklab.images.windows.install import stages
from wsklab.images.windows.media import catalogue, installation_media
from wsklab.images.windows.media.disc import write_disc

SCRIPTS = sorted(path.name for path in contents.GUEST.glob("*.ps1"))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    virtio = virtio_iso(tmp_path_factory.mktemp("virtio") / "virtio.iso")
    _, drivers = installation_media.read_drivers(virtio, catalogue.version("windows-2022"))
    settings = settings_of("windows-2022")
    return contents.for_provisioning(settings, drivers, INPUTS, openssh=b"PK")


@pytest.fixture(scope="module")
def setup_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    virtio = virtio_iso(tmp_path_factory.mktemp("virtio") / "virtio.iso")
    _, drivers = installation_media.read_drivers(virtio, catalogue.version("windows-2022"))
    return contents.for_setup(settings_of("windows-2022"), drivers)


@pytest.fixture(scope="module")
def disc(files: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("disc") / "wsklab.iso"
    write_disc(files, DISC_LABEL, path)
    return path


def test_windows_reads_every_file_under_its_name(files: dict[str, bytes], disc: Path) -> None:
    """By the Joliet names, which are those that Windows shows."""
    iso = pycdlib.PyCdlib()
    iso.open(str(disc))
    found = {}
    for folder, _, names in iso.walk(joliet_path="/"):
        for name in names:
            content = io.BytesIO()
            iso.get_file_from_iso_fp(content, joliet_path=f"{folder.rstrip('/')}/{name}")
            found[f"{folder}/{name}".lstrip("/")] = content.getvalue()
    assert iso.joliet_vd
    labels = iso.pvd.volume_identifier.decode().strip(), iso.joliet_vd.volume_identifier.decode("utf-16-be").strip()
    iso.close()
    assert found == files
    assert labels == (DISC_LABEL, DISC_LABEL)


@pytest.mark.skipif(shutil.which("xorriso") is None, reason="xorriso is not installed")
def test_another_reader_sees_the_same_disc(files: dict[str, bytes], disc: Path) -> None:
    command = ["xorriso", "-indev", str(disc), "-find", "/", "-type", "f"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True)
    assert {line.strip("'").lstrip("/") for line in listed.stdout.splitlines()} == set(files)


def test_setup_gets_disk_and_network_drivers_and_the_rest_comes_later(
    files: dict[str, bytes], setup_files: dict[str, bytes]
) -> None:
    drivers = {tuple(path.split("/")[1:3]) for path in files if path.startswith("drivers/")}
    assert drivers == {("setup", "viostor"), ("setup", "vioscsi"), ("setup", "NetKVM"),
                       ("later", "viorng"), ("later", "pvpanic"), ("later", "fwcfg")}  # fmt: skip
    assert not any("qemufwcfg" in path for path in files)
    assert {path for path in setup_files if path.startswith("drivers/")} == {
        path for path in files if path.startswith("drivers/setup/")
    }


def test_what_provisioning_needs_can_change_without_windows_being_installed_again(
    files: dict[str, bytes], setup_files: dict[str, bytes]
) -> None:
    """The first disc is what the checkpoint depends on: nothing of the second is on it but what they must share."""
    shared = {path for path in setup_files if path in files and not path.startswith("drivers/")}
    assert shared == {"wsklab.tag"}
    assert set(setup_files) - set(files) == {"Autounattend.xml", "firstlogon.cmd", "start.cmd"}


def test_the_password_is_in_the_answer_file_alone(files: dict[str, bytes], setup_files: dict[str, bytes]) -> None:
    assert [path for path, content in {**files, **setup_files}.items() if PASSWORD.encode() in content] == []
    assert files["wsklab.tag"].decode() == f"wsklab-nonce {json.loads(files['settings.json'])['nonce']}\r\n"


def test_what_is_called_is_there(files: dict[str, bytes], setup_files: dict[str, bytes]) -> None:
    answer = setup_files["Autounattend.xml"].decode()
    assert re.findall(r"%d:\\(\w+\.\w+)", answer) == ["firstlogon.cmd", "firstlogon.cmd"]
    assert set(re.findall(r"%~dp0(\w+\.\w+)", setup_files["firstlogon.cmd"].decode())) <= set(setup_files)
    assert set(re.findall(r"%%d:\\(\w+\.\w+)", setup_files["start.cmd"].decode())) == {"provision.cmd"} <= set(files)
    assert re.findall(r"%~dp0(\w+\.\w+)", files["provision.cmd"].decode()) == ["wsklab.tag"]
    assert "\\drivers\\setup<" in answer


@pytest.mark.parametrize("name", sorted(contents.scripts()))
def test_scripts_are_ascii_with_the_line_ends_of_windows(name: str) -> None:
    content = contents.scripts()[name]
    assert content.isascii()
    assert content.count(b"\n") == content.count(b"\r\n") > 5


@pytest.mark.parametrize("name", SCRIPTS)
def test_powershell_scripts_are_powershell(name: str) -> None:
    assert errors((contents.GUEST / name).read_bytes()) == []


@pytest.mark.parametrize("wrong", [b"if ($a) { 'x' ", b"function Get-It {{ }", b"$a = 'open"])
def test_the_parser_finds_what_is_wrong(wrong: bytes) -> None:
    assert errors(wrong)


def functions_and_calls(name: str) -> tuple[set[str], set[str]]:
    text = re.sub(r"#.*|'[^']*'", "", (contents.GUEST / name).read_text())
    return set(re.findall(r"function ([\w-]+)", text)), set(re.findall(r"\b([A-Z][a-z]+-[A-Z]\w+)\b", text))


KNOWN = {
    "Add-MpPreference", "Add-Type", "Copy-Item", "Disable-ScheduledTask", "Enable-ScheduledTask", "Expand-Archive",
    "ConvertFrom-Json", "ConvertTo-Json", "ForEach-Object", "Get-AuthenticodeSignature", "Get-ChildItem",
    "Get-CimInstance", "Get-Command",
    "Get-Content", "Get-ItemProperty", "Get-NetAdapter", "Get-NetFirewallRule", "Get-NetIPAddress", "Get-Service",
    "Join-Path", "New-Item", "New-ItemProperty", "New-NetFirewallRule", "New-NetIPAddress", "New-Object",
    "New-ScheduledTaskAction", "New-ScheduledTaskSettingsSet", "New-ScheduledTaskTrigger", "New-TimeSpan", "Out-Null",
    "Register-ScheduledTask", "Remove-Item", "Remove-ItemProperty", "Remove-NetIPAddress", "Rename-NetAdapter",
    "Select-Object", "Set-Content", "Set-NetIPInterface", "Set-Service", "Set-StrictMode", "Start-Service",
    "Start-Sleep", "Start-Transcript", "Stop-Service", "Test-Path", "Unregister-ScheduledTask", "Where-Object",
    "Write-Output",
}  # fmt: skip
"""Commands of Windows PowerShell 5.1 with the modules that every one of the versions brings."""


def test_scripts_call_nothing_that_is_not_there() -> None:
    defined = set.union(*(functions_and_calls(name)[0] for name in SCRIPTS))
    called = set.union(*(functions_and_calls(name)[1] for name in SCRIPTS))
    assert called - defined - KNOWN == set()
    assert defined - called == set()


def steps_of(name: str) -> dict[str, str]:
    """Return the steps of a script in their order, each with its commands."""
    parts = re.split(r"^\$Steps\['([\w-]+)'\] = ", (contents.GUEST / name).read_text(), flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_the_ssh_server_is_started_before_it_must_run() -> None:
    """Windows starts it two minutes late by itself, and the report says whether it runs."""
    steps = steps_of("finish.ps1")
    assert "Start-Service sshd" in steps["ssh"] and "WaitForStatus('Running'" in steps["ssh"]
    assert list(steps).index("ssh") < list(steps).index("report")


def test_what_no_test_depends_on_does_not_end_the_provisioning() -> None:
    steps = steps_of("provision.ps1")
    for step, command in (("power", "powercfg.exe"), ("quiet", "Set-Service"), ("quiet", "Add-MpPreference -Ex")):
        lines = [line for line in steps[step].splitlines() if command in line]
        assert lines and all("Invoke-Soft" in line for line in lines), step
    specialize = re.findall(r"<Path>(.*powercfg.*)</Path>", answer_file.make(settings_of("windows-11")).decode())
    assert len(specialize) == 3 and all("exit /b 0" in path for path in specialize)


def test_publishers_are_trusted_before_their_drivers_come() -> None:
    steps = steps_of("provision.ps1")
    assert "TrustedPublisher" in steps["publishers"] and list(steps).index("publishers") < list(steps).index("drivers")


def test_the_agent_has_the_priority_of_a_normal_program() -> None:
    """A task has 7 unless it says so: below normal, with the lowest priority for the disk."""
    assert re.findall(r"-Priority (\d)", steps_of("provision.ps1")["tasks"]) == ["4"]


def test_only_the_system_may_write_where_the_ssh_server_looks() -> None:
    folder, keys = re.findall(r"'icacls\.exe' @\((.*)\)", steps_of("provision.ps1")["ssh"])
    assert folder.startswith("$data, '/inheritance:r'") and "*S-1-5-11:(OI)(CI)RX" in folder
    assert keys.startswith("$keys, '/inheritance:r'") and "S-1-5-11" not in keys


def test_programs_that_newer_versions_lack_are_not_called() -> None:
    for name in contents.scripts():
        assert not re.search(r"\bwmic\b|\bsc\s+config", (contents.GUEST / name).read_text(), re.IGNORECASE)


def test_the_scripts_and_the_stage_machine_speak_the_same_words() -> None:
    said = "".join((contents.GUEST / name).read_text() for name in SCRIPTS)
    announced = set(re.findall(r"Send-Marker 'stage=(\w+)'", said))
    answer = answer_file.make(settings_of("windows-2022")).decode()
    announced |= set(re.findall(r"stage=(\w+)", answer))
    announced |= set(re.findall(r"stage=(\w+)", (contents.GUEST / "firstlogon.cmd").read_text()))
    assert announced == set(stages.MARKED)
    assert f"{PREFIX} $($Settings.nonce) " in said
    assert f"{PREFIX} %NONCE% fail " in (contents.GUEST / "provision.cmd").read_text()


def test_settings_that_scripts_read_are_written() -> None:
    written = set(json.loads(settings_of("windows-2022").for_scripts()))
    said = "".join((contents.GUEST / name).read_text() for name in SCRIPTS)
    assert set(re.findall(r"\$Settings\.(\w+)", said)) <= written


def test_the_batch_file_jumps_to_labels_that_it_has() -> None:
    text = (contents.GUEST / "provision.cmd").read_text()
    assert set(re.findall(r"goto (\w+)", text)) == set(re.findall(r"^:(\w+)", text, re.MULTILINE))
    assert text.splitlines()[0] == "@echo off" and text.rstrip().endswith("exit /b 1")
    assert all(line.count('"') % 2 == 0 for line in text.splitlines())


def test_the_digest_is_of_everything_that_decides() -> None:
    assert contents.digest() == contents.digest()
    assert len(contents.digest()) == 64
