"""Reads the text of INF files: sections, strings, lines of fields. Pure.

Format: Microsoft, "General Syntax Rules for INF Files", "INF Strings Section". The file is untrusted: whatever is in
it, the answer is a value or a DriverError.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from wsklab.common.text import quoted

from .errors import DriverError

MOST_LINES = 50_000
LONGEST = 4096
"""Characters of a field after substitution; Windows' own limit is smaller."""

_ARCHITECTURE: Final = ".ntamd64"
_DECORATIONS = (_ARCHITECTURE, ".nt", "")
"""What may follow the name of a section for x64, the most particular first."""

_SECTION = re.compile(r"\[([^\[\]\r\n\"]{1,255})\]\s*(?:;.*)?")
_TOKEN = re.compile(r"%([^%\r\n]{0,255})%")


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a section: what stands before the equals sign ("" where there is none), and the fields behind it."""

    key: str
    fields: tuple[str, ...]
    number: int

    @property
    def value(self) -> str:
        """The first field."""
        return self.fields[0] if self.fields else ""


class Inf:
    """The sections of a file by their names in lower case; sections of one name are one."""

    def __init__(self, sections: Mapping[str, Sequence[Line]]) -> None:
        self._sections = sections
        self._strings = self._read_strings()

    def __contains__(self, section: str) -> bool:
        return section.lower() in self._sections

    def lines(self, section: str) -> list[Line]:
        """Return the lines of a section with their strings filled in; none when there is no such section."""
        return [
            Line(self.text(line.key), tuple(self.text(field) for field in line.fields), line.number)
            for line in self._sections.get(section.lower(), ())
        ]

    def value(self, section: str, key: str) -> str:
        """Return the first field of the last line of this key, "" where there is none."""
        found = [line.value for line in self.lines(section) if line.key.lower() == key.lower()]
        return found[-1].strip() if found else ""

    def values(self, section: str, key: str) -> tuple[str, ...]:
        """All fields of the last line of this key."""
        found = [line.fields for line in self.lines(section) if line.key.lower() == key.lower()]
        return found[-1] if found else ()

    def text(self, raw: str) -> str:
        """Fill in `%name%`, once: a string's own text is taken as it is. `%%` is a percent sign.

        A name that is not defined stays as it stands, as `%12%` does, which is a directory.
        """

        def filled(token: re.Match[str]) -> str:
            return "%" if not token[1] else self._strings.get(token[1].strip().lower(), token[0])

        return _TOKEN.sub(filled, raw)[:LONGEST]

    def decorated(self, section: str) -> str | None:
        """Return the name of the section that x64 takes for `section`: `NAME.NTamd64`, `NAME.NT` or NAME."""
        base = section.lower()
        for decoration in _DECORATIONS:
            exact = base + decoration
            longer = sorted(name for name in self._sections if decoration and name.startswith(exact + "."))
            found = exact if exact in self._sections else next((n for n in longer if _is_version(n, exact)), None)
            if found is not None:
                return found
        return None

    def _read_strings(self) -> dict[str, str]:
        """Return the plain section before one of a language, of which English comes first."""
        order = sorted(
            (name for name in self._sections if name == "strings" or name.startswith("strings.")),
            key=lambda name: (name != "strings", name != "strings.0409", name),
        )
        strings: dict[str, str] = {}
        for section in order:
            for line in self._sections[section]:
                if line.key:
                    strings.setdefault(line.key.strip().strip("%").lower(), ",".join(line.fields))
        return strings


def _is_version(name: str, base: str) -> bool:
    """Whether `name` is `base` with a version of Windows behind it: `.10.0...17763`."""
    return re.fullmatch(r"\.[\d.]*", name[len(base) :]) is not None


# --- text -------------------------------------------------------------------------------------------------------------


def decode(data: bytes) -> str:
    """Return the text of a file: UTF-16 or UTF-8 by its mark, UTF-16 also without one, else Windows-1252."""
    for mark, encoding in ((codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"),
                           (codecs.BOM_UTF8, "utf-8")):  # fmt: skip
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, errors="replace")
    if data[1:64:2].count(0) > len(data[:64]) // 4:
        return data.decode("utf-16-le", errors="replace")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")


def parse(text: str) -> Inf:
    """Read the text of an INF file. Raises DriverError, which names the line."""
    sections: dict[str, list[Line]] = {}
    current: list[Line] | None = None
    for number, line in _joined(text):
        if line.startswith("["):
            head = _SECTION.fullmatch(line)
            if head is None:
                raise DriverError(f"line {number} is no section: '{quoted(line, 60)}'")
            current = sections.setdefault(head[1].strip().lower(), [])
            continue
        if current is None:
            raise DriverError(f"line {number} stands before the first section: '{quoted(line, 60)}'")
        key, fields = _split(line, number)
        current.append(Line(key, fields, number))
    return Inf(sections)


def _joined(text: str) -> Iterator[tuple[int, str]]:
    """Return the lines that say something, with their numbers: without comments, what a backslash joins as one."""
    begun, parts = 0, list[str]()
    lines = text.replace("\0", "").splitlines()
    if len(lines) > MOST_LINES:
        raise DriverError(f"it has more than {MOST_LINES} lines")
    for number, raw in enumerate(lines, 1):
        line = _without_comment(raw).strip()
        begun = begun if parts else number
        if line.endswith("\\") and not line.endswith("\\\\"):
            parts.append(line[:-1])
            continue
        if joined := "".join([*parts, line]).strip():
            yield begun, joined
        parts = []
    if joined := "".join(parts).strip():
        yield begun, joined


def _without_comment(line: str) -> str:
    """Return the line up to its comment; a semicolon between quotes is text."""
    quote = False
    for at, character in enumerate(line):
        if character == '"':
            quote = not quote
        elif character == ";" and not quote:
            return line[:at]
    return line


def _split(line: str, number: int) -> tuple[str, tuple[str, ...]]:
    """Return the key and the fields. Quotes keep blanks, commas and equals signs; two of them inside are one."""
    parts, part, quote, bare = list[str](), list[str](), False, True
    key: str | None = None
    at = 0

    def finished() -> str:
        text = "".join(part)
        return text.strip() if bare else text

    while at < len(line):
        character = line[at]
        if character == '"':
            if quote and line[at + 1 : at + 2] == '"':
                part.append('"')
                at += 1
            else:
                if not quote and not "".join(part).strip():
                    part.clear()
                quote, bare = not quote, False
        elif quote or character not in ",=" or (character == "=" and (key is not None or parts)):
            if bare or quote or not character.isspace():
                part.append(character)
        elif character == "=":
            key, part, bare = finished(), [], True
        else:
            parts.append(finished())
            part, bare = [], True
        at += 1
    if quote:
        raise DriverError(f"line {number} has a quote that does not end: '{quoted(line, 60)}'")
    parts.append(finished())
    if key is None:
        return "", tuple(parts)
    return key, tuple(parts)
