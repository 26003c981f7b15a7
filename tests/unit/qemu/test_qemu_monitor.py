"""The socket of a machine's monitor: for its owner alone, wherever its folder is."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

from wsklab.qemu.monitor import MONITOR, listening


def test_the_socket_is_its_owners_alone_and_its_folders_name_may_be_long(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 40)
    folder.mkdir()
    (folder / MONITOR).touch()  # left over
    end = listening(folder)
    assert end is not None
    mode = (folder / MONITOR).stat().st_mode
    assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o600
    short = tmp_path / "short"
    short.symlink_to(folder / MONITOR)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(short))
    end.close()


def test_a_machine_does_without_where_there_can_be_none(tmp_path: Path) -> None:
    assert listening(tmp_path / "not-there") is None
