"""Packages in a target: `pnputil` against a Windows that is played, the stand-in's road, and what goes wrong."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from simulated.agent import Agent
from simulated.windows import get_data, put_data
from support import driver_package

from wsklab.drivers import package
from wsklab.orchestrator.errors import LabError, UsageError
from wsklab.orchestrator.guest import service_control
from wsklab.orchestrator.guest.agent import AgentError
from wsklab.orchestrator.lab import foreign_driver, installation
from wsklab.orchestrator.lab.installation import Installation, Payload
from wsklab.orchestrator.lab.packages import beyond_standin


def payload(folder: Path, version: str = "1.4.0.0", **more: Any) -> Payload:
    """Return a package whose driver is a file with a signature, as far as the played Windows looks."""
    driver = bytearray(1024)
    driver[:2], driver[0x3C] = b"MZ", 0x80
    driver[0x80 + 24 + 112 + 36] = 1
    found = package.find(driver_package.make(folder, version, driver=bytes(driver) + version.encode(), **more), "echo")
    return Payload(found, {**found.contents(), "echo.cat": b"signed"})


def install(agent: Agent, *payloads: Payload) -> Installation:
    made = Installation(agent, 1.0)  # type: ignore[arg-type]
    made.in_windows(payloads)
    return made


def test_an_upgrade_in_windows(tmp_path: Path) -> None:
    agent, old, new = Agent(), payload(tmp_path / "old", "1.3.0.0"), payload(tmp_path / "new")
    install(agent, old, new)
    said = [command for command in agent.commands if not command.startswith(("cmd.exe", "sc.exe", "certutil"))]
    assert said == [
        r"pnputil.exe /add-driver C:\wsklab\package1\echo.inf /install", "query echo", "start echo", "stop echo",
        r"pnputil.exe /add-driver C:\wsklab\package2\echo.inf /install", "query echo",
    ]  # fmt: skip
    content = base64.b64decode(agent.windows.state["files"][r"c:\windows\system32\drivers\echo.sys"])
    assert content == new.contents["echo.sys"] and new.sha256 != old.sha256


def test_an_upgrade_that_leaves_the_old_file_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"which is not the file of echo\.inf: the upgrade has left an older version"):
        install(Agent(keeps_old=True), payload(tmp_path / "old", "1.3.0.0"), payload(tmp_path / "new"))


@pytest.mark.parametrize(
    ("faults", "says"),
    [
        ({"pnputil": 259}, "for a device that this machine does not have"),
        ({"pnputil": 0xE000022F - (1 << 32)}, "ended with 0xe000022f, its catalog is not there"),
        ({"pnputil": 0xE0000242}, "build the image again"),
        ({"pnputil": 7}, "ended with 0x7, some words"),
        ({"no_section": True}, "there is no service echo"),
    ],
)
def test_what_pnputil_refuses_is_a_sentence(tmp_path: Path, faults: dict[str, Any], says: str) -> None:
    with pytest.raises(LabError, match=says):
        install(Agent(**faults), payload(tmp_path))


def test_a_restart_that_pnputil_wants_is_remembered(tmp_path: Path) -> None:
    assert install(Agent(pnputil=3010), payload(tmp_path)).restart
    assert not install(Agent(), payload(tmp_path)).restart


def test_a_windows_before_1903_takes_the_older_road(tmp_path: Path) -> None:
    agent = Agent(17763)
    (remark,) = install(agent, payload(tmp_path / "a")).remarks
    assert "older than 1903" in remark and not any("pnputil" in command for command in agent.commands)
    with pytest.raises(LabError, match="would have to say %12%"):
        install(Agent(17763), payload(tmp_path / "b", place=13))


def test_what_starts_by_itself_must_run_after_the_restart(tmp_path: Path) -> None:
    agent = Agent()
    made = install(agent, payload(tmp_path, start=1))
    with pytest.raises(LabError, match="is to be started by Windows itself, and is stopped after a restart"):
        made.started_by_itself("echo")
    agent.windows.started_anew()
    made.started_by_itself("echo")
    assert agent.commands[-1] == "stop echo"


def test_the_stand_in_makes_the_service_as_the_inf_says(tmp_path: Path) -> None:
    agent = Agent()
    made = Installation(agent, 1.0)  # type: ignore[arg-type]
    made.in_standin([payload(tmp_path, start=0, needs="NDIS, sshd", place=13)])
    assert made.remarks == ["the stand-in has no service NDIS: the driver runs without"]
    assert agent.commands[-1] == (
        r"sc.exe create echo type= kernel start= boot error= normal binPath= C:\wsklab\echo.sys depend= NDIS/sshd"
    )
    with pytest.raises(AgentError, match="1073 ERROR_SERVICE_EXISTS"):
        made.by_hand("echo", r"C:\wsklab\echo.sys", "auto", (), windows=True)


@pytest.mark.parametrize(
    ("said", "path"),
    [
        ("BINARY_PATH_NAME   : \\SystemRoot\\System32\\drivers\\Mine.SYS\r\n", r"C:\Windows\System32\drivers\Mine.SYS"),
        ("X : \\??\\C:\\a b\\mine.sys", r"C:\a b\mine.sys"),
        ("CHEMIN : System32\\drivers\\mine.sys\n", r"C:\Windows\System32\drivers\mine.sys"),
        ("BINARY_PATH_NAME : C:\\notmine.sys", None),
        ("", None),
    ],
)
def test_where_a_service_has_its_file(said: str, path: str | None) -> None:
    assert service_control.binary_path(said, "mine.sys") == path


@pytest.mark.parametrize(
    ("changes", "older", "standin", "says"),
    [
        ({}, "1.4.0.0", True, "is not older by its DriverVer"),
        ({"start": 4}, "", True, "disabled"),
        ({"place": 99}, "", True, "is in the directory 99"),
    ],
)
def test_a_package_that_cannot_be_tested_is_refused(
    tmp_path: Path, changes: dict[str, Any], older: str, standin: bool, says: str
) -> None:
    driver_package.make(tmp_path, driver=b"MZ", **changes)
    if older:
        driver_package.make(tmp_path / "old", older, driver=b"MZ")
    profile = driver_package.profile(tmp_path, "upgrade_from: old/echo.inf" if older else "")
    with pytest.raises(UsageError, match=says):
        foreign_driver.find("mine", foreign_driver.profile_of(str(profile)), standin, tmp_path, print)


def test_what_the_stand_in_does_not_do_is_one_sentence(tmp_path: Path) -> None:
    driver_package.make(tmp_path / "old", "1.3.0.0", driver=b"MZ")
    inf = driver_package.make(tmp_path, start=0, driver=b"MZ")
    profile = foreign_driver.profile_of(str(driver_package.profile(tmp_path, "upgrade_from: old/echo.inf")))
    packages = (package.find(tmp_path / "old/echo.inf", "echo"), package.find(inf, "echo"))
    said = beyond_standin(profile, packages)
    assert said is not None and "without pnputil and catalog" in said and "its start 'boot' is recorded" in said
    assert beyond_standin(foreign_driver.profile_of("echo"), ()) is None
    mine = foreign_driver.Foreign(profile, packages[-1].driver, "0", "mine", packages=packages)
    assert mine.target_path == r"C:\Windows\System32\drivers\echo.sys" and mine.starts_by_itself
    assert mine.document()["package"]["upgraded_from"] == "1.3.0.0"
    prepared = mine.prepared(
        lambda _: pytest.fail("a package is signed as a whole"), lambda p: {**p.contents(), "x": b""}
    )
    assert [len(one.contents) for one in prepared.payloads] == [3, 3] and prepared.loaded_sha256


def test_pnputils_codes_have_words() -> None:
    assert "0xe000024b, a file is not as its catalog says" in installation.explain(-536870325, "")
    assert get_data(put_data(b"\0a%")) == b"\0a%"
