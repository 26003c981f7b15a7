"""What the debug text of somebody's driver means: regular expressions from its profile. Pure.

A profile's author cannot see whether an expression does what it should, so every pattern carries sample lines with the
values that they must give, and a profile whose samples do not come out is refused.

Expressions are RE2's, whose time grows with the line and never beyond: an expression such as `(a+)+$` would hold
Python's own engine, and with it the whole interpreter, for years at one line of the target. They have no look-around
and no back-references.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any, Literal

import re2  # type: ignore[import-untyped]
from pydantic import Field

from wsklab.common.strict import Strict
from wsklab.common.text import quoted

Value = bool | int | str
Kind = Literal["load", "unload", "open", "refused", "recv", "sent", "disc", "close", "note"]

LONGEST = 5000
"""Characters of a debug line that are looked at, more than a serial line hands on; the text is not trusted."""

MOST = 200
"""Patterns of a profile, and samples of a pattern."""

MEMORY = 1 << 20
"""Bytes for a compiled expression: one that needs more, for repetitions within repetitions, is refused."""

LONGEST_NUMBER = 20
"""Digits of a number: 64 bits."""

ABORTIVE = 0x1

NUMBERS = ("conn", "flags", "abortive", "irql")
"""What is a number wherever it is told (true and false are, too): the judge compares it."""

RESERVED = frozenset({"seq", "id", "op", "cookie", "text"})
"""What the lines of the lab's own driver tell under these names is known to nobody else's."""


Sample = Annotated[str, Field(max_length=LONGEST)]


class Pattern(Strict):
    """One kind of line. Named groups become data: digits a number, `conn` the connection that the line is about."""

    kind: Kind = Field(description="the observation that such a line is; `disc` is WskDisconnectEvent")
    line: str = Field(max_length=500, description="regular expression, searched in the line")
    hex: tuple[str, ...] = Field(default=(), description="groups that are hexadecimal numbers")
    set: dict[str, Value] = Field(default_factory=dict, description="data that the line says by its wording")
    samples: dict[Sample, dict[str, Value]] = Field(
        min_length=1, max_length=MOST, description="line -> the data it must give"
    )


@dataclass(frozen=True, slots=True)
class Reading:
    """A line that a pattern has matched."""

    kind: Kind
    conn: int | None
    data: Mapping[str, Value] = field(default_factory=dict)


def read(patterns: Sequence[Pattern], text: str) -> Reading | None:
    """Return the meaning of a line by the first pattern that matches it, None when there is none."""
    for pattern in patterns:
        if match := _search(pattern, text):
            try:
                return _reading(pattern, match)
            except ValueError:
                return None  # a damaged line
    return None


def problems(patterns: Sequence[Pattern]) -> Iterator[tuple[int, str]]:
    """Return what is wrong with a profile's patterns, by index, a sentence each; nothing when all samples fit."""
    for index, pattern in enumerate(patterns):
        if wrong := _wrong(pattern) or _samples_wrong(patterns, pattern):
            yield index, f"pattern {index + 1} ({pattern.kind}) {wrong}"


@cache
def _compiled(expression: str) -> Any:
    """Raise re2.error, and ValueError for what is no text."""
    options = re2.Options()
    options.log_errors = False
    options.max_mem = MEMORY
    return re2.compile(expression, options)


def _search(pattern: Pattern, text: str) -> Any:
    """Return the match, or None; of a line that is longer than any sane one, its beginning is looked at."""
    return _compiled(pattern.line).search(text[:LONGEST].encode(errors="replace").decode())


def _wrong(pattern: Pattern) -> str | None:
    """Return what is wrong with the expression itself."""
    try:
        expression = _compiled(pattern.line)
    except (re2.error, ValueError) as error:
        said = error.args[0].decode(errors="replace") if isinstance(error, re2.error) else str(error)
        return (
            f"is no regular expression in RE2's syntax, which has no look-around and no back-references: {quoted(said)}"
        )
    groups = set(expression.groupindex)
    if expression.search(""):
        return "matches the empty line, hence every line"
    if unknown := sorted({*pattern.hex} - groups):
        return f"says that {', '.join(unknown)} is hexadecimal, but has no group of that name"
    if taken := sorted((groups | set(pattern.set)) & RESERVED):
        return f"calls something {', '.join(taken)}, a name that the lab keeps for itself"
    if twice := sorted(groups & set(pattern.set)):
        return f"gives {', '.join(twice)} both by a group and by `set`"
    if pattern.kind == "disc" and not {"flags", "abortive"} & (groups | set(pattern.set)):
        return "does not tell graceful from abortive: it needs a group `flags`, or `abortive` in `set`"
    return None


def _samples_wrong(patterns: Sequence[Pattern], pattern: Pattern) -> str | None:
    """Return what is wrong with the first sample that does not come out."""
    for sample, wanted in pattern.samples.items():
        match = _search(pattern, sample)
        if match is None:
            return f"does not match its sample {sample!r}"
        for earlier, other in enumerate(patterns, 1):
            if other is pattern:
                break
            if _wrong(other) is None and _search(other, sample):
                return f"never sees its sample {sample!r}: pattern {earlier} ({other.kind}) takes it"
        try:
            reading = _reading(pattern, match)
        except ValueError as error:
            return f"cannot read its sample {sample!r}: {error}"
        given = dict(reading.data) | ({} if reading.conn is None else {"conn": reading.conn})
        if different := [
            f"{key} is {given.get(key)!r}, not {value!r}" for key, value in wanted.items() if given.get(key) != value
        ]:
            return f"reads its sample {sample!r} otherwise: {', '.join(different)}"
    return None


def _reading(pattern: Pattern, match: Any) -> Reading:
    """Raise ValueError for a group that is not the number it has to be."""
    data: dict[str, Value] = dict(pattern.set)
    for name, text in match.groupdict().items():
        if text is None:
            continue  # not told
        data[name] = _number(text, 16) if name in pattern.hex else _number(text) if text.isdecimal() else text
    for name in NUMBERS:
        if isinstance(data.get(name, 0), str):
            raise ValueError(f"{name} is {data[name]!r}, not a number")
    if pattern.kind == "disc":
        if "flags" in data:
            data.setdefault("abortive", bool(int(data["flags"]) & ABORTIVE))
        if "abortive" in data:
            data["abortive"] = bool(data["abortive"])
    conn = data.pop("conn", None)
    return Reading(pattern.kind, None if conn is None else int(conn), data)


def _number(text: str, base: int = 10) -> int:
    """Raise ValueError, also for more digits than any number of a driver has."""
    if len(text) > LONGEST_NUMBER:
        raise ValueError(f"{quoted(text, LONGEST_NUMBER)} is no number of 64 bits")
    return int(text, base)
