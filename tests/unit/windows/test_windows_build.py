"""The steps of a build around the machines: the work folder, the report, the logs on a disk, what users are told."""

import json
import shutil
import socket
import stat
import struct
import subprocess
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.partitions import BASIC, gpt
from support.windows_media import encoded, report, virtio_iso, windows_iso
from support.windows_settings import INPUTS, settings_of

from wsklab.images import windows
from wsklab.images.errors import ImageError
from wsklab.images.store import Image, Store
from wsklab.images.windows import Media, WrongMedium
from wsklab.images.windows.answers.settings import Nic
from wsklab.images.windows.disk import logs
from wsklab.images.windows.install import builder, verify
from wsklab.images.windows.install import report as reports
from wsklab.images.windows.install.work import STEPS, Work
from wsklab.orchestrator.commands import image as images
from wsklab.orchestrator.errors import UsageError
from wsklab.qemu.accel import Choice
from wsklab.qemu.deadline import within
from wsklab.qemu.machine import Machine
from wsklab.qemu.network import MACHINES
from wsklab.qemu.profile import load_profile
from wsklab.qemu.serial import SerialLine


def test_steps_that_are_done_stay_done(tmp_path: Path) -> None:
    first = Work(tmp_path / "w")
    first.facts["nonce"] = "1"
    with first.step("install", "key") as folder:
        (folder / "x").touch()
    with pytest.raises(RuntimeError), first.step("provision", "key"):
        raise RuntimeError
    again = Work(tmp_path / "w")
    assert again.done("install", "key") and not again.done("provision", "key") and again.facts == {"nonce": "1"}
    assert (again.folder / "install/x").exists()
    assert stat.S_IMODE((tmp_path / "w/state.json").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "w").stat().st_mode) == 0o700


def done_of(folder: Path, key: str = "key") -> list[str]:
    return [step for step in STEPS if Work(folder).done(step, key)]


def test_a_step_with_other_inputs_is_not_done(tmp_path: Path) -> None:
    one = Work(tmp_path / "w")
    with one.step("install", "iso"):
        pass
    with one.step("provision", "old scripts"):
        pass
    assert one.done("install", "iso") and not one.done("provision", "new scripts") and not one.done("install", "other")


def test_a_step_that_is_done_again_undoes_what_followed(tmp_path: Path) -> None:
    one = Work(tmp_path / "w")
    for step in STEPS:
        with one.step(step, "key"):
            pass
    with one.step("provision", "key"):
        pass
    assert done_of(tmp_path / "w") == ["install", "provision"]
    one.forget("install")
    assert done_of(tmp_path / "w") == []


def test_what_a_failed_attempt_left_is_kept_but_for_its_disks(tmp_path: Path) -> None:
    one = Work(tmp_path / "w")
    for attempt in ("first", "second", "third"):
        with pytest.raises(RuntimeError), one.step("install", "key") as folder:
            (folder / "logs").mkdir()
            (folder / "logs/setuperr.log").write_text(attempt)
            (folder / "overlay.qcow2").write_bytes(b"large")
            raise RuntimeError
    kept = ("install.1", "install.2", "install")
    found = [(tmp_path / "w" / name / "logs/setuperr.log").read_text() for name in kept]
    assert found == ["first", "second", "third"]
    assert [path.parent.name for path in (tmp_path / "w").rglob("*.qcow2")] == ["install"]


def test_the_installed_disk_outlives_a_finished_image(tmp_path: Path) -> None:
    one = Work(tmp_path / "w")
    for step in STEPS:
        with one.step(step, "key") as folder:
            (folder / "disk.qcow2").touch()
    one.finish()
    assert done_of(tmp_path / "w") == ["install"]
    assert [path.parent.name for path in (tmp_path / "w").rglob("*.qcow2")] == ["install"]


@given(state=st.one_of(st.text(max_size=40), st.dictionaries(st.sampled_from(["done", "facts"]), st.none()
       | st.just("key") | st.lists(st.integers()) | st.dictionaries(st.text(max_size=4) | st.sampled_from(STEPS),
       st.integers() | st.none())).map(json.dumps)))  # fmt: skip
def test_a_damaged_state_is_no_state(tmp_path_factory: pytest.TempPathFactory, state: str) -> None:
    folder = tmp_path_factory.mktemp("state")
    (folder / "state.json").write_text(state)
    assert not Work(folder).done("verify", "key")


def test_unfinished_work_can_be_removed_without_an_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                         capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    monkeypatch.setenv("WSKLAB_CACHE", str(tmp_path))
    with Work(windows.work_folder(Store(tmp_path), "windows-2022")).step("install", "key") as folder:
        (folder / "overlay.qcow2").touch()
    images.remove(["windows-2022"])
    assert "removed the installed disk" in capsys.readouterr().out and not folder.parent.exists()
    with pytest.raises(UsageError, match="no image 'windows-2022' in the store"):
        images.remove(["windows-2022"])


def test_only_images_of_windows_are_made_in_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSKLAB_CACHE", str(tmp_path))
    with pytest.raises(UsageError, match=r"peer is not made from media.*--from"):
        images.build(["peer"], False, Media(), "provision")


NICS = (
    Nic("wire", "52:54:00:77:00:10", MACHINES["target"].networks),
    Nic("management", "52:54:00:0a:00:10", ("10.0.2.15/24",)),
)


def checked(**changes: object) -> set[str]:
    """Return the names of the checks that a guest with these changes fails."""
    settings = replace(settings_of("windows-2022"), nics=NICS)
    return {check.name for check in reports.check(reports.read(encoded(report(**changes))), settings) if not check.ok}


def test_a_good_guest_passes_every_check() -> None:
    assert checked() == set()


@pytest.mark.parametrize(
    ("changes", "fails"),
    [
        ({"build": 17763}, {"build"}),
        ({"code_integrity": 1}, {"test signing"}),
        ({"code_integrity": 0x403}, {"memory integrity off"}),
        ({"print_filter": 1}, {"debug print filter"}),
        ({"nics": []}, {"network cards"}),
    ],
)
def test_a_guest_that_is_not_ready_is_found_out(changes: dict[str, object], fails: set[str]) -> None:
    assert checked(**changes) == fails


@pytest.mark.parametrize(("medium", "running", "same"), [
    (19041, 19045, True), (22621, 22631, True), (26100, 26200, True), (20348, 20348, True),
    (22621, 26100, False), (19045, 22631, False), (20348, 17763, False)])  # fmt: skip
def test_a_system_may_call_itself_by_a_later_build_of_its_family(medium: int, running: int, same: bool) -> None:
    settings = settings_of("windows-10")
    settings = replace(settings, nics=NICS, image=replace(settings.image, build=medium))
    build = next(
        one for one in reports.check(reports.read(encoded(report(build=running))), settings) if one.name == "build"
    )
    assert build.ok is same


@given(st.text(max_size=200))
def test_any_text_is_a_report_or_refused(text: str) -> None:
    try:
        reports.read(text)
    except ImageError as error:
        assert "not readable" in str(error)


@pytest.mark.parametrize(("status", "minutes", "warns"),
                         [(1, 0, False), (1, 200 * 1440, False), (1, 1440, True), (5, 0, True)])  # fmt: skip
def test_a_licence_that_ends_soon_is_a_warning(status: int, minutes: int, warns: bool) -> None:
    found = reports.read(encoded(report(licence_status=status, licence_minutes=minutes)))
    assert bool(reports.licence_warning(found, 0.0)) is warns


def test_a_licence_runs_while_the_image_is_kept() -> None:
    found = reports.read(encoded(report(licence_status=1, licence_minutes=180 * 1440)))
    assert [reports.licence_days(found, age) for age in (0.0, 100.5, 200.0)] == [180, 79, 0]
    assert "0 days left" in (reports.licence_warning(found, 200.0) or "")
    assert reports.licence_days(reports.read(encoded(report())), 1000.0) is None


def test_windows_partitions_are_found_in_both_tables() -> None:
    assert logs.partitions(gpt((b"e" * 16, 40, 50), (BASIC, 2048, 4095))) == [(2048 * 512, 2048 * 512)]
    mbr = bytearray(34 * 512)
    mbr[510:512] = b"\x55\xaa"
    struct.pack_into("<B3xB3xII", mbr, 446 + 16, 0, 7, 2048, 100)
    assert logs.partitions(bytes(mbr)) == [(2048 * 512, 100 * 512)]
    assert logs.partitions(bytes(34 * 512)) == []


@given(st.binary(max_size=700))
def test_any_bytes_are_a_partition_table_or_none(noise: bytes) -> None:
    for start in (gpt()[:446], gpt()[:1024]):
        for begin, size in logs.partitions((start + noise).ljust(34 * 512, b"\xff")):
            assert begin >= 0 and size > 0


@pytest.mark.skipif(shutil.which("mkntfs") is None, reason="ntfs-3g is not installed")
def test_logs_are_taken_off_a_real_ntfs_volume(tmp_path: Path) -> None:
    volume, raw, disk = tmp_path / "volume", tmp_path / "raw", tmp_path / "overlay.qcow2"
    with volume.open("wb") as file:
        file.truncate(16 << 20)
    subprocess.run(["mkntfs", "-q", "-F", "-Q", str(volume)], check=True, capture_output=True)
    (tmp_path / "log").write_text("line\r\n")
    with raw.open("wb") as file:
        file.write(gpt((BASIC, 2048, 2048 + (16 << 11) - 1)))
        file.seek(2048 * 512)
        file.write(volume.read_bytes())
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", str(raw), str(disk)], check=True)
    assert "no logs" in logs.pull(disk, tmp_path / "logs")
    subprocess.run(["ntfscp", "-q", "-f", str(volume), str(tmp_path / "log"), "setup.log"], check=True)
    with raw.open("r+b") as file:
        file.seek(2048 * 512)
        file.write(volume.read_bytes())
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", str(raw), str(disk)], check=True)
    assert logs.pull(disk, tmp_path / "logs", ("setup.log",)).startswith("1 logs")
    assert (tmp_path / "logs/setup.log").read_bytes() == b"line\r\n"
    assert not disk.with_suffix(".volume").exists()


def test_an_empty_disk_has_no_logs(tmp_path: Path) -> None:
    disk = tmp_path / "d.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(disk), "1G"], check=True)
    assert "nothing is on the disk" in logs.pull(disk, tmp_path / "logs") or shutil.which("ntfscat") is None


def refused(name: str, brought: Media, tmp_path: Path) -> str:
    def never() -> Choice:
        raise AssertionError("no machine is needed to refuse this")

    with pytest.raises(ImageError) as error:
        builder.build(name, brought, INPUTS, never, Store(tmp_path), lambda _: None)
    return str(error.value)


def test_without_media_users_are_told_where_to_get_them(tmp_path: Path) -> None:
    said = refused("windows-2022", Media(), tmp_path)
    assert "Windows Server 2022" in said and "evalcenter" in said and "--iso FILE.iso --virtio-win" in said
    said = refused("windows-2022", Media(iso=Path("w.iso")), tmp_path)
    assert "fedorapeople.org" in said and "--iso w.iso --virtio-win virtio-win.iso" in said


def test_unknown_images_and_wrong_media_are_refused_before_any_machine(tmp_path: Path) -> None:
    assert "there are: windows-10, windows-11" in refused("windows-7", Media(), tmp_path)
    iso, virtio = windows_iso(tmp_path / "w.iso"), virtio_iso(tmp_path / "v.iso")
    assert "does not install Windows Server 2025" in refused("windows-2025", Media(iso, virtio), tmp_path)
    assert "not a virtio-win disc" in refused("windows-2022", Media(iso, iso), tmp_path)
    assert "cannot be read" in refused("windows-2022", Media(iso, virtio, tmp_path / "none.zip"), tmp_path)
    assert not (tmp_path / "windows").exists()


def test_media_are_required_first() -> None:
    with pytest.raises(WrongMedium):
        windows.require("windows-11", Media())


def test_a_full_disk_is_said_before_the_machine_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "SPACE", 1 << 60)
    iso, virtio = windows_iso(tmp_path / "w.iso"), virtio_iso(tmp_path / "v.iso")
    steps: list[str] = []
    with pytest.raises(ImageError, match="GiB free, but making a Windows image takes"):
        builder.build("windows-2022", Media(iso, virtio), INPUTS, lambda: Choice("tcg", "test"), Store(tmp_path),
                      steps.append)  # fmt: skip
    assert any("Windows Server 2022 Standard Evaluation" in step for step in steps)


@pytest.mark.parametrize(
    ("again", "steps"),
    [
        (None, []),
        ("verify", ["verify"]),
        ("provision", ["provision", "pack", "verify"]),
        ("install", ["install", "provision", "pack", "verify"]),
    ],
)
def test_a_step_is_done_again_with_all_after_it_and_nothing_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, again: str | None, steps: list[str]
) -> None:
    done: list[str] = []

    class Maker:
        def __init__(self, *_: object) -> None:
            pass

        def __getattr__(self, name: str) -> Callable[[Path], None]:
            return lambda _folder: done.append(name)

    def published(*_: object) -> Image:
        raise RuntimeError("as far as this")  # what has been done stays done

    monkeypatch.setattr(builder, "_Maker", Maker)
    monkeypatch.setattr(builder, "_publish", published)
    iso, virtio = windows_iso(tmp_path / "w.iso"), virtio_iso(tmp_path / "v.iso")
    for word in (None, again):
        done.clear()
        with pytest.raises(RuntimeError):
            builder.build("windows-2022", Media(iso, virtio), INPUTS, lambda: Choice("tcg", "test"), Store(tmp_path),
                          lambda _: None, again=word)  # fmt: skip
    assert done == steps


def test_a_finished_build_becomes_an_image_with_its_secrets_and_hashes(tmp_path: Path) -> None:
    store, done = Store(tmp_path), Work(tmp_path / "w")
    settings = replace(settings_of("windows-2022"), nics=NICS)
    key = "ssh-ed25519 AAAAhost comment"
    done.facts |= {"ssh_key": "private", "ssh_key_pub": "public", "checks": [], "report": report(ssh_host_key=key)}
    (done.folder / "pack").mkdir()
    for name in ("disk.qcow2", "variables.qcow2"):
        (done.folder / "pack" / name).write_bytes(name.encode())
    maker = builder._Maker("windows-2022", Path("w.iso"), done, settings, builder.Discs({}, {}),
                           load_profile("windows-2022"), Choice("tcg", "test"), lambda _: None)  # fmt: skip
    with store.building("windows-2022", lambda _: None) as partial:
        image = builder._publish("windows-2022", done, partial, store, "d" * 64, {"iso": "0" * 64}, maker)
    assert store.find("d" * 64) == image and store.listing() == [image]
    store.verify(image)
    assert image.manifest.kind == "windows" and set(image.manifest.files) == set(builder._FILES)
    assert image.variables == image.folder / "variables.qcow2"
    assert image.known_hosts.read_text() == "wsklab-guest ssh-ed25519 AAAAhost\n"
    for secret in ("ssh_key", "password"):
        assert stat.S_IMODE((image.folder / secret).stat().st_mode) == 0o600
    about = json.loads((image.folder / "windows.json").read_text())
    assert about["media"] == {"iso": "0" * 64} and about["profile"]["machine"].startswith("pc-q35-7.2")
    assert settings.password not in json.dumps(about)


def agent_that_says(reply: bytes) -> reports.Check:
    """Return what is made of a guest that greets, and answers with this (TOKEN is the token asked with)."""
    ours, theirs = socket.socketpair()
    line = SerialLine("agent", ours)

    def play() -> None:
        theirs.sendall(b'{"hello":{"agent":1,"system":"Windows","pid":4}}\n')
        asked = theirs.recv(4096)
        theirs.sendall(reply.replace(b"TOKEN", json.loads(asked)["token"].encode()) + b"\n" if asked else b"")

    guest = threading.Thread(target=play)
    line.start()
    with line.watch() as watch:
        machine = SimpleNamespace(agent=SimpleNamespace(expect=watch.expect, watch=line.watch, write=line.write))
        guest.start()
        try:
            return verify._agent(cast(Machine, machine), 5.0)
        finally:
            guest.join()
            line.close()
            theirs.close()


def test_an_agent_that_answers_is_believed() -> None:
    check = agent_that_says(b'{"id":1,"ok":true,"token":"TOKEN"}')
    assert check.ok and "Windows" in check.seen


def test_an_agent_that_answers_something_else_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "ANSWER_PATIENCE", 0.3)
    assert not agent_that_says(b'{"id":1,"ok":true,"token":"stale"}').ok


def test_firmware_text_is_no_debugger(tmp_path: Path) -> None:
    transcript = tmp_path / "kd.jsonl"
    assert not verify._debugger(transcript).ok
    transcript.write_text('{"t": 1, "event": "TextLine", "text": "BdsDxe: Attached"}\n')
    assert not verify._debugger(transcript).ok
    transcript.write_text(transcript.read_text() + '{"t": 2, "event": "Attached"}\n')
    assert verify._debugger(transcript).ok


def test_the_verification_has_the_agent_start_the_ssh_server() -> None:
    sent: list[bytes] = []
    verify.start_ssh(cast(Machine, SimpleNamespace(agent=SimpleNamespace(write=sent.append))))
    (request,) = [json.loads(one) for one in sent]
    assert (request["op"], request["action"], request["name"]) == ("service", "start", "sshd")


@pytest.mark.parametrize(("banner", "ok"), [(b"SSH-2.0-OpenSSH_for_Windows_9.5\r\n", True), (b"", False)])
def test_only_a_banner_is_ssh(banner: bytes, ok: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verify, "_RETRY", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(2)

        def serve() -> None:
            while not stop.is_set():
                try:
                    line, _ = server.accept()
                except OSError:
                    return
                with line:
                    line.sendall(banner)

        stop = threading.Event()
        guest = threading.Thread(target=serve)
        guest.start()
        check = verify._ssh(server.getsockname()[1], within(0.5))
        stop.set()
        socket.create_connection(server.getsockname()).close()
        guest.join()
    assert check.ok is ok
