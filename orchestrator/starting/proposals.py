"""Patterns proposed from the lines of a trial run, in which it is known what each line was about. Pure.

The flags of WskDisconnectEvent are the number that is even after the peer's FIN and odd after its RST in lines of the
same wording; where the wording itself is another, that is what tells.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any

from wsklab.orchestrator.starting.course import Course, Lines

_NUMBER = re.compile(r"\d+(?:\.\d+){3}|0x[0-9a-fA-F]+|\b(?=[0-9a-fA-F]*\d)[0-9a-fA-F]{8}\b|\d+")
_BEFORE_CONN = re.compile(r"(?:\[|#|\bconn(?:ection)?\W{0,2}|\bid\W{0,2}|\bsock(?:et)?\W{0,2})$", re.IGNORECASE)
_BEFORE_FLAGS = re.compile(r"flags?\W{0,3}$", re.IGNORECASE)


@dataclass(frozen=True)
class Line:
    """A line in pieces: text, number, text, number, ..., text."""

    text: str
    words: tuple[str, ...]
    numbers: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> Line:
        """Take a line apart."""
        return cls(text, tuple(_NUMBER.split(text)), tuple(_NUMBER.findall(text)))

    @property
    def conn(self) -> int | None:
        """Which number is that of the connection, by what stands before it."""
        return next(
            (i for i, n in enumerate(self.numbers) if n.isdecimal() and _BEFORE_CONN.search(self.words[i])), None
        )

    @property
    def flags(self) -> int | None:
        """Which number is called flags."""
        return next(
            (i for i, n in enumerate(self.numbers) if "." not in n and _BEFORE_FLAGS.search(self.words[i])), None
        )


@dataclass(frozen=True)
class Proposal:
    """One pattern of a profile, and how sure it is: `doubt` is what its reader should look at."""

    kind: str
    line: str
    hex: tuple[str, ...] = ()
    set: dict[str, Any] = field(default_factory=dict)
    samples: dict[str, dict[str, Any]] = field(default_factory=dict)
    doubt: str = ""

    def document(self) -> dict[str, Any]:
        """As it stands in a profile."""
        found: dict[str, Any] = {"kind": self.kind, "line": self.line}
        if self.hex:
            found["hex"] = list(self.hex)
        if self.set:
            found["set"] = dict(self.set)
        return found | {"samples": {text: dict(data) for text, data in self.samples.items()}}


def proposals(course: Course) -> list[Proposal]:
    """Propose patterns of a course with connections in it; the first that matches a line wins, so `disc` leads."""
    found = list(_discs(course.fin, course.rst))
    taken = [text for one in found for text in one.samples]
    if course.by == "peer":
        found += _one("load", course.fin.load[-1:])
    found += _one("open", course.fin.open[:1])
    found += _one("close", [t for t in course.fin.end if "clos" in t.lower() and t not in taken][:1])
    found += _one("unload", course.fin.unload[-1:])
    return [one for i, one in enumerate(found) if one.line not in {other.line for other in found[:i]}]


def _one(kind: str, texts: Sequence[str]) -> Iterator[Proposal]:
    for text in texts:
        line = Line.of(text)
        yield _proposal(kind, [line], None)


def _discs(fin: Lines, rst: Lines) -> Iterator[Proposal]:
    """By flags in lines of one wording; else by flags in lines of two; else by the wording alone."""
    ends, breaks = [Line.of(t) for t in fin.end], [Line.of(t) for t in rst.end]
    for a in ends:
        for b in breaks:
            if a.words == b.words and (at := _flags_between(a, b)) is not None:
                yield _proposal("disc", [a, b], at)
                return
    own = [line for line in ends if line.words not in {other.words for other in breaks}]
    others = [line for line in breaks if line.words not in {other.words for other in ends}]
    a_flags = [line for line in own if line.flags is not None]
    b_flags = [line for line in others if line.flags is not None]
    if a_flags and b_flags:
        yield _proposal("disc", a_flags[:1], a_flags[0].flags, {"abortive": False})
        yield _proposal("disc", b_flags[:1], b_flags[0].flags, {"abortive": True})
        return
    doubt = "told apart by its wording in two trials: see that it is what WskDisconnectEvent prints"
    for lines, abortive in ((own, False), (others, True)):
        for line in lines[:1]:
            yield _proposal("disc", [line], None, {"abortive": abortive}, doubt)


def _flags_between(a: Line, b: Line) -> int | None:
    """Which number is the flags': that so called, else the only one that is even after FIN and odd after RST."""
    odd = [i for i, (x, y) in enumerate(zip_longest(a.numbers, b.numbers)) if i != a.conn and _bit(x, y)]
    named = [i for i in odd if i == a.flags]
    return named[0] if named else odd[0] if len(odd) == 1 else None


def _bit(after_fin: str | None, after_rst: str | None) -> bool:
    """Whether two numbers can be flags, of which bit 0 is ABORTIVE (R5), and no other but 0x8 is defined (R9)."""
    try:
        return int(after_fin or "", 16) in (0, 8) and int(after_rst or "", 16) in (1, 9)
    except ValueError:
        return False


def _proposal(
    kind: str, lines: Sequence[Line], flags: int | None, told: dict[str, Any] | None = None, doubt: str = ""
) -> Proposal:
    first = lines[0]
    named: dict[int, str] = {first.conn: "conn"} if kind in ("open", "disc", "close") and first.conn is not None else {}
    if flags is not None:
        named[flags] = "flags"
    parts = []
    for index, word in enumerate(first.words):
        parts.append(_literal(word))
        if index < len(first.numbers):
            parts.append(_group(first.numbers[index], named.get(index)))
    samples = {line.text: _data(line, named, told or {}) for line in lines}
    return Proposal(kind, "".join(parts), ("flags",) if flags is not None else (), told or {}, samples, doubt)


def _literal(text: str) -> str:
    """Text as an expression; spaces and signs that mean nothing stay as they are."""
    return re.sub(r"([\\.^$|?*+()\[\]{}])", r"\\\1", text)


def _group(number: str, name: str | None) -> str:
    if "." in number:
        return r"[\d.]+"
    prefix = "0x" if number.startswith("0x") else ""
    digits = r"\d+" if name == "conn" else r"[0-9a-fA-F]+" if prefix or name or len(number) == 8 else r"\d+"
    return f"{prefix}(?P<{name}>{digits})" if name else f"{prefix}{digits}"


def _data(line: Line, named: dict[int, str], told: dict[str, Any]) -> dict[str, Any]:
    data: dict[str, Any] = dict(told)
    for index, name in named.items():
        data[name] = int(line.numbers[index], 16 if name == "flags" else 10)
    if "flags" in data and "abortive" not in data:
        data["abortive"] = bool(data["flags"] & 1)
    return data
