"""What goes from an observation to a result has a type: nothing there may be anything."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ORCHESTRATOR = Path(__file__).parents[3] / "orchestrator"

TYPED = (
    *sorted((ORCHESTRATOR / "observe").glob("*.py")),
    *sorted((ORCHESTRATOR / "judge").glob("*.py")),
    ORCHESTRATOR / "play" / "actors.py",
    ORCHESTRATOR / "play" / "context.py",
    ORCHESTRATOR / "play" / "player.py",
    ORCHESTRATOR / "play" / "peer_steps.py",
    ORCHESTRATOR / "play" / "foreign_steps.py",
    ORCHESTRATOR / "lab" / "peer.py",
    ORCHESTRATOR / "results" / "publish.py",
    ORCHESTRATOR / "results" / "results.py",
    ORCHESTRATOR / "results" / "rows.py",
    ORCHESTRATOR / "run" / "evidence.py",
)
"""The modules through which it goes."""

READS_TYPES = {"base.py": {"hint"}}
"""Where a type itself is what is looked at, which has no other name."""


def holes(source: str, allowed: set[str]) -> list[str]:
    """Return the lines on which a type is given up: `Any`, `cast`, `getattr`, or an ignored complaint of mypy's."""
    tree = ast.parse(source)
    spared = {
        id(argument.annotation)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        for argument in node.args.args
        if argument.arg in allowed
    }
    found = [
        f"line {node.lineno}: {node.id}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and node.id in ("Any", "cast", "getattr") and id(node) not in spared
    ]
    return found + [
        f"line {number}: type: ignore" for number, line in enumerate(source.splitlines(), 1) if "# type: ignore" in line
    ]


@pytest.mark.parametrize("file", TYPED, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_no_type_is_given_up_between_an_observation_and_a_result(file: Path) -> None:
    allowed = READS_TYPES.get(file.name, set())
    found = holes(file.read_text(encoding="utf-8"), allowed)
    if file.name == "base.py":  # the one place that goes through the fields of every kind
        found = [hole for hole in found if not hole.endswith("getattr")]
    assert found == []


@pytest.mark.parametrize(
    "source",
    ["x: Any", "def f(x: dict[str, Any]) -> None: ...", "y = cast(int, x)", "getattr(o, 'x')", "x = 1  # type: ignore"],
)
def test_a_type_that_is_given_up_is_found(source: str) -> None:
    assert holes(source, set())
