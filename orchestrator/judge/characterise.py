"""Characterisation: where the documents do not say what a target does (mark X), its behaviour is recorded, not judged.

The recorded behaviour of a target is kept in `characterisations/<target>.yaml`; a run that differs from it reports a
finding. The first measurement on a new target is a result, never a pass or a fail. Pure, but for reading the file.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).parent / "characterisations"


def behaviour(observed: dict[str, Any]) -> dict[str, Any]:
    """What of `results.json`'s `observed` is the target's own behaviour, in a form that compares and reads well."""
    return {
        "disconnects": [f"{d['flags']:08x}" for d in observed["disconnects"]],
        "receives": [_transfer(r) for r in observed["receives"]],
        "sends": [_transfer(s) for s in observed["sends"]],
        "driver": [" ".join(sent) for sent in observed["wire"]["driver"]],
    }


def _transfer(done: dict[str, Any]) -> str:
    return f"{done['status']} {done['length']}"


def compare(name: str, seen: dict[str, Any], known: dict[str, Any] | None) -> list[str]:
    """Return in which points a scenario's behaviour is not the one recorded for this target.

    Where two things race, a record has more than one: `or` lists in which points the others differ from the first.
    """
    if known is None:
        return [f"{name} has not been characterised on this target before: {_short(seen)}"]
    every = [_differences(name, seen, known | other) for other in ({}, *known.get("or", []))]
    return every[0] if all(every) else []


def _differences(name: str, seen: dict[str, Any], known: dict[str, Any]) -> list[str]:
    return [
        f"{name}: {point} {_list(seen[point])}, recorded before {_list(known.get(point, []))}"
        for point in seen
        if seen[point] != known.get(point, [])
    ]


def _short(seen: dict[str, Any]) -> str:
    return ", ".join(f"{point} {_list(values)}" for point, values in seen.items())


def _list(values: list[str]) -> str:
    return "; ".join(values) or "none"


@cache
def recorded(target: str) -> dict[str, dict[str, Any]]:
    """Scenario -> behaviour, as kept for `target`; empty for a target that has never been characterised."""
    path = FOLDER / f"{target}.yaml"
    return yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else {}


def document(behaviours: dict[str, dict[str, Any]]) -> str:
    """The file that a run writes, and that becomes the record when it is put into `characterisations/`."""
    return yaml.safe_dump(behaviours, sort_keys=True, width=110)
