"""Deployment over real SSH and SFTP (paramiko's server), by a real disc, and through a played service manager."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import paramiko
import pytest
from simulated import ssh as server
from simulated.windows import Faults, Windows
from support.damage import flip

from wsklab import images
from wsklab.drivers.build import BuiltDriver, build_driver
from wsklab.drivers.check import check_file
from wsklab.drivers.errors import DriverError
from wsklab.drivers.sign import signing_key, verify
from wsklab.images.keys import ADDRESS, KeyPair
from wsklab.orchestrator.errors import LabError, UsageError
from wsklab.orchestrator.guest import deploy, service_control, verifier
from wsklab.orchestrator.guest.agent import AgentError, Refused
from wsklab.orchestrator.guest.ssh import Ssh

NOW = datetime.now(UTC)


def unsigned() -> BuiltDriver:
    return build_driver(None, images.cache_folder())


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> BuiltDriver:
    cache = tmp_path_factory.mktemp("cache")
    return deploy.prepared(unsigned(), cache, NOW)


@dataclass
class Guest:
    """A played Windows, with the roads to it."""

    windows: Windows
    ssh: Ssh
    agent: Any

    def file(self, name: str) -> bytes:
        return base64.b64decode(self.windows.state["files"][rf"c:\wsklab\{name}"])


@pytest.fixture
def guest(tmp_path: Path) -> Iterator[Guest]:
    loaded = SimpleNamespace(unload=lambda: None)
    windows = Windows(lambda: loaded, lambda: None, lambda: None, Faults())  # type: ignore[arg-type, return-value]
    login, host = KeyPair.generate(), KeyPair.generate()
    for name, text in (("ssh_key", login.private), ("host_key", host.private)):
        (tmp_path / name).write_bytes(text)
    (tmp_path / "known_hosts").write_text(f"{ADDRESS} {' '.join(host.public.decode().split()[:2])}\n")
    keys = [paramiko.Ed25519Key.from_private_key_file(str(tmp_path / name)) for name in ("host_key", "ssh_key")]
    windows.state["services"]["sshd"]["state"] = "running"
    port = server.serve(windows, *keys)

    def ask(op: str, timeout: float = 1, **words: Any) -> dict[str, Any]:
        answer = windows.answer({"id": 1, "op": op, **words})
        if not answer["ok"]:
            raise AgentError(answer["error"], answer["code"])
        return answer

    ssh = Ssh("target", port, tmp_path / "ssh_key", tmp_path / "known_hosts", "wsklab")
    yield Guest(windows, ssh, SimpleNamespace(ask=ask))
    ssh.close()


def test_a_driver_goes_in_by_sftp_and_its_service_through_sc(guest: Guest, signed: BuiltDriver) -> None:
    deploy.by_sftp(guest.ssh, {"wsklab.sys": signed.path.read_bytes()})
    assert guest.file("wsklab.sys") == signed.path.read_bytes()
    services = deploy.SshServices(guest.ssh)
    deploy.load(services, "wsklab", r"C:\wsklab\wsklab.sys", 5)
    assert services.service("query", "wsklab") == {"state": "running", "win32_exit": 0}
    with pytest.raises(Refused, match=r"1056 ERROR_SERVICE_ALREADY_RUNNING"):
        services.service("start", "wsklab")
    deploy.load(services, "wsklab", r"C:\wsklab\wsklab.sys", 5)  # what was left behind goes first
    deploy.remove(services, "wsklab", 5)
    deploy.remove(services, "wsklab", 5)  # nothing is there any more, which is what was wanted
    with pytest.raises(Refused) as error:
        services.service("query", "wsklab")
    assert error.value.code == service_control.DOES_NOT_EXIST


def test_what_windows_refuses_is_explained_whichever_road_was_taken(guest: Guest) -> None:
    deploy.by_sftp(guest.ssh, {"wsklab.sys": unsigned().path.read_bytes()})
    with pytest.raises(Refused, match=r"577 ERROR_INVALID_IMAGE_HASH.*wsklab driver sign"):
        deploy.load(deploy.SshServices(guest.ssh), "wsklab", r"C:\wsklab\wsklab.sys", 5)
    with pytest.raises(Refused, match=r"2 ERROR_FILE_NOT_FOUND.*compare the service's path"):
        deploy.load(deploy.SshServices(guest.ssh), "other", r"C:\wsklab\other.sys", 5)


def test_a_disc_brings_the_same_bytes_and_no_other_disc_is_taken(guest: Guest, tmp_path: Path) -> None:
    files = {"wsklab.sys": b"MZ" + bytes(5000)}
    guest.windows.disc = tmp_path / "deploy.iso"
    deploy.disc({"wsklab.sys": b"of another run"}, guest.windows.disc)
    with pytest.raises(LabError, match=r"did not come off the disc WSKDEPLOY.*does not see the disc"):
        deploy.from_disc(guest.agent, files)
    deploy.disc(files, guest.windows.disc)
    deploy.from_disc(guest.agent, files)
    assert guest.file("wsklab.sys") == files["wsklab.sys"]


def test_an_agent_of_another_time_is_replaced(guest: Guest) -> None:
    fresh = b"MZ, the new one"
    digest = hashlib.sha256(fresh).hexdigest()
    deploy.by_sftp(guest.ssh, {"wskagent.exe": b"MZ, the old one", **deploy.agent_files(fresh)})
    assert not deploy.agent_is(guest.agent, digest)
    deploy.renew_agent(guest.agent)
    assert deploy.agent_is(guest.agent, digest) and guest.file("wskagent.exe") == fresh
    assert guest.file("renew.cmd").isascii() and b"\r\n" in guest.file("renew.cmd")


class Manager:
    """A service manager that says what it was told to, one answer after another; a number is an error."""

    def __init__(self, *answers: int | str) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def service(
        self, action: service_control.Action, name: str, path: str | None = None, timeout: float = 1
    ) -> dict[str, Any]:
        self.asked.append(action)
        answer = self.answers.pop(0)
        if isinstance(answer, int):
            raise Refused(service_control.explain(answer, action), answer)
        return {"state": answer}


def test_a_stop_that_is_going_on_is_waited_for() -> None:
    manager = Manager(1061, 1061, "", "stop_pending", "stopped")
    deploy.stop(manager, "x", time.monotonic() + 20)
    assert manager.asked == ["stop"] * 3 + ["query"] * 2


def test_a_service_marked_for_delete_is_waited_for_and_made_anew() -> None:
    manager = Manager(1072, 1062, "stopped", 1072, "stopped", 1060, "", "running")
    deploy.load(manager, "x", "p", 20)
    assert manager.asked == ["create", "stop", "query", "delete", "query", "query", "create", "start"]


def test_a_stop_that_hangs_is_an_error_that_says_so() -> None:
    with pytest.raises(LabError, match=r"does not stop.*DriverUnload does not return"):
        deploy.stop(Manager(*[1061] * 50), "x", time.monotonic() + 0.1)
    with pytest.raises(Refused, match=r"no DriverUnload"):
        deploy.stop(Manager(1052), "x", time.monotonic() + 20)


def test_a_driver_is_signed_once_and_checked(signed: BuiltDriver, tmp_path: Path) -> None:
    cache = signed.path.parents[2]
    again = deploy.prepared(unsigned(), cache, NOW)
    assert again == signed and check_file(signed.path).signed
    assert deploy.prepared(signed, cache, NOW) is signed
    flip(signed.path)
    mended = deploy.prepared(unsigned(), cache, NOW)
    verify(mended.path, signing_key(cache, NOW))
    assert mended.content() == mended.path.read_bytes()
    broken = bytearray(signed.path.read_bytes())
    broken[0x600] ^= 1
    damaged = tmp_path / "wsklab.sys"
    damaged.write_bytes(broken)
    with pytest.raises(DriverError, match=r"does not hold"):
        verify(damaged, signing_key(cache, NOW))
    with pytest.raises(DriverError, match=r"Windows would not load wsklab.sys: The checksum"):
        deploy.prepared(BuiltDriver(damaged, "0", "wsklab", None, damaged), cache, NOW)


def test_verifier_settings_are_read_back(guest: Guest) -> None:
    def program(command: str) -> str:
        return guest.windows.program(command)[1]

    with pytest.raises(LabError, match=r"forgot wsklab.sys"):
        verifier.settings(program, "standard", "wsklab.sys")
    verifier.enable(program, "standard", "wsklab.sys")
    assert verifier.settings(program, "standard", "wsklab.sys")["driver"] == "wsklab.sys"
    with pytest.raises(LabError, match=r"did not take other.sys"):
        verifier.enable(lambda _: "Access is denied.", "standard", "other.sys")
    with pytest.raises(UsageError, match=r"there is only standard"):
        verifier.chosen("all")


@pytest.mark.parametrize(
    ("choice", "asked"),
    [
        ("standard", ["/standard /driver x.sys"]),
        ("memory", ["/flags 0x9 /driver x.sys"]),
        ("irql", ["/flags 0x22 /driver x.sys"]),
        ("io", ["/flags 0x20810 /driver x.sys"]),
        ("low-resources", ["/flags 0x209bf /driver x.sys", '/faults 599 "" "" 1']),
    ],
)
def test_each_set_of_verifier_is_asked_for_by_its_flags(choice: verifier.Choice, asked: list[str]) -> None:
    said: list[str] = []

    def program(command: str) -> str:
        said.append(command)
        return "x.sys"

    verifier.enable(program, choice, "x.sys")
    ours = [one.removeprefix("verifier.exe ") for one in said if "bootmode" not in one and "query" not in one]
    assert ours == asked
    assert verifier.settings(program, choice, "x.sys")["flags"] == f"{verifier.FLAGS[choice]:#x}"
    assert verifier.chosen(choice) == choice


def test_a_set_of_verifier_that_is_not_in_force_is_noticed(guest: Guest) -> None:
    def program(command: str) -> str:
        return guest.windows.program(command)[1]

    verifier.enable(program, "low-resources", "wsklab.sys")
    assert "0x000209bf" in verifier.settings(program, "low-resources", "wsklab.sys")["settings"]
    guest.windows.faults.no_low_resources = True
    verifier.enable(program, "low-resources", "wsklab.sys")
    with pytest.raises(LabError, match=r"watches wsklab\.sys without low-resource simulation: its flags are 0x209bb"):
        verifier.settings(program, "low-resources", "wsklab.sys")
    assert verifier.in_force("Verifizierungsflags: 0x00000009\r\n") == 9 and verifier.in_force("x.sys") is None


def test_a_signing_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    pair = signing_key(tmp_path, NOW)
    pair.key.chmod(0o640)
    with pytest.raises(DriverError, match=r"key\.pem is open to others: run `chmod 600 "):
        signing_key(tmp_path, NOW)
