"""Which build broke it: the search among builds in their order, some of which cannot be judged. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from wsklab.orchestrator.errors import UsageError

Outcome = Literal["good", "bad", "skip"]

MANIFEST = "builds.txt"
"""In the folder of builds: their order, oldest first, a path on each line; `#` begins a comment."""

Order = Literal["manifest", "name", "mtime"]


@dataclass(frozen=True)
class Build:
    """One build; `name` is what the user calls it."""

    name: str
    file: Path


@dataclass(frozen=True)
class Found:
    """Places of the last good and of the first bad build, and of those between them that could not be judged."""

    good: int
    bad: int
    skipped: tuple[int, ...]


def search(count: int, test: Callable[[int], Outcome]) -> Found:
    """Search builds 0 (good) to `count` - 1 (bad), with as few tests as can be; each build is tested once at most."""
    good, bad, skipped = 0, count - 1, set[int]()
    while open_ := [place for place in range(good + 1, bad) if place not in skipped]:
        middle = min(open_, key=lambda place: (abs(2 * place - good - bad), place))
        outcome = test(middle)
        if outcome == "good":
            good = middle
        elif outcome == "bad":
            bad = middle
        else:
            skipped.add(middle)
    return Found(good, bad, tuple(sorted(place for place in skipped if good < place < bad)))


def most_tests(count: int) -> int:
    """Return how many of `count` builds are tested, both ends among them, if each can be judged."""
    return min(count, 2 + (count - 2).bit_length())


def judged(verdicts: Mapping[str, Sequence[str]], signature: set[str]) -> Outcome:
    """Return what a run says of a build: bad when one of the scenarios of the `signature` did not pass in it.

    `verdicts`: scenario -> the verdict of each row. What the lab did wrong says nothing of the build.
    """
    seen = [verdict for name in signature for verdict in verdicts.get(name, ())]
    if any(verdict in ("fail", "inconclusive") for verdict in seen):
        return "bad"
    enough = all("pass" in verdicts.get(name, ()) for name in signature)
    return "good" if enough and "infra" not in seen else "skip"


def first(verdicts: Mapping[str, Sequence[str]]) -> Outcome:
    """Return what the bad build's first run says: bad when anything did not pass; nothing when nothing was judged."""
    if broken(verdicts):
        return "bad"
    return "good" if any("pass" in seen for seen in verdicts.values()) else "skip"


def broken(verdicts: Mapping[str, Sequence[str]]) -> set[str]:
    """Return the scenarios of a run that did not pass; `inconclusive` only where nothing failed."""
    for verdict in ("fail", "inconclusive"):
        if found := {name for name, seen in verdicts.items() if verdict in seen}:
            return found
    return set()


def builds(folder: Path, order: Order | None) -> list[Build]:
    """Return the builds in a folder, oldest first: files *.sys, or folders with one in each. Raises UsageError."""
    if not folder.is_dir():
        raise UsageError(f"{folder}: is no folder; name the one that holds the builds with --driver-dir.")
    manifest = folder / MANIFEST
    if order == "manifest" or (order is None and manifest.exists()):
        return _listed(folder, manifest)
    found = [Build(path.stem, path) for path in folder.glob("*.sys") if path.is_file()]
    for inside in [path for path in folder.iterdir() if path.is_dir()]:
        files = sorted(inside.rglob("*.sys"))
        if len(files) > 1:
            raise UsageError(f"{inside}: holds {len(files)} files *.sys; say which are meant in {manifest}.")
        found += [Build(inside.name, file) for file in files]
    if order == "mtime":
        return sorted(found, key=lambda build: (build.file.stat().st_mtime_ns, natural(build.name)))
    return sorted(found, key=lambda build: natural(build.name))


def _listed(folder: Path, manifest: Path) -> list[Build]:
    try:
        lines = manifest.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise UsageError(f"{manifest}: cannot be read: {getattr(error, 'strerror', 'it is not UTF-8 text')}.") from None
    found = []
    for number, line in enumerate(lines, 1):
        word = line.partition("#")[0].strip()
        if not word:
            continue
        path = folder / word
        files = [path] if path.is_file() else sorted(path.rglob("*.sys"))
        if len(files) != 1:
            raise UsageError(f"{manifest}:{number}: '{word}' is neither a file nor a folder with one file *.sys.")
        found.append(Build(word, files[0]))
    return found


def natural(name: str) -> list[tuple[int, int, str]]:
    """Return a key by which build-9 comes before build-10."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"([0-9]+)", name) if part]


def between(found: Sequence[Build], good: str, bad: str) -> list[Build]:
    """Return the builds from `good` to `bad`, as the user calls them. Raises UsageError."""
    places = []
    for word in (good, bad):
        place = [n for n, build in enumerate(found) if word in (build.name, str(build.file), build.file.name)]
        if len(place) != 1:
            which = "is no build" if not place else "is the name of several builds"
            known = ", ".join(build.name for build in found[:20]) or "none"
            raise UsageError(f"'{word}' {which} in this folder; there are {known}{', ...' if len(found) > 20 else ''}.")
        places += place
    if places[0] >= places[1]:
        raise UsageError(f"{good} is not older than {bad} in this order; --order or {MANIFEST} says what is older.")
    return list(found[places[0] : places[1] + 1])
