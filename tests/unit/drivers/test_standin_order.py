"""The provider's files have one direction: each calls only what standin.h lists before it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[3] / "drivers/standin"
SECTION = re.compile(r"^/\* -{4} (\w+\.c) -+ \*/$", re.MULTILINE)
DECLARED = re.compile(r"^(?:extern )?[\w ]+[ *]\(?\*?(\w+)(?:\(|;)", re.MULTILINE)
COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
TOP = "register.c"
"""The exports of netio.sys: declared in wsk.h, and called by nobody in here."""


def code(text: str) -> str:
    return COMMENT.sub("", text)


def declared() -> dict[str, set[str]]:
    """Return the names that each file offers, the lowest file first."""
    parts = SECTION.split((FOLDER / "standin.h").read_text())[1:]
    return {name: set(DECLARED.findall(code(text))) for name, text in zip(parts[::2], parts[1::2], strict=True)}


def test_the_header_lists_what_each_file_defines() -> None:
    for name, offered in declared().items():
        assert offered, name
        text = code((FOLDER / name).read_text())
        for function in offered:
            assert re.search(rf"^[^\s].*\b{function}\b.*(\)$|,$|;$| = .*$|\{{$)", text, re.MULTILINE), (name, function)


def test_every_file_that_includes_the_header_stands_in_it() -> None:
    users = {path.name for path in FOLDER.glob("*.c") if '#include "standin.h"' in path.read_text()}
    assert users == {*declared(), TOP}


@pytest.mark.parametrize("name", [*declared(), TOP])
def test_a_file_uses_nothing_of_those_above(name: str) -> None:
    files = [*declared(), TOP]
    words = set(re.findall(r"\w+", code((FOLDER / name).read_text())))
    above = {function: file for file in files[files.index(name) + 1 : -1] for function in declared()[file]}
    assert {function: file for function, file in above.items() if function in words} == {}
