"""The command's side of its watchdog: it says every second that it lives, and what is under way with which limit."""

from __future__ import annotations

import faulthandler
import functools
import itertools
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wsklab.common import json_line
from wsklab.qemu.process import Child

BEAT = 1.0


class Watchdog:
    """The watchdog's process, started with the first thing that has a limit, and never ended by us."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._stacks = tempfile.TemporaryFile()  # noqa: SIM115  # as long as this process
        faulthandler.register(signal.SIGUSR1, self._stacks, all_threads=True)
        fds = self._stacks.fileno(), os.dup(sys.__stderr__.fileno() if sys.__stderr__ else 2)
        command = [sys.executable, "-m", "wsklab.orchestrator.liveness.watchdog", str(os.getpid()), *map(str, fds)]
        self._child = Child(command, None, pass_fds=fds, pipes=True)
        os.set_blocking(self._child.stdin.fileno(), False)
        threading.Thread(target=self._beat, name="beat", daemon=True).start()

    def begin(self, what: str, limit: float, folder: Path) -> int:
        """Something is under way that may take `limit` seconds; evidence of a hang goes into `folder`."""
        number = next(self._numbers)
        self._say(begin=number, what=what, limit=limit, folder=str(folder.resolve()))
        return number

    def end(self, number: int) -> None:
        """End it."""
        self._say(end=number)

    def pause(self) -> int:
        """Time does not count from now on."""
        number = next(self._numbers)
        self._say(pause=number)
        return number

    def resume(self, number: int) -> None:
        """Count again, unless there is another pause."""
        self._say(resume=number)

    def _beat(self) -> None:
        while self._say(beat=True):
            time.sleep(BEAT)

    def _say(self, **words: object) -> bool:
        try:  # a line this short is written whole or not at all (pipe(7), PIPE_BUF)
            os.write(self._child.stdin.fileno(), json_line.encode(words) + b"\n")
        except OSError:
            return False  # it has been killed or stopped by somebody: work goes on without
        return True


@functools.cache
def _watchdog_of(_pid: int) -> Watchdog:
    return Watchdog()


_ONE = threading.Lock()


@contextmanager
def phase(what: str, limit: float, folder: Path) -> Iterator[None]:
    """Something that must be over within `limit` seconds, or the watchdog ends this process."""
    with _ONE:
        watchdog = _watchdog_of(os.getpid())
    number = watchdog.begin(what, limit, folder)
    try:
        yield
    finally:
        watchdog.end(number)


@contextmanager
def paused() -> Iterator[None]:
    """Stop every limit for a while; that Python runs is watched all the same."""
    with _ONE:
        watchdog = _watchdog_of(os.getpid())
    number = watchdog.pause()
    try:
        yield
    finally:
        watchdog.resume(number)
