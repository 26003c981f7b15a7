"""The work folder of an unfinished image: what has been done stays done when a build is started again."""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

STEPS = ("disc", "install", "pack", "verify")
_STATE = "state.json"


class Work:
    """A folder that belongs to one set of inputs (`digest`); other inputs begin anew."""

    def __init__(self, folder: Path, digest: str) -> None:
        self.folder = folder
        state = _read(folder / _STATE)
        if state.get("digest") != digest:
            shutil.rmtree(folder, ignore_errors=True)
            state = {"digest": digest, "done": [], "facts": {}}
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._digest = digest
        self._done: list[str] = [step for step in STEPS if step in state["done"]]
        self.facts: dict[str, Any] = state["facts"]
        """What later steps need to know of earlier ones; secret like the folder."""

    def done(self, step: str) -> bool:
        """Whether a step, and all before it, have been done."""
        return self._done == list(STEPS[: len(self._done)]) and step in self._done

    @contextmanager
    def step(self, step: str) -> Iterator[Path]:
        """Do a step in a fresh folder of its own; it counts as done when this ends without an error."""
        place = self.folder / step
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(mode=0o700)
        yield place
        self._done = [*STEPS[: STEPS.index(step)], step]
        self._save()

    def _save(self) -> None:
        fresh = self.folder / f"{_STATE}.new"
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
            json.dump({"digest": self._digest, "done": self._done, "facts": self.facts}, out)
        fresh.replace(self.folder / _STATE)


def _read(path: Path) -> dict[str, Any]:
    try:
        state = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    if isinstance(state, dict) and isinstance(state.get("done"), list) and isinstance(state.get("facts"), dict):
        return state
    return {}
