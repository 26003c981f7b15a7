"""The socket of a machine's monitor: for its owner alone, wherever its folder is."""

from __future__ import annotations

import asyncio
import json
import socket
import stat
import threading
from pathlib import Path
from unittest.mock import create_autospec

import pytest
from qemu.qmp import QMPError

from wsklab.qemu.deadline import within
from wsklab.qemu.errors import DeadlinePassed, GuestDied
from wsklab.qemu.logfile import LogFile
from wsklab.qemu.monitor import MONITOR, Qmp, _loop, _unretrieved, listening


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


GREETING = b'{"QMP": {"version": {"qemu": {"micro": 0, "minor": 2, "major": 7}, "package": ""}, "capabilities": []}}\n'


class Silent(threading.Thread):
    """QEMU that greets, and then answers nothing more: it is stopped."""

    def __init__(self, end: socket.socket) -> None:
        super().__init__(daemon=True)
        self.end = end

    def run(self) -> None:
        self.end.sendall(GREETING)
        asked = json.loads(self.end.recv(1 << 16))
        self.end.sendall(json.dumps({"return": {}, "id": asked.get("id")}).encode() + b"\n")


def test_who_answers_nothing_is_not_gone(tmp_path: Path) -> None:
    """A question to a QEMU that was stopped said "QEMU is gone", and each one after it was waited for."""
    ours, theirs = socket.socketpair()
    Silent(theirs).start()
    qmp = Qmp("target", ours, LogFile(tmp_path / "qmp.log"), lambda _event: None)
    qmp.connect(within(10))
    with pytest.raises(DeadlinePassed, match="QEMU did not answer in time: query-status"):
        qmp.execute("query-status", within(0.01))
    theirs.close()
    with pytest.raises(GuestDied, match="QEMU is gone, query-status was not done"):
        qmp.execute("query-status", within(10))
    qmp.close()


def logged(context: dict[str, object]) -> bool:
    """Tell whether asyncio's own handler is asked."""
    loop = create_autospec(asyncio.AbstractEventLoop)
    _unretrieved(loop, context)
    return bool(loop.default_exception_handler.called)


@pytest.mark.parametrize("error", [EOFError(), ConnectionResetError(), QMPError()])
def test_a_connection_that_broke_is_not_logged(error: Exception) -> None:
    """`wsklab mutate`, interrupted, ended with "_GatheringFuture exception was never retrieved" once."""
    assert not logged({"message": "_GatheringFuture exception was never retrieved", "exception": error})


def test_a_mistake_is_logged() -> None:
    assert logged({"message": "Task exception was never retrieved", "exception": KeyError("x")})
    assert logged({"message": "no exception at all"})


def test_the_loop_of_all_machines_logs_so() -> None:
    assert _loop().get_exception_handler() is _unretrieved
