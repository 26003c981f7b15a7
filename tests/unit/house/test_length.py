"""A module has one subject: one that is longer than a subject needs says in its docstring why."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
MOST = 350
LAYERS = ("common", "qemu", "drivers", "images", "orchestrator")
REASON = re.compile(r"^Long because \w+( \S+){4,}", re.MULTILINE)


def wrong(source: str) -> str | None:
    """Return what is wrong with the length of a module, or with the reason that it gives; None if nothing is."""
    lines, reason = source.count("\n"), REASON.search(ast.get_docstring(ast.parse(source)) or "")
    if lines > MOST and not reason:
        return f"has {lines} lines: split it, or say in its docstring 'Long because ...'"
    if lines <= MOST and reason:
        return f"has {lines} lines, and still says why it is long"
    return None


def test_no_module_is_long_without_a_reason() -> None:
    found = {
        str(file.relative_to(ROOT)): trouble
        for layer in LAYERS
        for file in sorted((ROOT / layer).rglob("*.py"))
        if (trouble := wrong(file.read_text(encoding="utf-8")))
    }
    assert found == {}


@pytest.mark.parametrize(
    ("docstring", "lines", "trouble"),
    [
        ("A subject.", MOST, None),
        ("A subject.", MOST + 1, "split it"),
        ("A subject.\n\nLong because of it.", MOST + 1, "split it"),
        ("A subject.\n\nLong because it is one state machine whose parts read each other.", MOST + 1, None),
        ("A subject.\n\nLong because it is one state machine whose parts read each other.", MOST, "still says why"),
    ],
)
def test_a_reason_is_asked_of_long_modules_alone(docstring: str, lines: int, trouble: str | None) -> None:
    source = f'"""{docstring}"""\n'
    source += "pass\n" * (lines - source.count("\n"))
    assert (trouble or "None") in str(wrong(source))
