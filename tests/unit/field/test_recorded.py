"""Recordings of a target: kept, read with care, refused in a sentence, and put into a bundle."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from wsklab import images
from wsklab.images.store import Image, Manifest, Store
from wsklab.orchestrator.commands import replay, run
from wsklab.orchestrator.errors import LabError, UsageError
from wsklab.orchestrator.field.replay import bundle, recorded
from wsklab.orchestrator.lab.lab import COUNTS
from wsklab.qemu import accel, recording
from wsklab.qemu.logfile import left_out
from wsklab.qemu.profile import ImageFiles, load_profile

DEBUG = b"boot\nWSKLAB1 ev=call op=enable\nWSKLAB1 ev=disc ab=1\nWSKLAB1 ev=disc ab=0\n"
QEMU = "7.2.22 (Debian 1:7.2)"


def image(folder: Path) -> Image:
    about = Manifest(
        name="standin", kind="standin", key="ab" * 32, recipe_sha256="", packages={},
        files={"disk.qcow2": "cd" * 32}, size_bytes=1, built="2026-01-01T00:00:00+00:00", kernel_args="quiet",
    )  # fmt: skip
    return Image(folder, about)


def machine(folder: Path) -> Path:
    """Return the folder of a machine that was recorded and has ended."""
    folder.mkdir()
    (folder / recording.FILE).write_bytes(bytes.fromhex("00e0200c") + bytes(8) + b"events" * 50 + b"\x27")
    (folder / COUNTS).write_text(json.dumps({"stops": [[0, 10], [5, 2000], [31, 3000], [53, 3500]], "cpu_s": 21.5}))
    (folder / "command.txt").write_text("qemu-system-x86_64 -name target\n# file descriptor 3\n")
    for line, said in (("debug", DEBUG), ("agent", b"{}\n"), ("console", b"WSKLAB-READY\n")):
        (folder / f"{line}.log").write_bytes(said)
    return folder


@pytest.fixture
def evidence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an evidence folder with a recording, on a host where everything is as it was."""
    monkeypatch.setattr(accel, "qemu_version", lambda: QEMU)
    monkeypatch.setattr(recording, "available", lambda: True)
    found = image(tmp_path / "image")
    monkeypatch.setattr(images, "listing", lambda: [found])
    monkeypatch.setattr(Store, "hold", lambda self, image: None)
    monkeypatch.setattr(Store, "check", lambda self, image: None)
    folder = tmp_path / "evidence"
    folder.mkdir()
    booted = ImageFiles(kernel_args="quiet")
    recorded.keep(machine(tmp_path / "machine"), folder, "linger-zero", load_profile("standin"), found, booted)
    return folder


def change(evidence: Path, changing: Callable[[dict[str, Any]], object]) -> None:
    path = evidence / "recording" / "manifest.json"
    document = json.loads(path.read_text())
    changing(document)
    path.write_text(json.dumps(document))


def refused(evidence: Path) -> str:
    with pytest.raises(UsageError) as error:
        recorded.check(*recorded.read(evidence))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_what_is_kept_can_be_read(evidence: Path) -> None:
    folder, manifest = recorded.read(evidence)
    assert recorded.read(folder) == (folder, manifest), "the folder itself may be named, too"
    assert manifest.lines == {"debug": len(DEBUG), "agent": 3, "console": 13}
    assert (manifest.qemu, manifest.shift, manifest.cpu_s) == (QEMU, recording.SHIFT, 21.5)
    assert manifest.command == "qemu-system-x86_64 -name target"
    assert manifest.image.kernel_args == "quiet" and manifest.image.files == {"disk.qcow2": "cd" * 32}
    assert recorded.instructions(manifest) == 3500
    assert recorded.check(folder, manifest).key == "ab" * 32
    assert sorted(path.name for path in folder.iterdir()) == [
        "agent.log", "console.log", "debug.log", "manifest.json", "rr.bin"
    ]  # fmt: skip


def test_the_recording_of_a_killed_qemu_is_not_kept(tmp_path: Path) -> None:
    folder = machine(tmp_path / "machine")
    (folder / recording.FILE).write_bytes(bytes(300))
    with pytest.raises(LabError, match="is not whole"):
        recorded.keep(
            folder, tmp_path, "linger-zero", load_profile("standin"), image(tmp_path), ImageFiles(kernel_args="")
        )


def test_a_line_that_said_too_much_is_not_kept(tmp_path: Path) -> None:
    folder = machine(tmp_path / "machine")
    with (folder / "debug.log").open("ab") as log:
        log.write(left_out(5, "the beginning and the end of this log are kept"))
    with pytest.raises(LabError, match="debug line said more than its log keeps"):
        recorded.keep(
            folder, tmp_path, "linger-zero", load_profile("standin"), image(tmp_path), ImageFiles(kernel_args="")
        )


def test_one_changed_byte_of_the_recording_is_told_before_anything_boots(evidence: Path) -> None:
    path = evidence / "recording" / "rr.bin"
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    assert "SHA-256 differs" in refused(evidence)


def test_a_cut_recording_is_told(evidence: Path) -> None:
    path = evidence / "recording" / "rr.bin"
    path.write_bytes(path.read_bytes()[:-20])
    assert "has 293 bytes, and had 313" in refused(evidence)
    path.unlink()
    assert "without it there is nothing to play" in refused(evidence)


def test_another_qemu_does_not_play_it(evidence: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accel, "qemu_version", lambda: "9.1.0")
    assert f"recorded with QEMU {QEMU}, and here is 9.1.0" in refused(evidence)


def test_a_qemu_without_replay_does_not_play_it(evidence: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording, "available", lambda: False)
    assert "can neither record nor replay" in refused(evidence)


def test_another_image_does_not_play_it(evidence: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "listing", list)
    assert "is not in this store" in refused(evidence)


def test_other_files_of_the_image_do_not_play_it(evidence: Path) -> None:
    change(evidence, lambda document: document["image"]["files"].update({"disk.qcow2": "ef" * 32}))
    assert "other files" in refused(evidence)


def test_a_machine_that_is_none_of_ours_is_not_started(evidence: Path) -> None:
    change(evidence, lambda document: document["profile"].update(devices=["virtio-9p-pci"]))
    assert "was another machine" in refused(evidence)


@pytest.mark.parametrize(
    ("changing", "says"),
    [
        (lambda document: document.update(schema=2), "schema"),
        (lambda document: document.pop("sha256"), "sha256"),
        (lambda document: document.update(more=1), "unknown key 'more'"),
        (lambda document: document.update(size=-1), "size"),
        (lambda document: document["image"].update(name="../../etc"), "image.name"),
        (lambda document: document.update(stops=[[1]]), "stops"),
    ],
)
def test_a_manifest_is_read_strictly(evidence: Path, changing: Callable[[dict[str, Any]], object], says: str) -> None:
    change(evidence, changing)
    assert says in refused(evidence)


def test_a_folder_without_a_recording_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no recording; make one with `wsklab run SCENARIO --record`"):
        recorded.read(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(UsageError, match="it is not JSON"):
        recorded.read(tmp_path)


def test_a_line_is_found_by_its_words(evidence: Path) -> None:
    folder, _ = recorded.read(evidence)
    assert recorded.line_of(folder, "ev=disc", 1) == (31, "WSKLAB1 ev=disc ab=1", 2)
    assert recorded.line_of(folder, "ev=disc", 2) == (52, "WSKLAB1 ev=disc ab=0", 2)
    with pytest.raises(UsageError, match="is said 2 times only"):
        recorded.line_of(folder, "ev=disc", 3)
    with pytest.raises(UsageError, match="no line holds 'ev=load'"):
        recorded.line_of(folder, "ev=load", 1)


def test_it_goes_into_a_bundle_and_comes_out_of_it(evidence: Path, tmp_path: Path) -> None:
    (evidence / "scenario.yaml").write_text("name: linger-zero\n")
    about = bundle.About(
        scenario="linger-zero", verdict="fail", reasons=[], seed=1, repeat=1, target="standin", target_version="",
        accelerator="tcg", driver=bundle.Driver(profile="wsklab", sha256=""), versions={}, images={},
        rate=bundle.Rate(failed=1, trials=1), schema=1,
    )  # fmt: skip
    path = tmp_path / "bug.zip"
    assert set(bundle.RECORDING) <= set(bundle.write(path, about, evidence, None))
    out = tmp_path / "out"
    out.mkdir()
    bundle.unpack_recording(path, out)
    assert recorded.check(*recorded.read(out)).name == "standin"
    with zipfile.ZipFile(tmp_path / "without.zip", "w") as made:
        made.writestr("scenario.yaml", "")
    with pytest.raises(UsageError, match="holds no recording"):
        bundle.unpack_recording(tmp_path / "without.zip", tmp_path)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["linger-zero", "kill"], "these are 2: run them one by one"),
        (["linger-zero", "--repeat", "2"], "leave out --repeat"),
        (["linger-zero", "--jobs", "2"], "leave out --jobs"),
        (["linger-zero", "--jobs", "auto"], "leave out --jobs"),
        (["linger-zero", "--until-fail", "5"], "leave out --until-fail"),
        (["linger-zero", "--variant", "cpus-2"], "leave out --variant"),
        (["linger-zero", "--target", "windows-11"], "the recording of a Windows target was never tried"),
        (["--driver", "other.yaml"], "another driver was never recorded"),
    ],
)
def test_what_is_not_recorded_is_told_before_anything_boots(
    words: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(run.command, [*words, "--record"])
    assert isinstance(result.exception, UsageError) and says in str(result.exception)
    assert list(tmp_path.iterdir()) == []


def test_kvm_is_told_before_anything_boots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WSKLAB_ACCEL", "kvm")
    result = CliRunner().invoke(run.command, ["linger-zero", "--record"])
    assert isinstance(result.exception, UsageError) and "KVM cannot be recorded" in str(result.exception)


def test_a_place_that_has_no_count_is_told(evidence: Path) -> None:
    change(evidence, lambda document: document.update(stops=[[60, 4000]]))
    result = CliRunner().invoke(replay.command, [str(evidence), "--until", "ev=disc"])
    assert isinstance(result.exception, UsageError) and "no place to stop" in str(result.exception)
