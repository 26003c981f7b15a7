"""The captures that are kept in `tests/captures`, and how they are made anew from runs of the lab.

In `tests/`, with the folder of a finished `wsklab run` of the whole suite, or of one twin and some scenarios:

    python -m support.kept_captures RUN
    python -m support.kept_captures RUN --twin ignores-flag

A capture is the lab's own recording without payload, its log the driver's debug text, both named after the scenario.
Large ones are left out, and so are scenarios that put the lab itself on trial.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from wsklab.drivers.protocol import MARK
from wsklab.orchestrator.field.packets.captures import Notes, packets
from wsklab.orchestrator.field.packets.stripping import stripped

FOLDER = Path(__file__).parents[1] / "captures"
RIGHT, TWINS, ENDINGS = FOLDER / "right", FOLDER / "twins", FOLDER / "endings.yaml"

LARGEST = 40_000
"""Bytes of a capture that is kept."""

NO_TRACE = {"target-address-gone": "C01"}
"""What a capture shows where the scenario's own row leaves no trace on the wire."""

WRONG_ON_PURPOSE = {"enable-wrong-npi": "the event could not be switched on"}
"""What a scenario has the correct driver do wrong, and its log says."""


@dataclass(frozen=True)
class Kept:
    """One capture, with the driver's log beside it."""

    name: str
    capture: Path
    log: Path


@cache
def right() -> tuple[Kept, ...]:
    """Return those of the correct driver."""
    return tuple(_kept(path) for path in sorted(RIGHT.glob("*.pcapng")))


@cache
def twins() -> tuple[Kept, ...]:
    """Return those of drivers that are wrong on purpose: TWIN/SCENARIO."""
    return tuple(_kept(path) for path in sorted(TWINS.glob("*/*.pcapng")))


@cache
def endings() -> dict[str, tuple[str, ...]]:
    """Return the rows of the ending table that each capture must be named with."""
    return {name: tuple(rows) for name, rows in yaml.safe_load(ENDINGS.read_text()).items()}


def _kept(path: Path) -> Kept:
    name = path.stem if path.is_relative_to(RIGHT) else f"{path.parent.name}/{path.stem}"
    return Kept(name, path, path.with_suffix(".log"))


def make(run: Path, folder: Path) -> dict[str, list[str]]:
    """Keep what a run has recorded; returns the rows that its scenarios cover."""
    folder.mkdir(parents=True, exist_ok=True)
    rows: dict[str, list[str]] = {}
    for evidence in sorted((run / "evidence").iterdir()):
        scenario = evidence / "scenario.yaml"
        if not scenario.exists() or not (evidence / "wire.pcapng").exists():
            continue
        document, notes = yaml.safe_load(scenario.read_text()), Notes()
        data = b"".join(stripped(packets(evidence / "wire.pcapng", notes), notes))
        if "self-check" in document.get("tags", []) or not LARGEST > len(data) > 200:
            continue
        lines = (evidence / "debug.txt").read_text(errors="replace").splitlines()
        (folder / f"{evidence.name}.pcapng").write_bytes(data)
        (folder / f"{evidence.name}.log").write_text("".join(f"{line}\n" for line in lines if MARK in line))
        own = NO_TRACE.get(evidence.name)
        rows[evidence.name] = [own] if own else [row for row in document.get("covers", []) if row.startswith("C")]
    return rows


def main(run: str, _: str = "", twin: str = "") -> None:
    """Make a run's captures anew."""
    if twin:
        print(f"{twin}: {', '.join(make(Path(run), TWINS / twin))}")
        return
    rows = {name: found for name, found in make(Path(run), RIGHT).items() if found}
    lines = [f"{name}: [{', '.join(found)}]\n" for name, found in sorted(rows.items())]
    ENDINGS.write_text("# Capture: the rows of the ending table with which it must be named.\n" + "".join(lines))
    print(f"{len(right())} captures, {len(rows)} of them with an ending of the table")


if __name__ == "__main__":
    main(*sys.argv[1:])
