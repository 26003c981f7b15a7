"""Characterisation: where the documents do not say what a target does (mark X), its behaviour is recorded, not judged.

The recorded behaviour of a target is kept in `characterisations/<target>.yaml`; a run that differs from it reports a
finding. The first measurement on a new target is a result, never a pass or a fail. Pure, but for reading the file.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

import yaml

from wsklab.orchestrator.judge.observed import Observed, Transfer
from wsklab.orchestrator.judge.reading import AT_DISPATCH_LEVEL
from wsklab.orchestrator.observe.lab_notes import Behaviour, KnownBehaviour

FOLDER = Path(__file__).parent / "characterisations"

POINTS: tuple[Literal["disconnects", "receives", "sends", "driver"], ...] = (
    "disconnects",
    "receives",
    "sends",
    "driver",
)
"""In what a target's behaviour is told, in this order."""


def behaviour(observed: Observed) -> Behaviour:
    """Return what of `observed` is the target's own behaviour, in a form that compares and reads well."""
    return {
        "disconnects": [_flags(d["flags"]) for d in observed["disconnects"]],
        "receives": [_transfer(r) for r in observed["receives"]],
        "sends": [_transfer(s) for s in observed["sends"]],
        "driver": [" ".join(sent) for sent in observed["wire"]["driver"]],
    }


def _flags(flags: int | None) -> str:
    """Return the flags but for the IRQL of the call, which may be another one each time (R14)."""
    return "not told" if flags is None else f"{flags & ~AT_DISPATCH_LEVEL:08x}"


def _transfer(done: Transfer) -> str:
    return f"{done['status']} {done['length']}"


def compare(name: str, seen: Behaviour, known: KnownBehaviour | None) -> list[str]:
    """Return in which points a scenario's behaviour is not the one recorded for this target.

    Where two things race, a record has more than one: `or` lists in which points the others differ from the first.
    """
    if known is None:
        return [f"{name} has not been characterised on this target before: {_short(seen)}"]
    others: list[Behaviour] = [{}, *known.get("or", [])]
    every = [_differences(name, seen, known, other) for other in others]
    return every[0] if all(every) else []


def _differences(name: str, seen: Behaviour, known: KnownBehaviour, other: Behaviour) -> list[str]:
    before = {point: other.get(point, known.get(point, [])) for point in POINTS}
    return [
        f"{name}: {point} {_list(seen[point])}, recorded before {_list(before[point])}"
        for point in POINTS
        if point in seen and seen[point] != before[point]
    ]


def _short(seen: Behaviour) -> str:
    return ", ".join(f"{point} {_list(seen[point])}" for point in POINTS if point in seen)


def _list(values: list[str]) -> str:
    return "; ".join(values) or "none"


@cache
def recorded(target: str) -> dict[str, KnownBehaviour]:
    """Scenario -> behaviour, as kept for `target`; empty for a target that has never been characterised."""
    path = FOLDER / f"{target}.yaml"
    if not path.exists():
        return {}
    known: dict[str, KnownBehaviour] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return known


def document(behaviours: dict[str, Behaviour]) -> str:
    """Return the file that a run writes, and that becomes the record when it is put into `characterisations/`."""
    return yaml.safe_dump(behaviours, sort_keys=True, width=110)
