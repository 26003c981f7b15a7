"""The socket of a machine's monitor: for its owner alone, wherever its folder is."""

from __future__ import annotations

import asyncio
import socket
import stat
from pathlib import Path
from unittest.mock import create_autospec

import pytest
from qemu.qmp import QMPError

from wsklab.qemu.monitor import MONITOR, _loop, _unretrieved, listening


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
