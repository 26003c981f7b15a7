"""Kept captures made again: `wsklab repro`, `wsklab run` and `wsklab repro fidelity` for each of them.

In `tests/`, with a new folder for the run, `python -m support.made_again FOLDER [NAME...]` makes all of them, or those
that are named, and writes the table that docs/reference/captures.md shows to FOLDER/captures.md.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from click.testing import CliRunner
from support.command import wsklab
from support.kept_captures import RIGHT, endings

from wsklab.orchestrator.commands.repro import command
from wsklab.orchestrator.field.endings.connections import read
from wsklab.orchestrator.field.scenarios import fidelity


@dataclass(frozen=True)
class Made:
    """What came of one capture."""

    name: str
    rows: tuple[str, ...]  # of the ending table
    number: float | None  # the fidelity, None where there is no run to compare
    same: bool = False
    verdict: str = ""
    why: str = ""  # where the two part, or why there is nothing


def single() -> list[str]:
    """Return the captures of one connection that have an ending of the table."""
    return [name for name in endings() if len(read(RIGHT / f"{name}.pcapng").connections) == 1]


def made_again(names: list[str], folder: Path) -> list[Made]:
    """Write the scenarios, run all of them at once, and compare each."""
    scenarios, refused = folder / "scenarios", dict[str, str]()
    scenarios.mkdir(parents=True)
    for name in names:
        capture = RIGHT / f"{name}.pcapng"
        asked = ["make", str(capture), "--peer", "auto", "--out", str(scenarios / f"{name}.yaml")]
        done = CliRunner().invoke(command, asked)
        if done.exit_code:
            refused[name] = f"{done.exception}"
    files = [str(path) for path in sorted(scenarios.glob("*.yaml"))]
    wsklab("run", *files, "--out", str(folder / "run"))
    results = json.loads((folder / "run/results.json").read_text())
    verdicts = {row["name"]: row["verdict"] for row in results["scenarios"]}
    return [_compared(name, folder / "run", verdicts.get(name, ""), refused.get(name)) for name in names]


def _compared(name: str, run: Path, verdict: str, refused: str | None) -> Made:
    rows, recording = endings()[name], run / "evidence" / name / "wire.pcapng"
    if refused is not None or not recording.exists():
        return Made(name, rows, None, verdict=verdict, why=refused or "no recording")
    (captured,) = read(RIGHT / f"{name}.pcapng").connections
    found = fidelity.best(captured, read(recording).connections)
    if found is None:
        return Made(name, rows, None, verdict=verdict, why="no connection in the recording")
    return Made(name, rows, found[1].number, found[1].same, verdict, found[1].first_difference or "")


def page(made: list[Made]) -> str:
    """Return the table in Markdown."""
    exact = sum(one.number == 1.0 for one in made)
    lines = [
        f"{exact} of {len(made)} captures came back with fidelity 1.0 ({datetime.now(UTC):%d %B %Y}).",
        "",
        "| capture | ending | fidelity | verdict of the run | where the two part |",
        "|---|---|---|---|---|",
    ]
    for one in made:
        number = "-" if one.number is None else f"{one.number:.3f}"
        lines.append(f"| {one.name} | {', '.join(one.rows)} | {number} | {one.verdict} | {one.why} |")
    return "\n".join(lines) + "\n"


def main(folder: str, *names: str) -> None:
    """Make them, and write the table."""
    made = made_again(list(names) or single(), Path(folder))
    text = page(made)
    (Path(folder) / "captures.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main(*sys.argv[1:])
