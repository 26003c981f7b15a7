"""The choice of the accelerator is made once, and again when something changed."""

from pathlib import Path

import pytest

from wsklab.qemu import accel
from wsklab.qemu.errors import WrongSetting


@pytest.fixture
def probes(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The kernels that were probed; every probe says KVM."""
    probed: list[Path] = []

    def probe(kernel: Path, _initrd: Path) -> accel.Choice:
        probed.append(kernel)
        return accel.Choice("kvm", "it ran")

    monkeypatch.delenv("WSKLAB_ACCEL", raising=False)
    monkeypatch.setattr(accel, "_probe", probe)
    monkeypatch.setattr(accel.subprocess, "run", lambda *_a, **_k: type("Ran", (), {"stdout": "QEMU 7.2"}))
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
    with pytest.raises(WrongSetting, match="kvm or tcg"):
        accel.choose(kernel, kernel, tmp_path)
    assert probes == []


def test_without_kvm_nothing_is_probed(kernel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accel, "_KVM", tmp_path / "kvm")
    choice = accel._probe(kernel, kernel)
    assert choice.name == "tcg"
    assert "does not exist" in choice.reason
