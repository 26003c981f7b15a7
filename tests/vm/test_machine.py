"""Real machines on a real wire: boot, snapshots, the barrier, and every way in which a machine ends."""

import os
import queue
import re
import shutil
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from wsklab import images
from wsklab.qemu.accel import choose
from wsklab.qemu.confinement import USER
from wsklab.qemu.deadline import left, within
from wsklab.qemu.errors import DeadlinePassed, GuestDied, LaunchError, MachineError
from wsklab.qemu.machine import Machine
from wsklab.qemu.machine_events import MachineEvent
from wsklab.qemu.profile import Accelerator, ImageFiles, load_profile
from wsklab.qemu.wire.control import Wire, read_recording

pytestmark = [pytest.mark.vm, pytest.mark.timeout(180)]
BOOT = 60.0  # seconds, on a busy host under TCG


@dataclass(frozen=True)
class Kit:
    """What machines are made from."""

    files: ImageFiles
    accelerator: Accelerator

    def peer(self, folder: Path, wire: socket.socket | None = None, **changes: str) -> Machine:
        profile = load_profile("peer").model_copy(update=changes)
        return Machine("peer", profile, self.files, folder, self.accelerator, wire)


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    image = images.ensure("peer", {}, print)
    choice = choose(image.kernel, image.initrd, tmp_path_factory.mktemp("cache"))
    return Kit(ImageFiles(image.disk, image.kernel, image.initrd, image.kernel_args), choice.name)


@pytest.fixture(scope="module")
def booted(kit: Kit, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    with kit.peer(tmp_path_factory.mktemp("booted")) as machine:
        machine.start()
        machine.console.expect("WSKLAB-READY", within(BOOT))
        yield machine


def events_of(machine: Machine) -> "queue.Queue[MachineEvent]":
    events: queue.Queue[MachineEvent] = queue.Queue()
    machine.on_event(events.put)
    return events


def expect_event(events: "queue.Queue[MachineEvent]", kind: str, deadline: float) -> MachineEvent:
    while (event := events.get(timeout=left(deadline))).kind != kind:
        pass
    return event


def ssh_banner(machine: Machine) -> bytes:
    with socket.create_connection(("127.0.0.1", machine.ssh_port), timeout=10) as connection:
        return connection.recv(4)


def test_a_booted_machine_answers_and_leaves_its_evidence(booted: Machine) -> None:
    assert ssh_banner(booted) == b"SSH-"
    assert "RIP" in booted.registers()
    assert b"WSKLAB-READY" in (booted.folder / "console.log").read_bytes()
    assert (booted.folder / "command.txt").read_text().startswith("qemu-system-x86_64 ")
    assert '"execute": "cont"' in (booted.folder / "qmp.log").read_text()


def privileges(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def test_qemu_can_do_nothing_but_run_its_guest(booted: Machine) -> None:
    found = privileges(booted.pid)
    assert {found[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {"0" * 16}
    assert (found["NoNewPrivs"], found["Seccomp"]) == ("1", "2")
    if os.geteuid() == 0:
        assert set(found["Uid"].split()) == set(found["Gid"].split()) == {str(USER)}
        assert (found["CapBnd"], found["Groups"]) == ("0" * 16, "")
        owned = {path.name for path in booted.folder.iterdir() if path.stat().st_uid == USER}
        assert owned == {"overlay.qcow2"}, "its logs are written by us"
        assert (booted.folder.stat().st_uid, booted.folder.stat().st_mode & 0o777) == (0, 0o710)


def test_no_way_leads_to_the_image_and_qemu_reads_it_all_the_same(kit: Kit, tmp_path: Path) -> None:
    """As in a home folder that is its owner's alone, with a umask of 077."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    for file in (kit.files.disk, kit.files.kernel, kit.files.initrd):
        assert file is not None
        shutil.copyfile(file, closed / file.name)
        (closed / file.name).chmod(0o400)
    files = ImageFiles(closed / "disk.qcow2", closed / "vmlinuz", closed / "initrd.img", kit.files.kernel_args)
    with Machine("peer", load_profile("peer"), files, closed / "machine", kit.accelerator) as machine:
        machine.start()
        machine.console.expect("WSKLAB-READY", within(BOOT))


def test_a_snapshot_is_gone_back_to_again_and_again(booted: Machine) -> None:
    booted.save("ready")
    for _ in range(3):
        booted.restore("ready")
        assert ssh_banner(booted) == b"SSH-"


def test_pause_and_resume(booted: Machine) -> None:
    booted.pause()
    assert booted.qmp.execute("query-status")["running"] is False
    booted.resume()
    assert booted.qmp.execute("query-status")["running"] is True


def test_a_machine_without_a_screen_has_no_screenshot(booted: Machine, tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="display: none"):
        booted.screenshot(tmp_path / "screen.png")


def test_a_screenshot(kit: Kit, tmp_path: Path) -> None:
    with kit.peer(tmp_path, display="VGA") as machine:
        machine.start()
        machine.screenshot(tmp_path / "screen.png")
    assert (tmp_path / "screen.png").read_bytes().startswith(b"\x89PNG")


def test_a_snapshot_that_is_not_there_is_an_error(kit: Kit, tmp_path: Path) -> None:
    with kit.peer(tmp_path) as machine:
        machine.start()
        with pytest.raises(MachineError, match="nonesuch"):
            machine.restore("nonesuch")


def test_a_kept_snapshot_starts_another_machine(kit: Kit, tmp_path: Path) -> None:
    with kit.peer(tmp_path / "first") as first:
        first.start()
        first.console.expect("WSKLAB-READY", within(BOOT))
        first.save("ready")
    second = kit.peer(tmp_path / "second")
    second.folder.mkdir()
    first.overlay.rename(second.overlay)
    with second:
        second.start(snapshot="ready")
        assert ssh_banner(second) == b"SSH-"
        assert b"WSKLAB-READY" not in (second.folder / "console.log").read_bytes()


def test_a_machine_that_cannot_start_says_why(kit: Kit, tmp_path: Path) -> None:
    machine = kit.peer(tmp_path, machine="no-such-machine")
    with pytest.raises(LaunchError, match="unsupported machine type") as refused:
        machine.start()
    assert refused.value.exit_code == 1
    assert not machine.running


def test_the_death_of_qemu_is_noticed_at_once(kit: Kit, tmp_path: Path) -> None:
    machine = kit.peer(tmp_path)
    events = events_of(machine)
    with machine:
        machine.start()
        os.kill(machine.pid, signal.SIGKILL)
        assert "code -9" in expect_event(events, "died", within(5)).detail
        with pytest.raises(GuestDied):
            machine.console.expect("WSKLAB-READY", within(BOOT))
        with pytest.raises(GuestDied):
            machine.pause()


def test_a_panic_is_noticed_and_the_machine_stands_still_for_the_evidence(kit: Kit, tmp_path: Path) -> None:
    machine = kit.peer(
        tmp_path, kernel_args="console=ttyS2 panic=-1 init=/nonexistent root=/dev/nonexistent rdinit=/bad"
    )
    events = events_of(machine)
    with machine:
        machine.start()
        assert "Kernel panic" in expect_event(events, "panic", within(BOOT)).detail
        assert "RIP" in machine.registers()


def test_power_can_be_cut_and_comes_back(kit: Kit, tmp_path: Path) -> None:
    machine = kit.peer(tmp_path)
    events = events_of(machine)
    with machine:
        machine.start()
        machine.cut_power()
        assert not machine.running
        machine.start()
        machine.console.expect("WSKLAB-READY", within(BOOT))
    assert events.empty(), "what we do ourselves is no event"


def test_reset_starts_the_guest_over(booted: Machine) -> None:
    with booted.console.watch() as console:
        booted.reset()
        console.expect("WSKLAB-READY", within(BOOT))


def test_two_machines_on_a_wire(kit: Kit, tmp_path: Path) -> None:
    with ExitStack() as stack:
        wire = stack.enter_context(Wire(tmp_path / "wire"))
        ends = {"target": wire.target_end, "peer": wire.peer_end}
        macs = {"target": "52:54:00:77:00:10", "peer": "52:54:00:77:00:20"}
        machines = {side: kit.peer(tmp_path / side, ends[side], wire_mac=macs[side]) for side in ends}
        machines["target"].profile = machines["target"].profile.model_copy(
            update={"management_mac": "52:54:00:0a:00:10"}
        )
        for machine in machines.values():
            stack.enter_context(machine).start()
        wire.record(tmp_path / "wire.pcapng")
        for machine in machines.values():
            machine.console.expect("WSKLAB-READY", within(BOOT))
        wire.barrier(within(10), sides=["peer"])
        machines["peer"].set_link(False)
        with pytest.raises(DeadlinePassed, match="from: peer"):
            wire.barrier(within(0.5), sides=["peer"])
        machines["peer"].set_link(True)
        wire.barrier(within(10), sides=["peer"])
        wire.stop_recording()
        replies = [
            frame for frame in read_recording(tmp_path / "wire.pcapng") if re.match("kept by the wire", frame.comment)
        ]
        assert {frame.src for frame in replies if frame.kind == "icmp"} == {"10.77.0.20"}
