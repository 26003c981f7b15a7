"""The doctor: every finding that is not ok says what to do, and the exit code follows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from wsklab import images
from wsklab.orchestrator.commands.cli import main
from wsklab.orchestrator.trials import doctor, host_packages
from wsklab.orchestrator.trials.doctor import Finding
from wsklab.qemu.confinement import Confinement
from wsklab.qemu.errors import MachineError


def no_qemu() -> str:
    raise MachineError("qemu-system-x86_64 does not run")


@pytest.mark.parametrize(
    ("said", "verdict"),
    [("7.2.22 (Debian 1:7.2)", "ok"), ("10.0.2", "ok"), ("6.2.0", "fail"), ("unheard of", "warn"), ("", "warn")],
)
def test_qemu(said: str, verdict: str) -> None:
    assert doctor.qemu(lambda: said).verdict == verdict


def test_no_qemu() -> None:
    assert doctor.qemu(no_qemu) == Finding(
        "QEMU", "fail", "qemu-system-x86_64 does not run", "apt-get install qemu-system-x86"
    )


def test_the_user_of_qemu() -> None:
    own, kept = Confinement(65533, (), True), Confinement(None, (), True)
    assert doctor.confined(1000, Confinement(), Confinement()).verdict == "ok"
    assert doctor.confined(0, own, own) == Finding(
        "user of QEMU", "ok", "65533, without files or capabilities of its own"
    )
    assert doctor.confined(0, own, kept).next.startswith("chgrp kvm /dev/kvm && chmod 660 /dev/kvm")
    assert doctor.confined(0, kept, kept).detail == "root, without capabilities"


def test_commands_that_are_missing_are_named_with_their_packages() -> None:
    absent = ("gcc", "mke2fs", "swtpm")
    run, windows, _, tests = doctor.commands(lambda name: None if name in absent else name)
    assert run == Finding("commands and files", "fail", "missing: mke2fs, gcc", "apt-get install e2fsprogs gcc")
    assert (windows.verdict, windows.next) == ("warn", "apt-get install swtpm")
    assert tests.verdict == "ok"
    assert [one.verdict for one in doctor.commands(lambda name: name)] == ["ok"] * 4


def test_every_line_of_the_list_is_whole() -> None:
    for need in host_packages.needs():
        assert need.purpose in ("run", "windows", "view", "test")
        assert all(need.any_of) and need.debian and need.fedora


@pytest.mark.parametrize(("free", "verdict"), [(100 << 20, "fail"), (2 << 30, "warn"), (100 << 30, "ok")])
def test_disk(free: int, verdict: str) -> None:
    assert doctor.disk("disk", Path("/"), free).verdict == verdict


@pytest.mark.parametrize(
    ("kib", "verdict"), [("600000", "fail"), ("2000000", "warn"), ("9000000", "ok"), ("x", "warn")]
)
def test_memory(kib: str, verdict: str) -> None:
    assert doctor.memory(f"MemTotal: 1 kB\nMemAvailable:  {kib} kB\n").verdict == verdict
    assert doctor.memory("").verdict == "warn"


def test_an_empty_cache_is_a_warning_that_says_what_happens_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(images, "listing", list)
    assert doctor.stored().verdict == doctor.acceleration(tmp_path).verdict == "warn"
    assert "wsklab image build peer standin" in doctor.stored().next


def test_a_cache_that_everybody_may_write_to_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSKLAB_CACHE", str(tmp_path))
    tmp_path.chmod(0o777)
    assert doctor.acceleration(tmp_path).verdict == "warn"
    found = doctor.stored()
    assert (found.verdict, found.detail.split(",")[0]) == ("fail", f"everybody may write to {tmp_path}")
    assert found.next.startswith(f"run `chmod o-w {tmp_path}`")


def test_the_command_prints_json_and_its_exit_code_follows_the_findings(monkeypatch: pytest.MonkeyPatch) -> None:
    for verdict, code in (("warn", 0), ("fail", 3)):
        finding = Finding("x", verdict, "is so", "do so")  # type: ignore[arg-type]
        monkeypatch.setattr(doctor, "host", lambda _cache, _folder, finding=finding: iter([finding]))
        told = CliRunner().invoke(main, ["doctor", "--json"])
        assert told.exit_code == code
        assert json.loads(told.stdout)["host"] == [
            {"what": "x", "verdict": verdict, "detail": "is so", "next": "do so"}
        ]
        assert "-> do so" in CliRunner().invoke(main, ["doctor"]).stdout


def test_everything_that_is_found_here_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSKLAB_ACCEL", "tcg")  # nothing is booted here
    findings = list(doctor.host(tmp_path / "not-there", tmp_path))
    assert len({finding.what for finding in findings}) == len(findings) == 12
    assert all(finding.next for finding in findings if finding.verdict != "ok")


@pytest.mark.parametrize("words", [["image", "build", "windows-2022"], ["doctor"]])
def test_whoever_starts_guests_shows_their_screens_first(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """None is started here: the build lacks its media."""
    monkeypatch.setattr(doctor, "host", lambda _cache, _folder: iter(()))
    assert "Screens: http://127.0.0.1:" in CliRunner().invoke(main, [*words, "--view"]).output
