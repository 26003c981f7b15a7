"""The real images: built (or found), booted under TCG, and asked over SSH."""

import json
import queue
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest

from wsklab import images
from wsklab.orchestrator.guest.ssh import Ssh
from wsklab.qemu.deadline import within
from wsklab.qemu.machine import Machine
from wsklab.qemu.machine_events import MachineEvent
from wsklab.qemu.profile import ImageFiles, load_profile

pytestmark = pytest.mark.vm
TIME = 120


def machine(image: images.Image, folder: Path, append: str = "", wire: socket.socket | None = None) -> Machine:
    files = ImageFiles(image.disk, image.kernel, image.initrd, f"{image.kernel_args} {append}")
    return Machine("peer", load_profile("peer"), files, folder, "tcg", wire)


@pytest.fixture(scope="module")
def peer_image() -> images.Image:
    return images.ensure("peer", {}, print)


@pytest.fixture(scope="module")
def peer(peer_image: images.Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[paramiko.SSHClient]:
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with near, far, machine(peer_image, tmp_path_factory.mktemp("peer"), wire=near) as booted:
        booted.start()
        booted.console.expect("WSKLAB-READY", within(TIME))
        ssh = Ssh("peer", booted.ssh_port, peer_image.ssh_key, peer_image.known_hosts)
        yield ssh.client
        ssh.close()


def run(client: paramiko.SSHClient, text: str, lines: str = "") -> str:
    stdin, stdout, _ = client.exec_command(text, timeout=TIME)
    stdin.write(lines)
    stdin.channel.shutdown_write()
    return stdout.read().decode()


def test_the_peer_has_its_addresses_and_its_clock(peer: paramiko.SSHClient) -> None:
    shown = run(peer, "ip addr; ulimit -n; date +%s").splitlines()
    assert any("10.77.0.20/24" in line for line in shown)
    assert any("fd77::20/64" in line and "tentative" not in line for line in shown)
    assert int(shown[-2]) >= 65536
    assert abs(int(shown[-1]) - time.time()) < 60


@pytest.mark.parametrize(("ending", "port"), [("destroy", 4000), ("repair_close", 4001)])
def test_endings_that_need_root(peer: paramiko.SSHClient, ending: str, port: int) -> None:
    """C19 resets the connection; C33 says nothing to the other side."""
    steps = [
        {"do": "listen", "host": "127.0.0.1", "port": port},
        {"do": "connect", "sock": "c", "host": "127.0.0.1", "port": port},
        {"do": "accept", "sock": "a"},
        {"do": ending, "sock": "a"},
        {"do": "await", "sock": "c", "for": "reset", "timeout_ms": 300},
    ]
    answers = run(peer, "peer", "".join(json.dumps(step) + "\n" for step in steps)).splitlines()[1:]
    oks = [json.loads(answer)["ok"] for answer in answers]
    assert oks == [True, True, True, True, ending == "destroy"], answers


def test_many_channels_at_once(peer: paramiko.SSHClient) -> None:
    channels = [peer.exec_command("peer", timeout=TIME) for _ in range(100)]
    assert all('"hello"' in stdout.readline() for _, stdout, _ in channels)


def test_the_probe_speaks_and_powers_off(peer_image: images.Image, tmp_path: Path) -> None:
    ended: queue.Queue[MachineEvent] = queue.Queue()
    with machine(peer_image, tmp_path, "wsklab.probe") as probe:
        probe.on_event(ended.put)
        probe.start()
        assert ended.get(timeout=TIME).kind == "shutdown"
    assert b"WSKLAB-PROBE" in (tmp_path / "debug.log").read_bytes()


def test_a_second_look_up_is_quick_and_silent(peer_image: images.Image) -> None:
    assert images.ensure("peer", {}, pytest.fail) == peer_image
    assert peer_image.ssh_key.stat().st_mode & 0o777 == 0o600
