"""A fault that is really done to the lab: what is promised of it, what was seen, and where the two differ."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from wsklab.common.errors import WsklabError
from wsklab.drivers.build import BuiltDriver
from wsklab.orchestrator.run.preparation import Preparation


@dataclass(frozen=True)
class Setup:
    """What the faults are done on: the stand-in, the peer, and the lab's own driver."""

    preparation: Preparation
    driver: BuiltDriver


@dataclass(frozen=True)
class Seen:
    """What became of a fault; seconds from the fault on."""

    verdict: str
    reason: str
    named_after_s: float | None
    """Until the lab said what is the matter; None where there is nothing to say."""
    ended_after_s: float
    """Until the verdict was there, or the command had ended."""
    kept: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    """What could not be kept, and is named in the evidence."""
    left: tuple[str, ...] = ()
    """What should not be there any more, in sentences."""


Do = Callable[[Setup, Path], Seen]
"""Carry out a fault, in an empty folder."""


@dataclass(frozen=True)
class Case:
    """A fault, the verdict that it must get, what must be said of it, and the files that must be kept."""

    part: str
    name: str
    verdict: str
    says: str
    do: Do
    kept: tuple[str, ...] = ()
    panel: bool = False
    """Whether the test suite does it each time; the whole takes too long for that."""


@dataclass(frozen=True)
class Outcome:
    """A case that was done; without problems all that was promised holds."""

    part: str
    fault: str
    seen: Seen
    problems: tuple[str, ...]


def do(case: Case, setup: Setup, folder: Path) -> Outcome:
    """Carry out a fault. One that cannot be done is a problem, too, and ends nothing but itself."""
    folder.mkdir(parents=True)
    began = time.monotonic()
    try:
        seen = case.do(setup, folder)
    except (WsklabError, OSError) as error:
        why = f"it could not be done: {error or type(error).__name__}"
        return Outcome(case.part, case.name, Seen("none", why, None, round(time.monotonic() - began, 1)), (why,))
    return Outcome(case.part, case.name, seen, tuple(problems(case, seen)))


def problems(case: Case, seen: Seen) -> Iterator[str]:
    """Yield what was promised and does not hold, in sentences."""
    if seen.verdict != case.verdict:
        yield f"the verdict is {seen.verdict}, where {case.verdict} was due"
    if case.says not in seen.reason:
        yield f"the reason does not say {case.says!r}"
    yield from (f"{name} is not kept" for name in case.kept if name not in seen.kept)
    yield from seen.left
