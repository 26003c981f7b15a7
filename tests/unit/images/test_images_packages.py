"""The making of a guest's tree out of packages: however it ends, nothing of it goes on."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.damage import flip

from wsklab.images import packages


@pytest.mark.parametrize("file", ["root.tar", "modules/00-virtio.ko"])
def test_damaged_packages_are_not_made_into_an_image(tmp_path: Path, file: str) -> None:
    stage = packages.PackageStage(tmp_path)
    (tmp_path / "modules").mkdir()
    for name in ("root.tar", "vmlinuz", "modules/00-virtio.ko"):
        (tmp_path / name).write_bytes(b"some content")
    assert not stage.intact, "nobody has vouched for it"
    stage.seal()
    assert stage.intact
    flip(tmp_path / file)
    assert not stage.intact


PARENT = """
import os, sys
from pathlib import Path
from wsklab.images import packages
folder = Path(sys.argv[1])
# As mmdebstrap does it: something unpacked, somebody who waits, and (as root) daemons that leave the process group.
daemon = "setsid sleep 600" if os.geteuid() == 0 else "sleep 600"
script = f'exec 3>{folder}/alive; mount -t tmpfs none {folder}/tree 2>/dev/null; {daemon} & echo begun >&3; sleep 600'
packages._run(["sh", "-c", script], folder, folder / "log")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_goes_on_after_us(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "tree").mkdir()
    os.mkfifo(tmp_path / "alive")
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(tmp_path)],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    with (tmp_path / "alive").open("rb", buffering=0) as alive:
        assert alive.readline() == b"begun\n"
        parent.send_signal(number)
        assert select.select([alive], [], [], 10)[0], "somebody still holds the pipe"
        assert alive.read() == b"", "everybody who held the pipe has ended"
    parent.communicate()
    assert str(tmp_path) not in Path("/proc/mounts").read_text()


@pytest.mark.parametrize(
    ("log", "sentence"),
    [
        (
            "Err:1 x\n  Temporary failure resolving 'deb.example'\nE: mmdebstrap failed to run\n",
            "apt does not reach its mirror; check the network",
        ),
        (
            "E: unable to pick chroot mode automatically (use --mode for manual selection)\n",
            "--add-subuids 300000-365535",
        ),
        ("I: x\nE: cannot execute dpkg-deb\nE: hook failed\n", "could not make the guest 'peer': hook failed"),
        ("", "could not make the guest 'peer'"),
    ],
)
def test_what_mmdebstrap_says_is_explained(log: str, sentence: str) -> None:
    said = packages.explain(log, "peer")
    assert sentence in said
    assert "\n" not in said
