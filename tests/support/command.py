"""The product as a user runs it: a command in a process of its own, and what it left behind."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsklab.qemu.deadline import left

ROOT = Path(__file__).parents[2]


@dataclass
class Finished:
    """A command that has ended."""

    code: int
    stdout: str
    stderr: str
    folder: Path

    @property
    def results(self) -> dict[str, Any]:
        """The run's results.json."""
        document: dict[str, Any] = json.loads((self.folder / "results.json").read_text())
        return document

    def scenario(self, name: str) -> dict[str, Any]:
        """One scenario's entry."""
        return next(s for s in self.results["scenarios"] if s["name"] == name)

    @property
    def verdicts(self) -> dict[str, str]:
        """Scenario -> verdict."""
        return {s["name"]: s["verdict"] for s in self.results["scenarios"]}


def command(*words: str) -> list[str]:
    """`wsklab` with these words."""
    return [sys.executable, "-m", "wsklab.orchestrator", *words]


def wsklab(*words: str, cwd: Path = ROOT, timeout: float = 600, **environment: str) -> Finished:
    """Run a command to its end."""
    done = subprocess.run(
        command(*words),
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
        env=os.environ | environment,
    )
    return Finished(done.returncode, done.stdout, done.stderr, cwd)


def run(folder: Path, *words: str, **environment: Any) -> Finished:
    """`wsklab run`, into a fresh folder."""
    finished = wsklab("run", *words, "--out", str(folder), **environment)
    finished.folder = folder
    return finished


def processes_of(folder: Path) -> list[str]:
    """Command lines of living processes that speak of `folder` or run in it, as QEMU does, ours excluded."""
    return list(_processes(folder).values())


def pids_of(folder: Path) -> list[int]:
    """Their process numbers, of QEMU alone."""
    return [pid for pid, line in _processes(folder).items() if line.startswith("qemu-system")]


@contextmanager
def deaths_of(folder: Path, but: int) -> Iterator[Callable[[float], None]]:
    """Whoever speaks of `folder` or runs in it; yields how to wait for the end of them all (pidfd_open(2))."""
    with ExitStack() as stack:
        handles = []
        for pid in _processes(folder):
            if pid != but:
                handles.append(os.pidfd_open(pid))
                stack.callback(os.close, handles[-1])

        def wait(deadline: float) -> None:
            for handle in handles:
                poll = select.poll()
                poll.register(handle, select.POLLIN)
                assert poll.poll(1000 * left(deadline)), "a process outlives the command that started it"

        yield wait


def _processes(folder: Path) -> dict[int, str]:
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            place = (entry / "cwd").readlink()
        except OSError:
            continue
        if (str(folder) in line or place.is_relative_to(folder)) and state != "Z":
            found[int(entry.name)] = line
    return found


def start(folder: Path, *words: str, **environment: str) -> subprocess.Popen[str]:
    """`wsklab run` in the background, output as it comes."""
    return start_command(ROOT, "run", *words, "--out", str(folder), **environment)


def start_command(cwd: Path, *words: str, **environment: str) -> subprocess.Popen[str]:
    """Any command in the background, output as it comes."""
    return subprocess.Popen(
        command(*words),
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment | {"PYTHONUNBUFFERED": "1"},
        # A shell ignores SIGINT for what it runs in the background, and its children would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def read_until(process: subprocess.Popen[str], text: str) -> list[str]:
    """Yield lines of the command's output up to the one that holds `text`; fails when the command ends first."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return lines
    errors = process.stderr.read() if process.stderr else ""
    raise AssertionError(f"the command ended before it said {text!r}: {lines} {errors}")


def send(process: subprocess.Popen[str], number: signal.Signals) -> None:
    """Send a signal, as a terminal or an administrator would."""
    process.send_signal(number)
