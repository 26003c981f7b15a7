"""The work folder of an unfinished image: what has been done stays done when a build is started again."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

STEPS = ("install", "provision", "pack", "verify")
_STATE = "state.json"
_LARGE = (".qcow2", ".iso")
"""Disks and discs: no evidence, for what can be read of them has been taken off, and large."""


class Work:
    """A folder for one image. A step counts as done for one `key`, which covers all that went into it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = _read(folder / _STATE)
        self._done: dict[str, str] = state["done"]
        self.facts: dict[str, Any] = state["facts"]
        """What later steps need to know of earlier ones; secret like the folder."""

    def done(self, step: str, key: str) -> bool:
        """Whether a step has been done with this key, and all before it have been done."""
        before = STEPS[: STEPS.index(step)]
        return all(one in self._done for one in before) and self._done.get(step) == key

    def forget(self, step: str) -> None:
        """Have a step, and all after it, done again."""
        self._done = {one: key for one, key in self._done.items() if STEPS.index(one) < STEPS.index(step)}
        self._save()

    @contextmanager
    def step(self, step: str, key: str) -> Iterator[Path]:
        """Do a step in a fresh folder of its own; it counts as done when this ends without an error.

        What an earlier attempt at it, or at a later one, has left is kept as `STEP.1`, `STEP.2`, ..., but for disks.
        """
        self.forget(step)
        for one in STEPS[STEPS.index(step) :]:
            self._set_aside(one)
        place = self.folder / step
        place.mkdir(mode=0o700)
        yield place
        self._done[step] = key
        self._save()

    def finish(self) -> None:
        """Delete all but the checkpoint: the installed disk, from which provisioning can be repeated."""
        self.forget("provision")
        for path in self.folder.iterdir():
            if path.is_dir() and path.name != "install":
                shutil.rmtree(path)

    def _set_aside(self, step: str) -> None:
        place = self.folder / step
        if not place.exists():
            return
        for path in place.rglob("*"):
            if path.suffix in _LARGE:
                path.unlink()
        number = 1
        while (kept := self.folder / f"{step}.{number}").exists():
            number += 1
        place.rename(kept)

    def _save(self) -> None:
        fresh = self.folder / f"{_STATE}.new"
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
            json.dump({"done": self._done, "facts": self.facts}, out)
        fresh.replace(self.folder / _STATE)


def _read(path: Path) -> dict[str, Any]:
    try:
        state = json.loads(path.read_text())
        done, facts = state["done"], state["facts"]
        if isinstance(facts, dict) and all(step in STEPS and isinstance(key, str) for step, key in done.items()):
            return {"done": done, "facts": facts}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # a damaged state is none
    return {"done": {}, "facts": {}}
