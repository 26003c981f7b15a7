"""KD clients of other people, each as a program of its own, on the line that the lab lends: written against real
kernels, and knowing nothing of this one. pykdclient (GPL) listens and continues; ntoseye (MIT) breaks in and looks.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.kd_lent import WAIT, Lent, handed_over
from support.kd_target import CODE_BASE, Run, serve

from wsklab.qemu.kd.events import Standing

BINARIES = Path(sys.executable).parent


class Kernel:
    """A kernel on the lent line that counts aloud, and loads a module or crashes when it is told to."""

    def __init__(self, lent: Lent) -> None:
        self.load, self.crash = threading.Event(), threading.Event()
        self._lent = lent
        threading.Thread(target=serve, args=(lent.target, lent.guest, self._life()), daemon=True).start()

    def _life(self) -> Iterator[Run]:
        target, said = self._lent.target, 0
        while not self.crash.is_set():
            for _ in range(5):
                yield target.idle(0.01)
            if self.load.is_set():
                self.load.clear()
                yield target.load("\\SystemRoot\\system32\\drivers\\late.sys")
            said += 1
            yield target.print(b"line %d\n" % said)
        yield target.bugcheck(0xD1, (1, 2, 3, 4))
        yield target.bugcheck_end()


@pytest.fixture
def lent(tmp_path: Path) -> Iterator[Lent]:
    one = Lent(tmp_path)
    yield one
    one.close()


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []

    def start(*words: str) -> subprocess.Popen[bytes]:
        environment = os.environ | {"PYTHONUNBUFFERED": "1", "HOME": str(tmp_path)}
        started.append(
            subprocess.Popen(
                [str(BINARIES / words[0]), *words[1:]],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        )
        return started[-1]

    yield start
    for one in started:
        one.kill()
        one.communicate()


def read_until(process: subprocess.Popen[bytes], wanted: str) -> str:
    """Return what a program says up to some words. Fails where it ends or is silent before."""
    assert process.stdout is not None
    said = b""
    while wanted.encode() not in said:
        assert select.select([process.stdout], [], [], WAIT)[0], f"silent after: {said.decode()}"
        data = os.read(process.stdout.fileno(), 65536)
        assert data, f"ended after: {said.decode()}"
        said += data
    return said.decode()


def heard_again(lent: Lent) -> None:
    """See that the lab's own session has the line again, and hears what comes."""
    handed_over(lent, False)
    while not lent.lines.empty():
        lent.lines.get_nowait()
    assert lent.lines.get(timeout=WAIT).startswith("line ")


def test_one_that_listens_prints_acknowledges_and_continues(
    lent: Lent, client: Callable[..., subprocess.Popen[bytes]]
) -> None:
    kernel = Kernel(lent)
    assert lent.lines.get(timeout=WAIT) == "line 1"
    for _ in range(2):  # it goes, and comes again
        process = client("pykdclient", "--verbose", "--host", "127.0.0.1", "--port", str(lent.port))
        read_until(process, "DbgPrint: line ")
        stops = len(lent.target.statuses)
        kernel.load.set()
        read_until(process, "State change: 00003031")
        read_until(process, "DbgPrint: line ")
        assert len(lent.target.statuses) == stops + 1, "the target went on by its request, and by no other"
        process.terminate()
        heard_again(lent)
    assert lent.told == []


def test_one_that_listens_finds_a_crashed_target_in_its_stop(
    lent: Lent, client: Callable[..., subprocess.Popen[bytes]]
) -> None:
    stands = threading.Event()
    lent.kd._pump.subscribe(lambda _t, event: stands.set() if isinstance(event, Standing) else None)
    Kernel(lent).crash.set()
    assert stands.wait(WAIT)
    process = client("pykdclient", "--verbose", "--host", "127.0.0.1", "--port", str(lent.port))
    read_until(process, "State change: 00003030")


def test_one_that_breaks_in_reads_registers_and_memory_and_leaves_the_target_running(
    lent: Lent, client: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    """What it wants next is the kernel's own file in memory, which a simulated target has not."""
    Kernel(lent)
    assert lent.lines.get(timeout=WAIT) == "line 1"
    with _as_unix_socket(tmp_path / "kd.sock", lent.port) as path:
        process = client(
            "ntoseye", "--plain-repl", "--batch", "--memory-source", "kd", "--connect", str(path), "--command", "r"
        )
        said = read_until(process, "PE view failed")
    assert "waiting for Windows KD target" in said and "memory source kd" in said
    assert {0x3130, 0x3132, 0x3135, 0x3137, 0x3146} <= lent.target.asked
    assert CODE_BASE in lent.target.read
    process.wait(WAIT)
    heard_again(lent)


@contextlib.contextmanager
def _as_unix_socket(path: Path, port: int) -> Iterator[Path]:
    """Do what `socat UNIX-LISTEN:PATH TCP:127.0.0.1:PORT` does, for one connection."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()

        def join() -> None:
            near, far = listener.accept()[0], socket.create_connection(("127.0.0.1", port))
            for source, to in ((near, far), (far, near)):
                threading.Thread(target=_pass_on, args=(source, to), daemon=True).start()

        threading.Thread(target=join, daemon=True).start()
        yield path


def _pass_on(source: socket.socket, to: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            to.sendall(data)
        to.shutdown(socket.SHUT_RDWR)
