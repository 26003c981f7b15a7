"""The choice of the accelerator is made once, and again when something changed."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from wsklab.common.errors import UsageError
from wsklab.qemu import accel
from wsklab.qemu.process import Child


@pytest.fixture
def probes(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Provide the kernels that were probed; every probe says KVM."""
    probed: list[Path] = []

    def probe(kernel: Path, _initrd: Path) -> accel.Choice:
        probed.append(kernel)
        return accel.Choice("kvm", "it ran")

    monkeypatch.delenv("WSKLAB_ACCEL", raising=False)
    monkeypatch.setattr(accel, "_probe", probe)
    monkeypatch.setattr(subprocess, "run", lambda *_a, **_k: type("Ran", (), {"stdout": "QEMU 7.2"}))
    return probed


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    path = tmp_path / "vmlinuz"
    path.write_bytes(b"kernel")
    return path


def test_the_answer_is_kept_until_the_kernel_changes(probes: list[Path], kernel: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    assert accel.choose(kernel, kernel, cache) == accel.choose(kernel, kernel, cache) == ("kvm", "it ran")
    assert len(probes) == 1
    kernel.write_bytes(b"another kernel")
    accel.choose(kernel, kernel, cache)
    assert len(probes) == 2


@pytest.mark.parametrize("content", ["", "[]", "null", "{}", '{"circumstances": 1, "name": "hvf"}'])
def test_a_broken_cache_is_probed_anew(probes: list[Path], kernel: Path, tmp_path: Path, content: str) -> None:
    (tmp_path / "accelerator.json").write_text(content)
    assert accel.choose(kernel, kernel, tmp_path).name == "kvm"
    assert len(probes) == 1


def test_the_environment_overrules(
    probes: list[Path], kernel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WSKLAB_ACCEL", "tcg")
    assert accel.choose(kernel, kernel, tmp_path).name == "tcg"
    monkeypatch.setenv("WSKLAB_ACCEL", "fast")
    with pytest.raises(UsageError, match="kvm or tcg"):
        accel.choose(kernel, kernel, tmp_path)
    assert probes == []


def test_without_kvm_nothing_is_probed(kernel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accel, "_KVM", tmp_path / "kvm")
    choice = accel._probe(kernel, kernel)
    assert choice.name == "tcg"
    assert "does not exist" in choice.reason


SPEAKS = 'for word; do case $word in file:*) echo WSKLAB-PROBE >"${word#file:}" ;; esac; done'


@pytest.mark.parametrize(
    ("guest", "name", "reason"),
    [
        (SPEAKS, "kvm", "KVM booted the probe guest"),
        ("exec sleep 600", "tcg", "KVM did not bring a guest through its boot in 0.5 s"),  # opens, and hangs (seen)
        (f"{SPEAKS}; exec sleep 600", "tcg", "KVM did not bring a guest through its boot in 0.5 s"),
        ("echo no MSR 0x10a >&2; echo assertion >&2; exit 134", "tcg", "KVM failed: no MSR 0x10a"),
        ("exit 0", "tcg", "KVM failed: the probe guest said nothing"),
    ],
)
def test_kvm_counts_only_when_a_guest_has_run_to_its_end(
    kernel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, guest: str, name: str, reason: str
) -> None:
    qemu = tmp_path / "qemu-system-x86_64"
    qemu.write_text(f"#!/bin/sh\n{guest}\n")
    qemu.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(accel, "_KVM", kernel)  # anything that opens
    monkeypatch.setattr(accel, "PROBE_PATIENCE", 0.5 if "sleep" in guest else 60.0)
    guests: list[Child] = []

    def started(*words: Any, **more: Any) -> Child:
        guests.append(Child(*words, **more))
        return guests[0]

    monkeypatch.setattr(accel, "Child", started)
    assert accel._probe(kernel, kernel) == (name, reason)
    assert [one.exit_code is None for one in guests] == [False], "the probe guest still runs"
