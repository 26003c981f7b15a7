"""`doctor --driver`: the signature that Secure Boot asks for, and the load, against a Windows that is played."""

from __future__ import annotations

import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from simulated.agent import Agent
from support import driver_package
from support.certificates import publisher

from wsklab.drivers import package
from wsklab.drivers.profile import load_profile
from wsklab.drivers.sign import sign
from wsklab.orchestrator.commands.cli import main
from wsklab.orchestrator.errors import LabError, UsageError
from wsklab.orchestrator.lab.foreign_driver import Foreign
from wsklab.orchestrator.lab.installed_foreign import InstalledForeign
from wsklab.orchestrator.observe.journal import Journal
from wsklab.orchestrator.trials import doctor_driver
from wsklab.orchestrator.trials.doctor_windows import Check

NOW = datetime(2026, 11, 2, 12, 0, tzinfo=UTC)
ATTESTED = "1.3.6.1.4.1.311.10.3.5.1"
signs = pytest.mark.skipif(
    shutil.which("osslsigncode") is None or shutil.which("x86_64-w64-mingw32-gcc") is None,
    reason="needs osslsigncode and mingw-w64",
)


def installed(foreign: Foreign, agent: Agent) -> InstalledForeign:
    target: Any = SimpleNamespace(
        agent=agent,
        journal=Journal(),
        know_pdb=lambda name, file: None,
        machine=SimpleNamespace(debug=SimpleNamespace(on_line=lambda act, reads: None)),
    )
    return InstalledForeign(foreign, target, 1.0)


def find(word: Path) -> Foreign:
    return doctor_driver.as_given(doctor_driver.find(str(word), word.parent, lambda line: None))


def only(checks: Any) -> Check:
    (check,) = checks
    assert isinstance(check, Check)
    return check


@signs
def test_a_file_says_who_has_signed_it(tmp_path: Path) -> None:
    folder = driver_package.make(tmp_path / "mine").parent
    facts = dict[str, Any]()
    check = only(doctor_driver.signed(find(folder / "echo.sys"), facts))
    with pytest.raises(LabError, match=r"nobody has signed echo\.sys"):
        check.look()
    assert "attestation or WHQL" in check.next and not check.vital
    for organization, says in (("Example, Inc.", "Microsoft has not signed echo.sys as it is"), (None, "")):
        pair = publisher(tmp_path / "publisher", organization or "Microsoft Corporation", ATTESTED)
        sign(folder / "echo.sys", tmp_path / "echo.sys", pair)
        check = only(doctor_driver.signed(find(tmp_path / "echo.sys"), facts))
        if says:
            with pytest.raises(LabError, match=f"{says}: the file is signed by A Publisher; issued by"):
                check.look()
        else:
            assert "A Publisher, attested; issued by A Third Party CA" in check.look()
            assert "only Windows knows" in check.look() and facts["signatures"]


@signs
def test_of_a_package_the_catalog_counts_and_at_boot_the_file_too(tmp_path: Path) -> None:
    """The loader reads no catalogs."""
    pair = publisher(tmp_path / "publisher", "Microsoft Corporation", ATTESTED)
    for start, catalog_only in ((3, True), (0, True), (0, False)):
        folder = driver_package.make(tmp_path / f"{start}{catalog_only}", start=start).parent
        profile = driver_package.profile(folder)
        contents = package.signed(package.find(folder / "echo.inf", "echo"), pair, tmp_path / "kept", NOW)
        for name, content in contents.items():
            if name.endswith(".cat") or not catalog_only:
                (folder / name).write_bytes(content)
        check = only(doctor_driver.signed(find(profile), {}))
        if start == 0 and catalog_only:
            with pytest.raises(LabError, match=r"nobody has signed echo\.sys"):
                check.look()
        else:
            assert "the catalog is signed by A Publisher, attested" in check.look()


@signs
def test_a_driver_is_installed_started_and_stopped_or_refused_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = driver_package.make(tmp_path / "mine").parent
    sign(folder / "echo.sys", tmp_path / "echo.sys", publisher(tmp_path, "Microsoft Corporation", ATTESTED))
    agent = Agent(code_integrity=0x1)
    mine = find(tmp_path / "echo.sys")
    mine = replace(mine, profile=mine.profile.model_copy(update={"patterns": load_profile("echo").patterns}))
    check = only(doctor_driver.loads(installed(mine, agent), lambda: None))
    monkeypatch.setattr(Journal, "wait_for", None)  # nobody waits for its last line
    assert check.look() == "echo.sys was installed, started and stopped"
    assert agent.windows.state["services"]["echo"]["state"] == "stopped"
    agent = Agent(code_integrity=0x1)
    check = only(doctor_driver.loads(installed(find(folder / "echo.sys"), agent), lambda: None))
    with pytest.raises(LabError, match=r"start echo: .*CodeIntegrity's last events: .*3077"):
        check.look()


def test_the_stand_in_is_no_windows() -> None:
    with pytest.raises(UsageError, match="doctor --driver is for a Windows target"):
        doctor_driver.check_target(windows=False)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--hold"], "--hold is of a target; name the target with --target."),
        (["--driver", "echo"], "--driver is of a target"),
        (["--variant", "secure-boot"], "--variant is of a target"),
        (["--target", "standin", "--driver", "echo"], "doctor --driver is for a Windows target"),
        (["--faults", "--hold=always"], "--faults goes without --driver and --hold"),
    ],
)
def test_what_the_doctor_is_not_asked_with(words: list[str], says: str) -> None:
    told = CliRunner().invoke(main, ["doctor", *words])
    assert told.exit_code != 0 and says in str(told.exception or told.output) + told.output
