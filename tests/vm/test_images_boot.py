"""The real images: built (or found), booted under TCG, and asked over SSH."""

import json
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest

from wsklab import images

pytestmark = pytest.mark.vm
TIME = 120


def command(image: images.Image, folder: Path, number: str, append: str = "") -> list[str]:
    overlay = folder / "overlay.qcow2"
    base = ["-b", str(image.disk), "-F", "qcow2"]
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *base, str(overlay)], check=True)
    nic = "virtio-net-pci,romfile=,netdev={},mac=52:54:00:{}:00:{}"
    return [
        "qemu-system-x86_64", "-accel", "tcg", "-cpu", "max,smap=off", "-m", "512", "-smp", "2", "-nodefaults",
        "-display", "none", "-no-reboot", "-kernel", str(image.kernel), "-initrd", str(image.initrd),
        "-append", f"{image.kernel_args} {append}", "-drive", f"file={overlay},if=virtio",
        "-netdev", "hubport,id=wire,hubid=1", "-device", nic.format("wire", "77", number),
        "-netdev", "user,id=ssh,restrict=on,hostfwd=tcp:127.0.0.1:0-10.0.2.15:22",
        "-device", nic.format("ssh", "0a", number),
        "-serial", f"file:{folder}/debug.log", "-serial", "null", "-serial", "stdio",
        "-monitor", f"unix:{folder}/monitor,server=on,wait=off",
    ]  # fmt: skip


@pytest.fixture
def peer_image() -> images.Image:
    return images.ensure("peer", {}, print)


@pytest.fixture
def peer(peer_image: images.Image, tmp_path: Path) -> Iterator[paramiko.SSHClient]:
    process = subprocess.Popen(command(peer_image, tmp_path, "20"), stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert any(b"WSKLAB-READY" in line for line in process.stdout)
        with paramiko.SSHClient() as client:
            host_key = paramiko.HostKeys(str(peer_image.known_hosts))[images.ADDRESS]["ssh-ed25519"]
            port = forwarded_port(tmp_path / "monitor")
            client.get_host_keys().add(f"[127.0.0.1]:{port}", "ssh-ed25519", host_key)
            client.connect("127.0.0.1", port, "root", key_filename=str(peer_image.ssh_key), timeout=TIME,
                           allow_agent=False, look_for_keys=False)  # fmt: skip
            yield client
    finally:
        process.kill()
        process.wait()


def forwarded_port(monitor: Path) -> int:
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(str(monitor))
        line.sendall(b"info usernet\n")
        shown = b""
        while not (found := re.search(rb"HOST_FORWARD\].*?127\.0\.0\.1\s+(\d+)", shown)):
            shown += line.recv(4096)
        return int(found[1])


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


@pytest.mark.parametrize("ending", ["destroy", "repair_close"])
def test_endings_that_need_root(peer: paramiko.SSHClient, ending: str) -> None:
    """C19 resets the connection; C33 says nothing to the other side."""
    steps = [
        {"do": "listen", "host": "127.0.0.1", "port": 4000},
        {"do": "connect", "sock": "c", "host": "127.0.0.1", "port": 4000},
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
    subprocess.run(command(peer_image, tmp_path, "20", "wsklab.probe"), timeout=TIME, check=True)
    assert "WSKLAB-PROBE" in (tmp_path / "debug.log").read_text()


def test_a_second_look_up_is_quick_and_silent(peer_image: images.Image) -> None:
    assert images.ensure("peer", {}, pytest.fail) == peer_image
    assert peer_image.ssh_key.stat().st_mode & 0o777 == 0o600
