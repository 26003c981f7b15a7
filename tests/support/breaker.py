"""A foreign driver that breaks one rule of the strict mode after the other: how it is built, and what it is told."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.command import command

from wsklab.drivers import build

SOURCES = Path(__file__).with_suffix("")
SAMPLES = build.HOME / "samples"

_BREACH = re.compile(r'^(?:BREACH\(|AT\(\w+, )(\w+),\s*"((?:[^"\\]|\\.)*)"', re.MULTILINE)


@dataclass(frozen=True)
class Breach:
    """One thing that it does wrong: it is told by so many bytes, and a reason of the verdict must match `says`."""

    name: str
    number: int
    says: str

    @property
    def scenario(self) -> str:
        """Return the name of the scenario in which it is done."""
        return f"breaker-{self.name.replace('_', '-')}"


def breaches() -> dict[str, Breach]:
    """Return all by name, as the sources have them."""
    text = "".join(path.read_text() for path in sorted(SOURCES.glob("*.c")))
    says = {name: pattern.replace("\\\\", "\\") for name, pattern in _BREACH.findall(text)}
    names = re.findall(r"\bX\((\w+)\)", (SOURCES / "breaker.h").read_text())
    assert sorted(names) == sorted(says), set(names) ^ set(says)
    return {name: Breach(name, number, says[name]) for number, name in enumerate(names, 1)}


def compiled(folder: Path, *defines: str, connections: int = 1) -> Path:
    """Return the driver, compiled as its author would."""
    if shutil.which("make") is None or shutil.which(build.COMPILER) is None:
        pytest.skip("needs make and mingw-w64")
    shutil.copytree(SOURCES, folder / "source")
    flags = f"CFLAGS=-std=c11 -O2 -Wall -Wextra -Werror -DCONNECTIONS={connections} " + " ".join(
        f"-D{name}" for name in defines
    )
    make = ["make", "-s", "-f", str(SAMPLES / "Makefile"), "SOURCES=source", "DRIVER=breaker", flags]
    subprocess.run(make, cwd=folder, check=True)
    return folder / "build/breaker.sys"


SCENARIO = """\
name: {name}
title: A foreign driver and its breach {number}
tags: [breaker]
connections: {connections}
steps:
  - driver: {{connect: peer, conn: all}}
  - peer: {{send: {number}, conn: {conn}}}
  - peer: {{receive: 1, conn: {conn}}}
  - peer: {{close: {{}}, conn: {conn}}}
  - driver: {{await: disconnect, conn: {conn}}}
expect:
  wire: {{each: [{{conn: {conn}, peer: fin}}]}}
  disconnect: [{{conn: {conn}, abortive: clear}}]
"""


def scenario(breach: Breach, folder: Path, connections: int = 1, conn: int = 0) -> Path:
    """Write the scenario in which it is done, on one of the driver's connections."""
    path = folder / f"{breach.scenario}.yaml"
    path.write_text(SCENARIO.format(name=breach.scenario, number=breach.number, connections=connections, conn=conn))
    return path


def on_one_of_three(breach: Breach, folder: Path) -> Path:
    """Write the scenario in which it is done on the second of three connections."""
    return scenario(breach, folder, 3, 1)


def unnamed(rows: Iterable[dict[str, Any]]) -> list[str]:
    """Return the breaches that no reason of their row names, with what was said instead."""
    by_scenario = {breach.scenario: breach for breach in breaches().values()}
    return [
        f"{row['name']}: {row['verdict']} {row['reasons']}"
        for row in rows
        if (breach := by_scenario.get(row["name"]))
        and not any(re.search(breach.says, reason) for reason in row["reasons"])
    ]


def main() -> None:
    """Try all in one run; its folder is given."""
    folder = Path(sys.argv[1])
    folder.mkdir()
    driver = compiled(folder)
    (folder / "scenarios").mkdir()
    for breach in breaches().values():
        scenario(breach, folder / "scenarios")
    where = ("--driver", str(driver), "--provoke", "start:7007", "--out", str(folder / "run"))
    subprocess.run(command("run", "--strict", *where, str(folder / "scenarios")), check=False)
    rows = json.loads((folder / "run/results.json").read_text())["scenarios"]
    print("\n".join(["", *unnamed(rows), f"{len(breaches())} breaches, {len(unnamed(rows))} of them not named"]))


if __name__ == "__main__":
    main()
