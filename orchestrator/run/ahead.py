"""Images that are missing, made by processes of their own while the command goes on with everything else.

Each is what `wsklab image build NAME` does: it has its own interruption in order and leaves nothing half-made, and it
ends with us, however we end.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from wsklab.images.errors import ImageError
from wsklab.qemu.deadline import within
from wsklab.qemu.process import Child

TIDYING = 20.0
"""Seconds for a build to clear away what it has begun."""

AGAIN = 0.2
"""Seconds between two looks at all builds, so that whichever fails ends the wait for any other."""

NOTE = " " * 10
"""What a note of a step begins with on the console; its other lines are of the step itself."""


def build_command(name: str) -> list[str]:
    """Return the command that makes an image; nothing in the working folder is taken for a module of ours."""
    return [sys.executable, "-P", "-m", "wsklab.orchestrator", "image", "build", name]


class Ahead:
    """Builds that go on at the same time; none outlives the `with` block."""

    def __init__(self, say: Callable[[str], None], command: Callable[[str], list[str]] = build_command) -> None:
        self._say = say
        self._command = command
        self._builds: dict[str, _Build] = {}
        self._exit = ExitStack()

    def __enter__(self) -> Self:
        self._folder = Path(self._exit.enter_context(tempfile.TemporaryDirectory(prefix="wsklab-ahead-")))
        return self

    def __exit__(self, *_: object) -> None:
        with self._exit:
            for build in self._builds.values():  # all are told before any is waited for
                build.child.terminate()
            for build in self._builds.values():
                if build.child.wait(within(TIDYING)) is None:
                    build.child.kill()

    def start(self, name: str) -> None:
        """Begin to make an image."""
        child = Child(self._command(name), self._folder / f"{name}.stderr", pipes=True, tidies=True)
        child.stdin.close()
        self._builds[name] = _Build(name, child, self._say)

    def finish(self, name: str) -> float | None:
        """Wait for an image; returns the seconds that it took, None when it was not begun.

        Raises ImageError as soon as any of the builds has failed.
        """
        if name not in self._builds:
            return None
        wanted = self._builds[name]
        while True:
            code = wanted.child.wait(within(AGAIN))
            for build in self._builds.values():
                if build.child.exit_code:
                    raise ImageError(build.complaint)
            if code == 0:
                wanted.reader.join()
                return wanted.ended - wanted.began


class _Build:
    """One build, whose notes are passed on as they come."""

    def __init__(self, name: str, child: Child, say: Callable[[str], None]) -> None:
        self.name, self.child, self._say = name, child, say
        self.began = self.ended = time.monotonic()
        self.reader = threading.Thread(target=self._read, name=f"ahead-{name}", daemon=True)
        self.reader.start()

    def _read(self) -> None:
        for line in self.child.stdout:
            text = line.decode(errors="replace").rstrip()
            if text.startswith(NOTE) and not text.strip().startswith("/"):  # the last one is the image's folder
                self._say(f"{NOTE}{self.name}: {text.strip()}")
        self.ended = time.monotonic()

    @property
    def complaint(self) -> str:
        """What a build that failed has said last."""
        said = self.child.stderr_tail().strip().splitlines()
        last = said[-1].removeprefix("wsklab: ") if said else f"it ended with {self.child.exit_code} and said nothing"
        return f"the image {self.name} could not be made: {last}"
