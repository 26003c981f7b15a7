"""The socket of a machine's monitor: for its owner alone, wherever its folder is."""

from __future__ import annotations

import asyncio
import gc
import socket
import stat
from pathlib import Path

import pytest

from wsklab.qemu.monitor import MONITOR, _loop, listening


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


@pytest.mark.parametrize(
    ("error", "said"), [(EOFError(), False), (ConnectionResetError(), False), (KeyError("x"), True)]
)
def test_a_connection_that_broke_is_not_logged_and_a_mistake_is(
    error: Exception, said: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """`wsklab mutate`, interrupted, ended with "_GatheringFuture exception was never retrieved" once."""

    async def failing() -> None:
        raise error

    async def forgotten() -> None:
        task = asyncio.ensure_future(failing())
        await asyncio.wait([task])
        del task
        gc.collect()

    asyncio.run_coroutine_threadsafe(forgotten(), _loop()).result()
    assert ("never retrieved" in caplog.text) is said
