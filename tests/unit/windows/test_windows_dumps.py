"""Crash dumps taken off a real NTFS volume in a qcow2 disk; the dumps themselves are made up."""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.partitions import BASIC, gpt

from wsklab.images.windows.disk import dumps, logs
from wsklab.orchestrator.liveness import crash
from wsklab.qemu.errors import QmpError

needs_ntfs = pytest.mark.skipif(shutil.which("mkntfs") is None, reason="ntfs-3g is not installed")
SIZE = 64 << 20


def dump(code: int, kind: int = 4, size: int = 20000) -> bytes:
    """Return a dump as `_DUMP_HEADER64` lays it out."""
    head = bytearray(dumps.HEADER)
    head[:8] = b"PAGEDU64"
    struct.pack_into("<I4x4Q", head, 0x38, code, 0x62, 2, 3, 4)
    struct.pack_into("<I4xQ", head, 0xF98, kind, size)
    return bytes(head).ljust(size, b"\x5a")


def disk_with(folder: Path, files: Mapping[str, bytes]) -> Path:
    """Return a qcow2 disk with one NTFS partition and these files.

    Folders are only made by mounting it, which takes FUSE.
    """
    volume, raw, disk, mounted = folder / "volume", folder / "raw", folder / "overlay.qcow2", folder / "mounted"
    with volume.open("wb") as file:
        file.truncate(SIZE)
    subprocess.run(["mkntfs", "-q", "-F", "-Q", str(volume)], check=True, capture_output=True)
    if any("/" in name for name in files):
        mounted.mkdir()
        if subprocess.run(["ntfs-3g", str(volume), str(mounted)], capture_output=True).returncode:
            pytest.skip("NTFS cannot be mounted here")
        try:
            for name, content in files.items():
                (mounted / name).parent.mkdir(parents=True, exist_ok=True)
                (mounted / name).write_bytes(content)
        finally:
            subprocess.run(["umount", str(mounted)], check=True)
    else:
        for name, content in files.items():
            (folder / "content").write_bytes(content)
            subprocess.run(["ntfscp", "-q", "-f", str(volume), str(folder / "content"), name], check=True)
    with raw.open("wb") as file:
        file.write(gpt((BASIC, 2048, 2048 + SIZE // 512 - 1)))
        file.seek(2048 * 512)
        file.write(volume.read_bytes())
    subprocess.run(["qemu-img", "convert", "-O", "qcow2", str(raw), str(disk)], check=True)
    return disk


@needs_ntfs
def test_small_dumps_are_taken_whole_and_named(tmp_path: Path) -> None:
    disk = disk_with(
        tmp_path,
        {
            "Windows/Minidump/112226-5000-01.dmp": dump(0xC4),
            "Windows/MEMORY.DMP": dump(0xC4, 2),
            "Windows/Minidump/readme.txt": b"no",
            "Windows/Minidump/half.dmp": b"PAGEDU64",
        },
    )
    before = disk.stat().st_size
    taken, said = dumps.take(disk, tmp_path / "out")
    assert said == "2 dumps were on the disk"
    assert [(one.path, one.whole, one.dump.kind) for one in taken] == [
        ("Windows/Minidump/112226-5000-01.dmp", True, "small"),
        ("Windows/MEMORY.DMP", True, "kernel"),
    ]
    assert taken[0].file.read_bytes() == dump(0xC4) and taken[1].file.read_bytes() == dump(0xC4, 2)
    assert taken[0].dump.parameters == (0x62, 2, 3, 4)
    assert disk.stat().st_size == before and not list((tmp_path / "out").glob("*.volume"))


@needs_ntfs
def test_of_a_dump_that_does_not_fit_the_header_is_kept(tmp_path: Path) -> None:
    raw = bytearray(dump(0xD1, 2))
    struct.pack_into("<Q", raw, 0xFA0, 1 << 60)
    disk = disk_with(tmp_path, {"Windows/MEMORY.DMP": bytes(raw)})
    ((one,), _) = dumps.take(disk, tmp_path / "out")
    assert not one.whole and one.file.name == "MEMORY.header" and one.file.stat().st_size == dumps.HEADER


@needs_ntfs
def test_a_dump_in_the_page_file_is_not_lost_sight_of(tmp_path: Path) -> None:
    taken, said = dumps.take(disk_with(tmp_path, {"pagefile.sys": dump(0xD1)}), tmp_path / "out")
    assert taken == [] and "started once more" in said
    (tmp_path / "other").mkdir()
    taken, said = dumps.take(disk_with(tmp_path / "other", {"pagefile.sys": b"\0" * 20000}), tmp_path / "out")
    assert taken == [] and "has left no dump" in said


@needs_ntfs
def test_nothing_is_copied_to_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = disk_with(tmp_path, {"pagefile.sys": dump(0xD1)})
    monkeypatch.setattr(logs, "SPARE", 1 << 60)
    taken, said = dumps.take(disk, tmp_path / "out")
    assert taken == [] and "are needed to take them off it" in said
    assert not list((tmp_path / "out").iterdir())


@needs_ntfs
def test_the_disk_of_a_machine_that_stands_still_is_read(tmp_path: Path) -> None:
    """QEMU holds the lock on a disk that it has open."""
    disk = disk_with(tmp_path, {"pagefile.sys": dump(0xD1)})
    command = [
        "qemu-system-x86_64",
        "-nodefaults",
        "-display",
        "none",
        "-S",
        "-machine",
        "none",
        "-monitor",
        "stdio",
        "-drive",
        f"if=none,id=d,format=qcow2,file={disk}",
    ]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdin is not None and holder.stdout is not None
        holder.stdout.readline()  # its greeting: the disk is open
        assert subprocess.run(["qemu-img", "info", str(disk)], capture_output=True).returncode != 0
        said = dumps.take(disk, tmp_path / "out")[1]
        holder.stdin.write("quit\n")
        holder.stdin.flush()
    assert "started once more" in said


@needs_ntfs
def test_where_qemu_makes_no_dump_the_disk_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    overlay = disk_with(tmp_path, {"Windows/Minidump/1.dmp": dump(0xC4)})
    paused: list[bool] = []

    def refuse(*_: object, **__: object) -> None:
        raise QmpError("win-dump: invalid vmcoreinfo note size")

    def nothing(_: object) -> str:
        return ""

    machine = SimpleNamespace(
        folder=tmp_path,
        overlay=overlay,
        profile=SimpleNamespace(devices=("vmcoreinfo",), memory_mib=1),
        registers=lambda: "RIP=1",
        screenshot=nothing,
        pause=lambda: paused.append(True),
        resume=lambda: paused.append(False),
        quiet=dict,
        status=lambda _deadline: "running",
        pid=1,
        dump=refuse,
    )
    target = SimpleNamespace(named=str)
    lab = SimpleNamespace(
        machine=lambda _: machine, target=target, wire=SimpleNamespace(folder=tmp_path / "wire", pid=1)
    )
    crash.Collector(lab, tmp_path / "crash").collect("bugcheck")  # type: ignore[arg-type]
    notes = json.loads((tmp_path / "crash" / "crash.json").read_text())
    assert "dumps" in notes["kept"] and "invalid vmcoreinfo" in notes["missing"]["target.dmp"]
    assert paused == [True, False]
    assert (tmp_path / "crash/dumps/1.dmp").read_bytes() == dump(0xC4)
    assert "only its header can be read (small dump)" in notes["missing"]["dumps/1.dmp.txt"]
    assert "DRIVER_VERIFIER_DETECTED_VIOLATION (0x0000000000000062" in (tmp_path / "crash/dumps/dumps.txt").read_text()


@given(st.binary(max_size=300), st.booleans())
def test_any_bytes_are_a_dump_or_none(noise: bytes, whole: bool) -> None:
    data = (b"PAGEDU64" + noise).ljust(dumps.HEADER, b"\xff") if whole else noise
    found = dumps.header(data)
    assert (found is not None) is whole


def test_a_disk_that_is_none_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / "overlay.qcow2").write_bytes(b"no disk")
    taken, said = dumps.take(tmp_path / "overlay.qcow2", tmp_path / "out")
    assert taken == [] and ("could not be taken off" in said or "ntfs-3g" in said)
