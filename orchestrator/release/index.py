"""`evidence.sha256`: every file of a qualification with its hash, in the format that `sha256sum -c` reads."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from wsklab.images.secure import sha256
from wsklab.orchestrator.release.envelope import Refused
from wsklab.orchestrator.release.records import RUNS

NAME = "evidence.sha256"

ENVELOPE = ".dsse.json"
"""How the names of signed files end, which the index cannot hold: they hold its hash."""


def files_of(folder: Path) -> Iterator[str]:
    """Yield the regular files of a qualification, by path, but for the index, envelopes, locks and hidden files."""
    for at, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(at, name)
            relative = path.relative_to(folder).as_posix()
            if name.startswith(".") or relative == NAME or (name == relative and name.endswith(ENVELOPE)):
                continue
            if stat.S_ISREG(path.lstat().st_mode):
                yield relative


def made(folder: Path) -> str:
    """Return the index of what is in a folder. Raises OSError."""
    return "".join(f"{sha256(folder / name)}  {name}\n" for name in sorted(files_of(folder)))


def parse(content: bytes) -> dict[str, str]:
    """Return path -> SHA-256. Raises Refused for what is no index, or leads out of its folder."""
    found = dict[str, str]()
    for line in content.decode("utf-8", "replace").splitlines():
        digest, _, name = line.partition("  ")
        path = PurePosixPath(name)
        if len(digest) != 64 or not name or path.is_absolute() or ".." in path.parts or name in found:
            raise Refused(f"{NAME} is not an index of files")
        found[name] = digest
    return found


def prunable(name: str) -> bool:
    """Return whether a file may be gone later: evidence, and logs of labs; no row depends on it."""
    parts = PurePosixPath(name).parts
    return len(parts) > 4 and parts[0] == RUNS and (parts[3] == "evidence" or parts[3].startswith("lab-"))


@dataclass(frozen=True)
class Compared:
    """What is otherwise than the index says."""

    changed: tuple[str, ...]
    missing: tuple[str, ...]
    """That must be there."""
    pruned: tuple[str, ...]
    """That may be gone."""
    added: tuple[str, ...]

    @property
    def problem(self) -> str | None:
        """In a clause; None when there is none."""
        for names, what in (
            (self.changed, "is not what it was when it was signed"),
            (self.missing, "is not there"),
            (self.added, "was put there after it was signed"),
        ):
            if names:
                more = f" (and {len(names) - 1} more)" if len(names) > 1 else ""
                return f"{names[0]}{more} {what}"
        return None


def compare(folder: Path, index: Mapping[str, str]) -> Compared:
    """Compare a folder with its index. Raises OSError."""
    here = set(files_of(folder))
    gone = [name for name in index if name not in here]
    return Compared(
        changed=tuple(name for name, digest in index.items() if name in here and sha256(folder / name) != digest),
        missing=tuple(name for name in gone if not prunable(name)),
        pruned=tuple(name for name in gone if prunable(name)),
        added=tuple(sorted(here - set(index))),
    )
