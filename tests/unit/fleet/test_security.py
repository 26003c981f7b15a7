"""Who gets into a fleet, what a user is told who cannot, and what a machine announces."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from cryptography import x509
from support.fleet import Client, Process
from support.rows import result

from wsklab.orchestrator.commands import fleet_run
from wsklab.orchestrator.commands.run import command as run_command
from wsklab.orchestrator.commands.run_options import Options
from wsklab.orchestrator.errors import LabError, UsageError
from wsklab.orchestrator.fleet import extra
from wsklab.orchestrator.fleet.client.link import Link
from wsklab.orchestrator.fleet.job import Back, Job, back_as_json, back_of, fingerprint, job_as_json, job_of
from wsklab.orchestrator.fleet.security import ROLES, VARIABLE, make, security
from wsklab.orchestrator.fleet.serving import split
from wsklab.orchestrator.fleet.worker import machine
from wsklab.orchestrator.run import capacity


def test_certificates_are_of_one_authority_and_nobody_elses_to_read(tmp_path: Path) -> None:
    made = make(tmp_path / "fleet")
    assert {path.name for path in made} == {f"{name}{end}" for name in ("ca", *ROLES) for end in (".pem", "-key.pem")}
    assert {path.stat().st_mode & 0o777 for path in made} == {0o600}
    authority = x509.load_pem_x509_certificate((tmp_path / "fleet" / "ca.pem").read_bytes())
    for role in ROLES:
        issued = x509.load_pem_x509_certificate((tmp_path / "fleet" / f"{role}.pem").read_bytes())
        issued.verify_directly_issued_by(authority)
    with pytest.raises(UsageError, match="holds something already"):
        make(tmp_path / "fleet")


def test_only_who_has_a_certificate_gets_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("fleet", "another"):
        make(tmp_path / name)
    monkeypatch.setenv(VARIABLE, str(tmp_path / "fleet"))
    scheduler = Process("scheduler", "tls://127.0.0.1:0")
    workers = []
    try:
        address = scheduler.said("scheduler: ")
        assert address.startswith("tls://")
        cache = str(tmp_path / "cache")
        workers.append(Process("worker", address, "--labs", "2", "--host", "127.0.0.1", WSKLAB_CACHE=cache))
        client = Client(tmp_path / "run", address, repeat=2)
        client.dispatch.connect = lambda: Link(address, security(address, "client"), client.dispatch.job.run)
        client.play()
        assert client.results.state == "complete", client.results.why
        with pytest.raises(LabError, match="cannot be reached"):
            Link(address, security(address, "client", tmp_path / "another"), "x")
    finally:
        for process in (*workers, scheduler):
            process.end()


def test_what_is_missing_for_tls_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert security("tcp://127.0.0.1:1", "client") is None
    with pytest.raises(UsageError, match="wsklab fleet certificates"):
        security("tls://127.0.0.1:1", "client")
    with pytest.raises(UsageError, match=r"a client needs ca.pem, client.pem and client-key.pem"):
        security("tls://127.0.0.1:1", "client", tmp_path)


def test_a_missing_extra_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"needs distributed and fsspec, .* pip install 'wsklab\[fleet\]'"):
        extra.needed()


def test_nobody_without_a_fleet_loads_dask() -> None:
    code = "import sys; import wsklab.orchestrator.commands.run; print('distributed' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (Options(fleet="somewhere"), "is no address of a scheduler"),
        (Options(fleet="tcp://h:1", jobs=2), "says itself how many labs"),
        (Options(fleet="tcp://h:1"), "set WSKLAB_FLEET_STORE"),
        (Options(fleet="local", hold="always"), "leave out --fleet"),
    ],
)
def test_what_a_fleet_does_not_take_is_said_first(options: Options, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(fleet_run.STORE, raising=False)
    with pytest.raises(UsageError, match=says):
        fleet_run.check(options)


def test_what_is_not_routed_is_said_before_anything_is_built(tmp_path: Path) -> None:
    for words, says in (
        (["--twins"], "--twins is played on one host"),
        (["--until-fail", "5"], "--until-fail N, with a number, is a search on one host"),
        (["--scarcity"], "--fleet"),
    ):
        done = CliRunner().invoke(run_command, [*words, "--fleet", "local", "--out", str(tmp_path / "run")])
        assert isinstance(done.exception, UsageError)
        assert says in str(done.exception)


def test_addresses() -> None:
    assert split("tls://[::1]:8786") == ("tls", "::1", 8786)
    for wrong in ("http://x:1", "tcp://x", "x:1", "tcp://:1", "tcp://x:y"):
        with pytest.raises(UsageError):
            split(wrong)


def test_a_machine_announces_one_resource_for_each_kind_of_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSKLAB_ACCEL", "tcg")
    assert machine.slots(3, False, None).resources == {"lab-tcg": 3.0}
    assert machine.slots(3, True, None).resources == {"lab-tcg": 3.0, "windows-tcg": 3.0}
    found = machine.slots(None, False, None)
    assert found.labs >= 1
    monkeypatch.setattr(capacity, "host", lambda: capacity.Host(8.0, 12_000.0))
    small = machine.slots(8, True, None)
    assert small.resources == {"lab-tcg": 8.0, "windows-tcg": 2.0}, "a lab with Windows has 4 GiB"


def test_a_machine_tells_what_it_holds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WSKLAB_ACCEL", "tcg")
    monkeypatch.setenv("WSKLAB_CACHE", str(tmp_path))
    for key, name in (("whole", "manifest.json"), ("half", "disk.qcow2")):
        (tmp_path / "images" / key).mkdir(parents=True)
        (tmp_path / "images" / key / name).touch()
    told = machine.slots(1, False, None).told()
    assert (told["images"], told["version"]) == (["whole"], fingerprint())
    assert told["memory_mib"] > 0
    assert told["free_mib"] > 0


def test_without_kvm_a_machine_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("WSKLAB_ACCEL", raising=False)
    monkeypatch.setenv("WSKLAB_CACHE", str(tmp_path))
    monkeypatch.setattr(machine, "KVM", tmp_path / "kvm")
    assert machine.accelerated(None) == ("tcg", f"there is no {tmp_path / 'kvm'}")
    (tmp_path / "kvm").touch()
    assert machine.accelerated(None) == ("tcg", "no image is here or in the store with which KVM could be tried")


def test_what_travels_arrives_as_it_was() -> None:
    job = Job("r", fingerprint(), "standin", "tcg", 1, simulated={"seconds": 1.0})
    assert job_of(job_as_json(job)) == job
    expected: dict[str, Any] = {"wire": {"peer": ["rst"]}, "receive": [{"status": "failure"}]}
    back = Back(result("first", "fail", expected=expected), {"sends": ["00000000 4"]})
    assert back_as_json(back_of(back_as_json(back))) == back_as_json(back)
