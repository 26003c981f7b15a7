"""The catalogue: the built-in scenarios, and the choice of some of them by name, tag or path."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from pathlib import Path

from wsklab.common.text import quoted
from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.scenario.scenario import ANY_DRIVER, Scenario, load

SUFFIXES = (".yaml", ".yml")

LONGEST_NAME = 64
"""Characters of a scenario's name."""

BUILT_IN = Path(__file__).parent / "files"
FOR_ANY_DRIVER = BUILT_IN / ANY_DRIVER
"""Scenarios for drivers that can only be connected and observed, in a folder of their own."""


@cache
def built_in() -> tuple[Scenario, ...]:
    """Return the suite of the lab's own driver, by file name."""
    return tuple(load(path) for path in sorted(BUILT_IN.glob("*.yaml")))


@cache
def any_driver() -> tuple[Scenario, ...]:
    """Return the suite of everybody else's drivers, by file name."""
    return tuple(load(path) for path in sorted(FOR_ANY_DRIVER.glob("*.yaml")))


def select(
    words: Sequence[str],
    tags: Sequence[str] = (),
    exclude: Sequence[str] = (),
    suite: Callable[[], Sequence[Scenario]] = built_in,
) -> list[Scenario]:
    """Return what the command line names: scenario names, tags, files or folders; nothing named is the `suite`.

    Every file is read and checked before anything is booted. Raises UsageError.
    """
    chosen = [scenario for word in words for scenario in _resolve(word, suite)] if words else list(suite())
    if tags or exclude:
        known = tags_of([*suite(), *chosen])
        for tag in (*tags, *exclude):
            if tag not in known:
                raise UsageError(f"no scenario has the tag '{tag}'; there are {', '.join(sorted(known))}.")
    if tags:
        chosen = [s for s in chosen if set(tags) & set(s.tags)]
    chosen = [s for s in chosen if not set(exclude) & set(s.tags)]
    unique: dict[str, Scenario] = {}
    for scenario in chosen:
        if unique.setdefault(scenario.name, scenario) != scenario:
            raise UsageError(
                f"two different scenarios are called '{scenario.name}': results are kept by name, so one "
                "of them needs another."
            )
    if not unique:
        raise UsageError("these choices leave no scenario to run; `wsklab scenario list` shows names and tags.")
    return list(unique.values())


def tags_of(scenarios: Iterable[Scenario]) -> set[str]:
    """Every tag that one of them has."""
    return {tag for scenario in scenarios for tag in scenario.tags}


def _resolve(word: str, suite: Callable[[], Sequence[Scenario]]) -> list[Scenario]:
    path = Path(word)
    if path.suffix in SUFFIXES or "/" in word:
        return [load(file) for file in files([path])]
    for named in (BUILT_IN / f"{word}.yaml", FOR_ANY_DRIVER / f"{word}.yaml"):
        if len(word) <= LONGEST_NAME and named.exists():
            return [load(named)]  # a single name does not make the whole catalogue be read
    tagged = [s for s in (any_driver() if word == ANY_DRIVER else suite()) if word in s.tags]
    if tagged:
        return tagged
    names = [s.name for s in suite()] + sorted(tags_of(suite()))
    import difflib  # for a mistake alone

    close = difflib.get_close_matches(word[:LONGEST_NAME], names, 3)
    hint = f"did you mean {' or '.join(close)}?" if close else "`wsklab scenario list` shows names and tags."
    raise UsageError(f"no scenario, tag or file '{quoted(word)}'; {hint}")


def files(paths: Iterable[Path]) -> list[Path]:
    """Return the scenario files among `paths`, folders searched. Raises UsageError for what is not there."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            # What may not be entered is passed over; rglob() would end there.
            inside = sorted(
                Path(at, name) for at, _, names in os.walk(path) for name in names if name.endswith(SUFFIXES)
            )
            if not inside:
                raise UsageError(f"{path}: no {' or '.join(SUFFIXES)} file in this folder.")
            found += inside
        elif path.exists():
            found.append(path)
        else:
            raise UsageError(f"{path}: no such file.")
    return found
