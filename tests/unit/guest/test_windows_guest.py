"""The Windows kind of guest: what is asked of it, and what users are told when it does not come up."""

from __future__ import annotations

import hashlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.powershell import errors
from support.windows_media import report

from wsklab.drivers.build import BuiltDriver
from wsklab.images.errors import ImageError
from wsklab.images.store import Image, Manifest
from wsklab.orchestrator.errors import LabError, UsageError
from wsklab.orchestrator.guest import find, windows_tools
from wsklab.orchestrator.guest.agent import Agent, AgentSilent
from wsklab.orchestrator.guest.guest import WindowsGuest, attached, linux_address
from wsklab.orchestrator.guest.service_control import STATES
from wsklab.orchestrator.lab import machines
from wsklab.orchestrator.trials import doctor_windows
from wsklab.qemu import vmstate
from wsklab.qemu.errors import MachineError
from wsklab.qemu.profile import load_profile
from wsklab.qemu.serial import SerialLine

MANIFEST = Manifest(
    name="windows-2022",
    kind="windows",
    key="k",
    recipe_sha256="r",
    packages={},
    size_bytes=0,
    files={"disk.qcow2": "d", "variables.qcow2": "v"},
    built="2026",
    kernel_args="",
)


def guest(folder: Path, ssh: bool = True) -> WindowsGuest:
    (folder / "known_hosts").write_text("wsklab-guest ssh-ed25519 AAAA\n" if ssh else "")
    return WindowsGuest(Image(folder, MANIFEST), load_profile("windows-2022"), "Windows")


def test_the_verifier_watches_the_driver_under_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = guest(tmp_path)
    mine.verify, said = "standard", list[str]()

    def answer(command: str) -> str:
        said.append(command)
        return "my.sys"

    monkeypatch.setattr(WindowsGuest, "_program", staticmethod(lambda agent: answer))
    before = mine.ingredients()
    mine.watched = "my.sys"
    driver = BuiltDriver(tmp_path / "wsklab.sys", "0", "wsklab", None, tmp_path / "wsklab.sys")
    assert mine.settings(SimpleNamespace(), driver)["verifier"]["driver"] == "my.sys"  # type: ignore[arg-type]
    assert mine.ingredients() != before, "it is another machine to a kept snapshot"


@dataclass
class Machine:
    """As much of one as the greeting asks for."""

    folder: Path

    def screenshot(self, path: Path) -> None:
        raise MachineError("no screen here")


@pytest.fixture
def line() -> Iterator[tuple[Agent, socket.socket]]:
    ours, theirs = socket.socketpair()
    serial = SerialLine("agent", ours)
    serial.start()
    yield Agent(serial, lambda: None), theirs
    serial.close()
    theirs.close()


def test_a_windows_that_says_nothing_at_all_did_not_boot(tmp_path: Path, line: tuple[Agent, socket.socket]) -> None:
    with pytest.raises(AgentSilent, match=r"nothing came from Windows on COM1 either.*agent\.log"):
        guest(tmp_path)._greet(Machine(tmp_path), line[0], time.monotonic() + 0.05)  # type: ignore[arg-type]


def test_a_windows_that_speaks_on_one_line_only_is_told_from_that(
    tmp_path: Path, line: tuple[Agent, socket.socket]
) -> None:
    agent, theirs = line
    (tmp_path / "kd.jsonl").write_text('{"t": 1, "event": "Attached"}\n')
    with pytest.raises(AgentSilent, match=r"its scheduled task wsklab-agent does not"):
        guest(tmp_path)._greet(Machine(tmp_path), agent, time.monotonic() + 0.05)  # type: ignore[arg-type]
    theirs.sendall(b'BdsDxe: starting\r\n{"hello":{"agent":1,"system":"windows 10.0.20348","pid":4}}\n')
    guest(tmp_path)._greet(Machine(tmp_path), agent, time.monotonic() + 20)  # type: ignore[arg-type]
    (tmp_path / "kd.jsonl").unlink()
    with pytest.raises(LabError, match=r"bcdedit /debug"):
        guest(tmp_path)._greet(Machine(tmp_path), agent, time.monotonic() + 20)  # type: ignore[arg-type]


def test_a_greeting_that_came_before_anybody_listened_is_heard() -> None:
    ours, theirs = socket.socketpair()
    line, heard = SerialLine("agent", ours), threading.Event()
    line.on_line(lambda _t, _text: heard.set())
    line.start()
    theirs.sendall(b'{"hello":{"agent":1}}\n')
    assert heard.wait(20)
    assert Agent(line, lambda: None).hello == {"agent": 1}
    line.close()
    theirs.close()


def test_only_the_word_of_the_kernel_is_a_debugger(tmp_path: Path) -> None:
    transcript = tmp_path / "kd.jsonl"
    assert not attached(transcript)
    said = json.dumps({"t": 1, "event": "TextLine", "text": '"event": "Attached"}'})
    transcript.write_text(said + '\n{"t": 2, "event": "Att')
    assert not attached(transcript)
    assert doctor_windows.last_words(transcript) == ['"event": "Attached"}']


def test_without_ssh_the_driver_is_on_a_disc(tmp_path: Path) -> None:
    driver = BuiltDriver(tmp_path / "wsklab.sys", hashlib.sha256(b"MZ").hexdigest(), "wsklab", None, tmp_path)
    driver.path.write_bytes(b"MZ")
    assert guest(tmp_path).files(driver, tmp_path / "target").cdroms == ()
    files = guest(tmp_path, ssh=False).files(driver, tmp_path / "target")
    assert files.cdroms == (tmp_path / "target" / "deploy.iso",) and files.cdroms[0].stat().st_size
    assert files.variables == tmp_path / "variables.qcow2" and files.kernel is None


def test_only_windows_qualifies(tmp_path: Path) -> None:
    assert guest(tmp_path).describe() == {
        "name": "windows-2022",
        "kind": "windows",
        "qualifying": True,
        "version": "Windows",
        "image_sha256": "d",
    }
    assert guest(tmp_path).address(False).startswith("netsh.exe interface ipv4 delete address name=wire address=10.77.")
    assert linux_address("peer", True) == "ip addr replace 10.77.0.20/24 dev eth0"


def test_the_script_that_asks_for_code_integrity_is_powershell() -> None:
    assert errors(doctor_windows.CODE_INTEGRITY.encode()) == errors(doctor_windows.SETUP_LOG.encode()) == []
    assert doctor_windows.code_integrity(lambda _: "#< CLIXML\r\n1027\r\n") == 1027
    with pytest.raises(LabError, match=r"could not be read: no answer"):
        doctor_windows.code_integrity(lambda _: "")


def test_the_words_for_a_service_are_those_of_the_agent() -> None:
    source = Path(__file__).parents[3] / "drivers/agent/service.c"
    assert all(f'"{state}"' in source.read_text() for state in STATES)


def test_targets_that_are_not_there_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSKLAB_CACHE", str(tmp_path))
    for word, says in (
        ("windows-11", r"no image windows-11 yet.*--iso FILE --virtio-win FILE"),
        ("bsd", r"no target 'bsd'; there is: standin; .*windows-2025"),
    ):
        with pytest.raises(UsageError, match=says):
            find.check(word)
    with pytest.raises(UsageError, match=r"stand-in has no Driver Verifier"):
        find.check("standin", "standard")
    find.check("standin")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"profile": {}, "guest": {}}'])
def test_an_image_that_does_not_say_what_it_is_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "windows.json").write_text(text)
    with pytest.raises(ImageError, match=r"does not say what the image is"):
        find._about(Image(tmp_path, MANIFEST))


def test_what_windows_needs_of_the_host_is_asked_for_first() -> None:
    with pytest.raises(UsageError, match=r"Debian packages osslsigncode and ntfs-3g: `apt-get install"):
        windows_tools.require_tools(lambda _: None)
    with pytest.raises(UsageError, match=r"packages ntfs-3g: "):
        windows_tools.require_tools(lambda name: None if name == "ntfscat" else name)
    windows_tools.require_tools(lambda name: name)


@pytest.mark.parametrize(
    ("status", "minutes", "says"),
    [
        (1, 180 * 1440, "built 100 days ago, expires in 79 days"),
        (1, 0, "built 100 days ago, licensed"),
        (1, 50 * 1440, "built 100 days ago, its licence is over: build it again"),
        (2, 103 * 1440, "built 100 days ago, to be activated on line within 2 days"),
        (2, 10 * 1440, "built 100 days ago, its days without activation are over: build it again"),
    ],
)
def test_the_list_says_how_long_an_image_lasts(tmp_path: Path, status: int, minutes: int, says: str) -> None:
    guest = report(licence_status=status, licence_minutes=minutes)
    about = {"profile": load_profile("windows-2022").model_dump(mode="json"), "guest": guest}
    (tmp_path / "windows.json").write_text(json.dumps(about))
    image = Image(tmp_path, MANIFEST.model_copy(update={"built": "2026-01-01T00:00:00.000+00:00"}))
    assert find.lasts(image, datetime(2026, 4, 11, 1, tzinfo=UTC)) == says
    (tmp_path / "windows.json").unlink()
    assert find.lasts(image, datetime(2026, 4, 11, tzinfo=UTC)) == ""


def test_a_machine_that_cannot_be_saved_says_how_to_do_without() -> None:
    def refuse(tag: str) -> None:
        raise MachineError(f"target: savevm {tag}: Error: State blocked by non-migratable CPU device (invtsc flag)")

    machine: Any = SimpleNamespace(save=refuse, running=True)
    with pytest.raises(LabError, match=r"invtsc flag\); `--cold --shared` does without snapshots"):
        machines.savevm(machine)
    machine.running = False  # its end says more
    with pytest.raises(MachineError):
        machines.savevm(machine)


def test_a_snapshot_may_take_longer_the_more_memory_there_is() -> None:
    assert vmstate.patience(512) < vmstate.patience(4096) >= 180


def test_how_far_a_windows_came_that_did_not_come_up(tmp_path: Path) -> None:
    machine, facts = Machine(tmp_path), dict[str, Any]()
    lab: Any = SimpleNamespace(guest=guest(tmp_path), machine=lambda _: machine)
    (dead,) = doctor_windows.after_failure(lab, facts)
    assert (dead.what, dead.verdict) == ("boots", "fail") and "screen.png" in dead.next
    (tmp_path / "kd.jsonl").write_text('{"event": "Attached"}\n{"event": "TextLine", "text": "last words"}\n')
    (alive,) = doctor_windows.after_failure(lab, facts)
    assert alive.verdict == "ok" and facts["last_words"] == ["last words"]


def test_kd_events_are_counted_up_to_the_half_line(tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = [{"event": "Attached"}, *[{"event": "TextLine", "text": str(n)} for n in range(60)]]
    (tmp_path / "kd.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines) + '[1]\n{"event": "Te')
    assert doctor_windows.kd_events(tmp_path / "kd.jsonl") == {"Attached": 1, "TextLine": 60}
    assert doctor_windows.last_words(tmp_path / "kd.jsonl")[-1] == "59"
