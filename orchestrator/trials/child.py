"""`wsklab` in a process of its own, to which faults are done: what it says, when, and who outlives it."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from wsklab.orchestrator.errors import ALL_PASS, INTERRUPTED, NOT_PROVEN, SOME_FAIL, WRONG_USAGE, LabError
from wsklab.qemu.deadline import left, within

LIMIT = 300.0
"""Seconds after which a command is killed; none of these takes half as long on the slowest host."""

ENDS = {
    ALL_PASS: "pass",
    SOME_FAIL: "fail",
    WRONG_USAGE: "refused",
    NOT_PROVEN: "not proven",
    INTERRUPTED: "interrupted",
}


class Child:
    """A command under way; killed with its children when the block ends before it does."""

    def __init__(self, *words: str, prelude: str = "", **environment: str) -> None:
        """`prelude`: Python that runs in the process before anything else, to prepare a fault."""
        self.said: list[tuple[float, str]] = []
        """Each line of its output, errors included, with the time at which it came (monotonic)."""
        self._stack = ExitStack()
        self._family: dict[int, int] = {}
        # A shell ignores SIGINT for what it runs in the background, and children inherit that.
        self.process = subprocess.Popen(
            ["env", "--default-signal=INT", sys.executable, *_program(prelude), *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env=os.environ | {"PYTHONUNBUFFERED": "1", "WSKLAB_HISTORY": "off"} | environment,
        )
        self._timer = threading.Timer(LIMIT, self.process.kill)
        self._timer.daemon = True
        self._timer.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()
        self._stack.close()

    def until(self, text: str) -> None:
        """Read its output up to the line that holds `text`. Raises LabError when it ends before."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.said.append((time.monotonic(), line.strip()))
            if text in line:
                return
        raise LabError(f"it ended before it said {text!r}: {self.last}")

    def end(self) -> int:
        """Read the rest of its output; returns its exit code."""
        assert self.process.stdout is not None
        if not self.process.stdout.closed:
            for line in self.process.stdout:
                self.said.append((time.monotonic(), line.strip()))
        return self.process.wait()

    @property
    def ended_as(self) -> str:
        """What it came to, in a word and its exit code."""
        code = self.process.wait()
        return f"{ENDS.get(code, 'killed')} (exit {code})"

    @property
    def last(self) -> str:
        """Its last line."""
        return next((line for _, line in reversed(self.said) if line), "nothing")

    def when(self, text: str) -> tuple[float, str] | None:
        """Return the first line that holds `text`."""
        return next((found for found in self.said if text in found[1]), None)

    def meet_family(self) -> None:
        """Take hold of all its descendants as they are now, so that their ends can be waited for (pidfd_open(2))."""
        for pid in descendants(self.process.pid):
            with suppress(ProcessLookupError):
                self._family[pid] = os.pidfd_open(pid)
                self._stack.callback(os.close, self._family[pid])

    @property
    def family(self) -> Iterable[int]:
        """Their process numbers."""
        return self._family

    def outlived(self, patience: float) -> int:
        """How many of these live still, `patience` seconds from now."""
        deadline = within(patience)
        return sum(not _ended(handle, deadline) for handle in self._family.values())


def _program(prelude: str) -> list[str]:
    """Python's words for `wsklab`."""
    if not prelude:
        return ["-m", "wsklab.orchestrator"]
    return ["-c", f"{prelude}\nfrom wsklab.orchestrator.__main__ import entry\nentry()"]


def _ended(handle: int, deadline: float) -> bool:
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(1000 * left(deadline)))


def descendants(pid: int) -> list[int]:
    """Return the children of a process, and theirs."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in map(int, task.read_text().split()):
                found += [child, *descendants(child)]
    return found
