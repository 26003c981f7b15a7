"""Guest disks, made by root and by anybody else."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from wsklab.images import tools
from wsklab.images.disk import ext4_disk
from wsklab.images.errors import ImageError


def debugfs(disk: Path, command: str) -> str:
    raw = disk.with_suffix(".seen")
    subprocess.run(["qemu-img", "convert", "-O", "raw", str(disk), str(raw)], check=True)
    return subprocess.run(
        [tools.need("debugfs", "e2fsprogs"), "-R", command, str(raw)], check=True, text=True, capture_output=True
    ).stdout


def test_a_disk_is_made_with_the_path_that_debian_gives_an_ordinary_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/usr/local/bin:/usr/bin:/bin")  # mke2fs is in /usr/sbin
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    (tmp_path / "tree" / "etc").mkdir(parents=True)
    (tmp_path / "tree" / "etc" / "motd").write_text("hello")
    ext4_disk(tmp_path / "tree", tmp_path / "disk.qcow2", 8)
    assert debugfs(tmp_path / "disk.qcow2", "cat /etc/motd") == "hello"
    assert "User:     0   Group:     0" in debugfs(tmp_path / "disk.qcow2", "stat /etc/motd")
    assert not (tmp_path / "disk.raw").exists()


def test_a_program_that_is_nowhere_is_named_with_the_package_that_has_it() -> None:
    with pytest.raises(ImageError, match=r"^nonesuch is missing, .*; run `apt-get install its-package`$"):
        tools.need("nonesuch", "its-package")


def test_what_mke2fs_says_is_passed_on(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"mke2fs .*failed: .*nowhere"):
        ext4_disk(tmp_path / "nowhere", tmp_path / "disk.qcow2", 8)
