"""A Windows target from the command line to verdicts, against a Windows that is played (tests/simulated): real
processes, QMP, KD, COM2, SSH, SFTP, a disc, the wire, and the real Linux peer at its other end. It is not Windows.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from simulated.windows import OLD, Faults
from support import driver_package
from support.certificates import publisher
from support.command import Finished, processes_of, read_until, run, send, start, start_command, wsklab
from support.kd_host import OtherHost
from support.windows_media import report

from wsklab import images
from wsklab.drivers.build import build_agent
from wsklab.drivers.package import find, signed
from wsklab.images.keys import ADDRESS, KeyPair, write_private
from wsklab.images.secure import sha256
from wsklab.images.store import Manifest, Store
from wsklab.qemu import firmware
from wsklab.qemu.kd.events import Bugcheck, ExceptionSeen
from wsklab.qemu.profile import load_profile

pytestmark = [pytest.mark.vm, pytest.mark.timeout(100)]
TESTS = Path(__file__).parents[1]
NOW = datetime(2026, 11, 2, 12, 0, tzinfo=UTC)


def make_image(store: Store, ssh: bool) -> Path:
    """Publish an image as `wsklab image build windows-2022` does, with nothing on its disk; returns its folder.

    The one without SSH is also old: its agent is not ours.
    """
    login, host = KeyPair.generate(), KeyPair.generate()
    with store.building("windows-2022", print) as partial:
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(partial / "disk.qcow2"), "64M"], check=True)
        firmware.make_variables(firmware.find().variables, partial / "variables.qcow2")
        profile = load_profile("windows-2022").model_dump(mode="json")
        about = {"profile": profile, "guest": report(licence_minutes=1440)}
        (partial / "windows.json").write_text(json.dumps(about))
        write_private(partial / "ssh_key", login.private)
        write_private(partial / "host_key", host.private)
        known = " ".join(host.public.decode().split()[:2])
        (partial / "known_hosts").write_text(f"{ADDRESS} {known}\n" if ssh else "")
        agent = build_agent(images.cache_folder()).path.read_bytes()
        (partial / "wskagent.exe").write_bytes(agent if ssh else OLD)
        files = {name: sha256(partial / name) for name in ("disk.qcow2", "variables.qcow2", "windows.json")}
        key = hashlib.sha256(f"{ssh}{known}".encode()).hexdigest()
        image = store.publish(
            partial,
            Manifest(
                name="windows-2022",
                kind="windows",
                key=key,
                recipe_sha256=key,
                packages={},
                files=files,
                size_bytes=0,
                built=f"2026-01-0{1 + ssh}T00:00:00.000+00:00",
                kernel_args="",
            ),
        )
    return image.folder


def share(source: str, to: str) -> None:
    """Make a hard link where that can be: the files of an image are known by their inode, others are hashed once."""
    try:
        os.link(source, to)
    except OSError:
        shutil.copy2(source, to)


class Played:
    """A cache of its own with the peer's image and one of a played Windows, and QEMU's place taken."""

    def __init__(self, folder: Path, ssh: bool) -> None:
        self.cache = folder / "cache"
        store = Store(self.cache)
        for part in ("images", "packages", "drivers", "signing", "accelerator.json"):
            source = images.cache_folder() / part
            if source.is_dir():
                shutil.copytree(
                    source,
                    self.cache / part,
                    copy_function=share,
                    dirs_exist_ok=True,
                    symlinks=True,
                    ignore=shutil.ignore_patterns("*.lock", "*.partial"),
                )
            elif source.exists():
                shutil.copy2(source, self.cache / part)
        self.image = make_image(store, ssh)
        binaries = folder / "bin"
        binaries.mkdir()
        script = binaries / "qemu-system-x86_64"
        script.write_text(f'#!/bin/sh\nPYTHONPATH={TESTS} exec {sys.executable} -m simulated.qemu "$@"\n')
        script.chmod(0o755)
        self._path = f"{binaries}:{os.environ['PATH']}"

    def environment(self, **faults: Any) -> dict[str, str]:
        wanted = {
            "image": str(self.image),
            "qemu": shutil.which("qemu-system-x86_64"),
            "faults": asdict(Faults()) | faults,
        }
        return {
            "PATH": self._path,
            "SIMULATED_WINDOWS": json.dumps(wanted),
            "WSKLAB_CACHE": str(self.cache),
            "WSKLAB_ACCEL": "tcg",
        }


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Callable[[bool], Played]:
    made: dict[bool, Played] = {}

    def get(ssh: bool = True) -> Played:
        if ssh not in made:
            made[ssh] = Played(tmp_path_factory.mktemp("played"), ssh)
        return made[ssh]

    return get


SCENARIOS = ("close-graceful", "linger-zero")


def test_from_the_command_line_to_verdicts_and_again_from_the_kept_snapshot(
    played: Callable[[bool], Played], tmp_path: Path
) -> None:
    windows = played(True)
    # Some of what is said to the agent comes damaged: it is said once more, and no driver is blamed.
    first = run(tmp_path / "first", *SCENARIOS, "--target", "windows-2022", **windows.environment(lost=[2, 9, 14]))
    assert first.verdicts == {"close-graceful": "pass", "linger-zero": "pass", "driver-unload": "pass"}, (
        first.stdout,
        first.stderr,
    )
    target = first.results["target"]
    assert (target["name"], target["kind"], target["qualifying"]) == ("windows-2022", "windows", True)
    assert "not Windows" not in first.stdout and "licence" in first.stdout
    second = run(tmp_path / "second", "linger-zero", "--target", "windows-2022", **windows.environment())
    assert "from the kept snapshot" in second.stdout and second.code == 0, second.stdout
    assert first.results["driver"] == second.results["driver"]
    assert processes_of(tmp_path) == []


def test_without_ssh_the_driver_comes_on_a_disc_and_the_verifier_is_recorded(
    played: Callable[[bool], Played], tmp_path: Path
) -> None:
    done = run(
        tmp_path / "run",
        "linger-zero",
        "--cold",
        "--verifier",
        "standard",
        "--target",
        "windows-2022",
        **played(False).environment(),
    )
    assert done.code == 0, (done.stdout, done.stderr)
    verifier = done.results["target"]["verifier"]
    assert (verifier["choice"], verifier["driver"], verifier["flags"]) == ("standard", "wsklab.sys", "0x209bb")
    assert "wsklab.sys" in verifier["settings"]


def doctor(report: Path, windows: Played, **faults: Any) -> tuple[Finished, dict[str, str]]:
    """`wsklab doctor`, and the verdict of each of the target's steps."""
    done = wsklab(
        "doctor",
        "--target",
        "windows-2022",
        "--out",
        str(report),
        cwd=report.parent,
        timeout=600,
        **windows.environment(**faults),
    )
    steps = json.loads(report.read_text())["target"]["steps"]
    return done, {step["what"]: step["verdict"] for step in steps}


def test_the_doctor_goes_through_windows_step_by_step(played: Callable[[bool], Played], tmp_path: Path) -> None:
    report = tmp_path / "first.json"
    done, steps = doctor(report, played(True))
    assert list(steps.items()) == [
        (what, "ok")
        for what in (
            "images and drivers",
            "SSH",
            "agent",
            "boots",
            "kernel debugger",
            "SSH to Windows",
            "test signing",
            "driver loads",
            "service",
            "debugger's latency",
            "canary",
            "wire",
            "one FIN",
            "one RST",
            "snapshot",
            "unload",
        )
    ], done.stdout
    facts = json.loads(report.read_text())["target"]["facts"]
    assert facts["code_integrity"] == 3 and "testsigning" in facts["bcdedit"] and facts["kd_events"]["Attached"] == 1
    assert "S-1-5-32-544" in facts["groups"] and "Made up" in facts["setupact"] and "BdsDxe" in facts["com1"]
    assert facts["kd_latency_ms"] and min(facts["kd_latency_ms"]) > 0 and "processor 0 at " in facts["kd_places"]
    words = report.with_suffix(".txt").read_text()
    assert "version: Made up, ServerStandardEval, build 20348.587" in words and "✓ ok    snapshot: " in words


def examined(
    windows: Played, folder: Path, name: str, variant: str, *more: str, **faults: Any
) -> tuple[dict[str, str], str]:
    """Return the verdict of each of the target's steps on a variant of the machine, and the report in words."""
    report = folder / f"{name}.json"
    words = ["--target", "windows-2022", "--variant", variant, "--out", str(report), *more]
    environment: dict[str, Any] = windows.environment(**faults)
    wsklab("doctor", *words, cwd=folder, **environment)
    steps = json.loads(report.read_text())["target"]["steps"]
    return {one["what"]: one["verdict"] for one in steps}, report.with_suffix(".txt").read_text()


@pytest.mark.parametrize(("options", "verdict"), [(0x403, "ok"), (0x3, "fail")])
def test_the_doctor_looks_at_memory_integrity(
    played: Callable[[bool], Played], tmp_path: Path, options: int, verdict: str
) -> None:
    steps, words = examined(played(True), tmp_path, "hvci", "memory-integrity", code_integrity=options)
    assert (steps["Memory Integrity"], steps["unload"]) == (verdict, "ok"), words
    assert ("SecurityServicesRunning [0], code integrity 0x3" in words) == (verdict == "fail")
    assert processes_of(tmp_path) == []


def test_the_doctor_looks_at_secure_boot(played: Callable[[bool], Played], tmp_path: Path) -> None:
    steps, words = examined(played(True), tmp_path, "secure", "secure-boot", **SECURE)
    assert steps == {"images and drivers": "ok", "firmware keys": "ok", "boots": "ok", "Secure Boot": "ok"}, words
    assert processes_of(tmp_path) == []


def test_a_windows_without_secure_boot_is_held_as_a_machine_by_itself(
    played: Callable[[bool], Played], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    report = tmp_path / "report.json"
    words = ("doctor", "--target", "windows-2022", "--variant", "secure-boot", "--hold", "--out", str(report))
    process = start_command(tmp_path, *words, **played(True).environment(code_integrity=0x1))
    request.addfinalizer(process.kill)
    said = "".join(read_until(process, "its monitor:"))
    assert "held, until Ctrl-C: Secure Boot" in said and "wsklab@127.0.0.1" in said
    assert "Windows says: confirmed False state 0" in said
    send(process, signal.SIGINT)
    rest, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (3, ""), (said, rest)
    assert json.loads(report.read_text())["target"]["steps"][-1] | {"detail": "", "next": ""} == {
        "what": "Secure Boot", "verdict": "fail", "detail": "", "next": "",
    }  # fmt: skip
    assert processes_of(tmp_path) == []


SECURE = {"code_integrity": 0x1, "secure_boot": "confirmed True\r\nstate 1\r\n"}


def test_the_doctor_loads_a_driver_that_microsoft_has_signed_under_secure_boot(
    played: Callable[[bool], Played], tmp_path: Path
) -> None:
    package = driver_package.make(tmp_path / "mine", start=1).parent  # which takes a restart
    pair = publisher(tmp_path / "publisher", "Microsoft Corporation", "1.3.6.1.4.1.311.10.3.5.1")
    for name, content in signed(find(package / "echo.inf", "echo"), pair, tmp_path / "kept", NOW).items():
        (package / name).write_bytes(content)
    words = ("--driver", str(driver_package.profile(package)))
    steps, said = examined(played(True), tmp_path, "production", "secure-boot", *words, **SECURE)
    assert set(steps.values()) == {"ok"} and "echo.sys was installed, started and stopped" in said, said
    assert "the catalog is signed by A Publisher, attested" in said
    assert processes_of(tmp_path) == []


def test_the_doctor_says_what_a_driver_lacks_for_secure_boot(played: Callable[[bool], Played], tmp_path: Path) -> None:
    words = ("--driver", str(driver_package.profile(driver_package.make(tmp_path / "mine").parent)))
    steps, said = examined(played(True), tmp_path, "unsigned", "secure-boot", *words, **SECURE)
    wanted = {"production signature": "fail", "Secure Boot": "ok", "your driver echo.sys": "fail"}
    assert {step: steps[step] for step in wanted} == wanted, said
    assert "nobody has signed the catalog of echo.inf" in said and "Hardware Dev Center" in said


def test_the_doctor_explains_a_windows_that_takes_no_test_signatures(
    played: Callable[[bool], Played], tmp_path: Path
) -> None:
    done, steps = doctor(tmp_path / "report.json", played(True), code_integrity=0x401)
    assert done.code == 3
    assert list(steps.items())[-2:] == [("test signing", "fail"), ("driver loads", "fail")]
    words = (tmp_path / "report.txt").read_text()
    assert "Secure Boot and Memory Integrity must be off" in words and "577 ERROR_INVALID_IMAGE_HASH" in words


def test_a_doctor_whose_step_fails_holds_the_target_and_says_how_to_get_in(
    played: Callable[[bool], Played], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    report = tmp_path / "report.json"
    words = ("doctor", "--target", "windows-2022", "--view", "--hold", "--out", str(report))
    process = start_command(tmp_path, *words, **played(True).environment(code_integrity=0x401))
    request.addfinalizer(process.kill)
    said = "".join(read_until(process, "windbg -k com:ipport="))
    assert re.search(r"held, until Ctrl-C: the lab did not come up: .*577", said), said
    assert re.search(r"fail  driver loads: .*577", said) and "wsklab@127.0.0.1" in said
    found = re.search(r"windbg -k com:ipport=(\d+),port=127.0.0.1", said)
    assert found
    (url,) = set(re.findall(r"http://127\.0\.0\.1:\S+", said))
    with urllib.request.urlopen(url, timeout=20) as page:
        assert page.status == 200
    other = OtherHost(int(found[1]))  # the target runs, and its debugger's line is there
    other.break_in()
    other.until(ExceptionSeen)
    other.close()
    send(process, signal.SIGINT)
    rest, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (3, ""), (said, rest)
    assert json.loads(report.read_text())["target"]["steps"][-1]["what"] == "driver loads"
    assert processes_of(tmp_path) == []


def test_a_wrong_driver_fails_and_a_refused_one_is_explained(played: Callable[[bool], Played], tmp_path: Path) -> None:
    wrong = run(tmp_path / "wrong", "linger-zero", "--target", "windows-2022", **played(True).environment(skew=1))
    assert wrong.verdicts["linger-zero"] == "fail" and wrong.code == 1
    refused = run(
        tmp_path / "refused",
        "linger-zero",
        "--cold",
        "--target",
        "windows-2022",
        **played(True).environment(errors={"start": 1275}),
    )
    assert refused.code == 3
    assert "CodeIntegrity's last events: Event[0]: Event ID: 3077" in refused.stderr
    assert "1275 ERROR_DRIVER_BLOCKED" in refused.stderr and "Traceback" not in refused.stderr


def test_the_first_run_of_the_page_needs_no_snapshot(played: Callable[[bool], Played], tmp_path: Path) -> None:
    blocked = "Error: State blocked by non-migratable CPU device (invtsc flag)"
    done = run(
        tmp_path / "run",
        "linger-zero",
        "--cold",
        "--shared",
        "--target",
        "windows-2022",
        **played(True).environment(savevm=blocked),
    )
    assert done.code == 0 and done.verdicts["linger-zero"] == "pass", (done.stdout, done.stderr)


def test_what_driver_verifier_asks_its_debugger_is_no_pass(played: Callable[[bool], Played], tmp_path: Path) -> None:
    done = run(
        tmp_path / "run",
        "linger-zero",
        "--target",
        "windows-2022",
        **played(True).environment(prompt="*** Verifier assertion failed: IRP was completed twice"),
    )
    result = done.scenario("linger-zero")
    assert (result["verdict"], done.code) == ("fail", 1), done.stdout
    (reason,) = result["reasons"]
    assert (
        "and was told to go on: '(B)reak, (I)gnore, (W)arn only, (R)emove assert?'; "
        "before that: *** Verifier assertion failed: IRP was completed twice" in reason
    )


def test_a_stop_by_driver_verifier_names_itself(played: Callable[[bool], Played], tmp_path: Path) -> None:
    done = run(
        tmp_path / "run",
        "linger-zero",
        "--target",
        "windows-2022",
        **played(True).environment(bugcheck=[0xC4, 0x62, 2, 3, 4]),
    )
    result = done.scenario("linger-zero")
    assert (result["verdict"], done.code) == ("fail", 1), done.stdout
    assert "Driver Verifier stopped Windows: the driver unloaded without freeing its pool" in result["reasons"][0]
    notes = json.loads((done.folder / result["evidence"] / "crash" / "crash.json").read_text())
    assert "invalid vmcoreinfo" in notes["missing"]["target.dmp"] and "screen" in notes["missing"]["dumps"]
    assert "target-kd.jsonl" in notes["kept"]


def test_another_debugger_has_the_line_at_a_bugcheck_while_the_lab_is_held(
    played: Callable[[bool], Played], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    first_run = ("linger-zero", "--cold", "--shared", "--target", "windows-2022", "--twin", "crashes")
    words = (*first_run, "--hold", "--debugger", "0")
    faults = played(True).environment(bugcheck=[0xD1, 1, 2, 3, 4])
    process = start(tmp_path / "run", *words, **faults)
    request.addfinalizer(process.kill)
    said = "".join(read_until(process, "windbg -k com:ipport="))
    assert "held, until Ctrl-C: linger-zero: fail" in said and "wsklab@127.0.0.1" in said
    found = re.search(r"windbg -k com:ipport=(\d+),port=127.0.0.1", said)
    assert found
    for _ in range(2):  # it comes, goes, and comes again: the target stands in its stop each time
        other = OtherHost(int(found[1]))
        assert [event.code for event in other.until(Bugcheck) if isinstance(event, Bugcheck)] == [0xD1]
        other.close()
    send(process, signal.SIGINT)
    rest, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (1, ""), (said, rest)
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert {row["name"]: row["verdict"] for row in results["scenarios"]}["linger-zero"] == "fail"
