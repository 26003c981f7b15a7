"""C files include what is below them, and nothing that comes back to them."""

from __future__ import annotations

import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
INCLUDE = re.compile(r'^\s*#\s*include\s+"([\w.]+)\.h"', re.MULTILINE)
CALL = re.compile(r"(?<![.>\w])([a-z]\w+)\(")


def includes(texts: dict[str, str]) -> dict[str, set[str]]:
    """Return what each file includes; `x.c` and `x.h` are one, called `x`."""
    found: dict[str, set[str]] = {Path(name).stem: set() for name in texts}
    for name, text in texts.items():
        found[Path(name).stem] |= {other for other in INCLUDE.findall(text) if other in found} - {Path(name).stem}
    return found


def order(texts: dict[str, str]) -> list[str]:
    """Return the files, lowest first. Raises CycleError, which names the circle."""
    return list(TopologicalSorter(includes(texts)).static_order())


def texts_of(folder: str) -> dict[str, str]:
    return {path.name: path.read_text() for path in (ROOT / folder).glob("*.[ch]")}


@pytest.mark.parametrize("folder", ["drivers/wsklab", "drivers/agent"])
def test_there_is_no_circle(folder: str) -> None:
    lowest_first = order(texts_of(folder))
    assert len(lowest_first) > 10


@pytest.mark.parametrize("folder", ["drivers/wsklab", "drivers/agent"])
def test_a_function_is_called_through_the_header_of_its_file(folder: str) -> None:
    """A declaration elsewhere would hide a circle."""
    texts = texts_of(folder)
    declared = {name: set(INCLUDE.findall(text)) for name, text in texts.items()}
    owner = {
        name: Path(file).stem
        for file, text in texts.items()
        if file.endswith(".c")
        for name in re.findall(r"^(?!static)(?:\w+[ *]+)+?(\w+)\([^;{]*\)\n\{", text, re.MULTILINE)
    }
    for file in (name for name in texts if name.endswith(".c")):
        seen, ahead = set(), declared[file]
        while ahead:
            seen |= ahead
            ahead = {other for header in ahead for other in declared.get(f"{header}.h", ())} - seen
        code = re.sub(r"/\*.*?\*/", "", texts[file], flags=re.DOTALL)
        called = {owner[name] for name in CALL.findall(code) if name in owner} - {Path(file).stem}
        assert called <= seen, file
    assert len(owner) > 20


def test_a_circle_is_named() -> None:
    circle = {
        "a.c": '#include "a.h"\n',
        "a.h": '#include "b.h"\n',
        "b.h": "",
        "b.c": '#include "b.h"\n#include "a.h"\n',
    }
    with pytest.raises(CycleError) as found:
        order(circle)
    assert {"a", "b"} <= set(found.value.args[1])
    assert order({**circle, "b.c": '#include "b.h"\n'}) == ["b", "a"]
