"""Which mutants are run: drawn by seed, built ahead of the labs that take them."""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from wsklab.drivers.build import HOME, BuiltDriver, Rebuild
from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.mutation.mutants import OPERATORS, Mutant, generate
from wsklab.orchestrator.mutation.runs import Built

Code = Literal["driver", "provider"]

FOLDERS: dict[Code, str] = {"driver": "wsklab", "provider": "standin"}

OUTPUTS: dict[Code, str] = {"driver": "wsklab.sys", "provider": "netio.sys"}

TWINS_ALONE = frozenset({"deviations.c"})
"""What the correct build does not call: a mutant of it is the correct build."""

AHEAD = 2
"""Builds that wait for a lab, for each processor."""


@dataclass(frozen=True)
class Candidates:
    """All mutants of some code, and the sources that they are made from, by file."""

    mutants: tuple[Mutant, ...]
    sources: dict[str, str]


@cache
def candidates(code: Code) -> Candidates:
    """Every mutant of the driver or the provider."""
    sources = {
        f"{FOLDERS[code]}/{path.name}": path.read_text(encoding="utf-8")
        for path in sorted((HOME / FOLDERS[code]).glob("*.c"))
        if path.name not in TWINS_ALONE
    }
    return Candidates(tuple(m for name, text in sources.items() for m in generate(name, text)), sources)


def choose(found: Candidates, files: Sequence[str], operators: Sequence[str], seed: int) -> list[Mutant]:
    """Those of the named files and operators (none: all), in the order drawn by `seed`. Raises UsageError.

    Each mutant's place is drawn from its own id, so that a change elsewhere in the code leaves the order as it was.
    """
    names = {Path(name).name: name for name in found.sources}
    for file in files:
        if Path(file).name not in names:
            raise UsageError(f"there is no source file '{file}' to mutate; there are {', '.join(names)}.")
    for operator in operators:
        if operator not in OPERATORS:
            raise UsageError(f"there is no operator '{operator}'; there are {', '.join(OPERATORS)}.")
    wanted = {names[Path(file).name] for file in files} or set(found.sources)
    chosen = [m for m in found.mutants if m.file in wanted and (not operators or m.operator in operators)]
    return sorted(chosen, key=lambda m: hashlib.sha256(f"{seed} {m.id}".encode()).digest())


class Builder:
    """A stream of mutants that compile to something of their own, no two the same; counts what it leaves out."""

    def __init__(self, rebuild: Rebuild, sources: dict[str, str]) -> None:
        self._rebuild = rebuild
        self._sources = sources
        self._seen: set[str] = set()
        self.without_effect = 0

    def stream(self, mutants: Iterable[Mutant], count: int) -> Iterator[Built]:
        """Yield the first `count` that are fit, in order; a few are always being built ahead."""
        workers = os.cpu_count() or 1
        waiting: deque[tuple[Mutant, Future[BuiltDriver | None]]] = deque()
        left = iter(mutants)
        with ThreadPoolExecutor(workers) as pool:
            while count > 0:
                while len(waiting) < AHEAD * workers and (mutant := next(left, None)) is not None:
                    waiting.append((mutant, pool.submit(self._build, mutant)))
                if not waiting:
                    return
                mutant, future = waiting.popleft()
                driver = future.result()
                if driver is None or driver.sha256 in self._seen:
                    self.without_effect += 1
                    continue
                self._seen.add(driver.sha256)
                count -= 1
                yield Built(mutant, self._sources[mutant.file], driver)

    def _build(self, mutant: Mutant) -> BuiltDriver | None:
        return self._rebuild.build(mutant.id, mutant.file, mutant.apply(self._sources[mutant.file]))
