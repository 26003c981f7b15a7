"""Reads INF files: sections, strings, and the services that a package adds. Pure.

Format: Microsoft, "General Syntax Rules for INF Files", "INF Strings Section", "INF AddService Directive". The file is
untrusted: whatever is in it, the answer is a value or a DriverError.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

from wsklab.common import files
from wsklab.common.text import quoted

from .errors import DriverError

Start = Literal["boot", "system", "auto", "demand", "disabled"]

LARGEST = 1 << 20
"""Bytes of an INF file."""

MOST_LINES = 50_000
LONGEST = 4096
"""Characters of a field after substitution; Windows' own limit is smaller."""

_ARCHITECTURE: Final = ".ntamd64"
_DECORATIONS = (_ARCHITECTURE, ".nt", "")
"""What may follow the name of a section for x64, the most particular first."""

_STARTS: Mapping[int, Start] = dict(enumerate(get_args(Start)))
_ERROR_CONTROLS = {0: "ignore", 1: "normal", 2: "severe", 3: "critical"}
_TYPES = {1: "kernel", 2: "filesys"}

_DIRECTORIES = {
    10: r"C:\Windows",
    11: r"C:\Windows\System32",
    12: r"C:\Windows\System32\drivers",
    24: "C:",
}
STORE = 13
"""The directory of the package itself in Windows' driver store, whose name Windows chooses."""

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


@dataclass(frozen=True, slots=True)
class Service:
    """A service that the package adds."""

    name: str
    binary: str
    """The name of its file in the package."""
    path: str
    """Where Windows runs it from, or "" when that is the driver store."""
    start: Start
    error: str
    type: str
    group: str
    dependencies: tuple[str, ...]
    """Services that must run before it."""
    groups: tuple[str, ...]
    """Load order groups of which one member must run before it (`+GROUP` in the file)."""


@dataclass(frozen=True, slots=True)
class About:
    """What an INF file says of its package, for x64."""

    provider: str
    version: str
    """The number of DriverVer, "" where the file has none."""
    date: str
    catalog: str
    """The name of its catalog, "" where it names none."""
    primitive: bool
    """Whether it is installed by its DefaultInstall section, without a device."""
    services: tuple[Service, ...]
    files: tuple[str, ...]
    """Names of the files that SourceDisksFiles lists."""

    def service(self, name: str) -> Service | None:
        """Return the service of this name, in any case of letters."""
        return next((service for service in self.services if service.name.lower() == name.lower()), None)


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


# --- the package ------------------------------------------------------------------------------------------------------


def load(path: Path) -> About:
    """Read a package's INF file. Raises DriverError."""
    try:
        return read(decode(files.read_bytes(path, LARGEST)))
    except OSError as error:
        raise DriverError(f"The INF file {path} cannot be read: {files.why(error)}.") from None
    except DriverError as error:
        raise DriverError(f"The INF file {path} is wrong: {error}.") from None


def read(text: str) -> About:
    """Return what the text of an INF file says of its package. Raises DriverError."""
    inf = parse(text)
    signature = inf.value("Version", "Signature").lower()
    if signature not in ("$windows nt$", "$chicago$", "$windows 95$"):
        raise DriverError('its section [Version] has no Signature, as "$Windows NT$"')
    date, version = (*inf.values("Version", "DriverVer"), "", "")[:2]
    catalogs = [inf.value("Version", f"CatalogFile{suffix}") for suffix in (".NTamd64", ".NT", "")]
    primitive = inf.decorated("DefaultInstall")
    installs = [primitive] if primitive else list(_device_installs(inf))
    services: dict[str, Service] = {}
    for install in installs:
        for service in _services(inf, install):
            services.setdefault(service.name.lower(), service)
    if not services:
        raise DriverError("it adds no service for x64: no AddService below [DefaultInstall.NTamd64.Services] or the "
                          "install sections of [Manufacturer]")  # fmt: skip
    listed = [line.key or line.value for section in ("SourceDisksFiles.amd64", "SourceDisksFiles")
              for line in inf.lines(section)]  # fmt: skip
    return About(
        provider=inf.value("Version", "Provider"),
        version=version.strip(),
        date=date.strip(),
        catalog=_file_name(next(filter(None, catalogs), ""), "CatalogFile") if any(catalogs) else "",
        primitive=primitive is not None,
        services=tuple(services.values()),
        files=tuple(dict.fromkeys(_file_name(name.strip(), "SourceDisksFiles") for name in listed if name.strip())),
    )


def _device_installs(inf: Inf) -> Iterator[str]:
    """Return the install sections of every device that [Manufacturer] leads to."""
    for maker in inf.lines("Manufacturer"):
        models, *targets = maker.fields or ("",)
        names = [f"{models}.{target.strip()}" for target in targets if target.strip().lower().startswith("ntamd64")]
        for section in names or [models]:
            for model in inf.lines(section):
                if model.value and (found := inf.decorated(model.value)):
                    yield found


def _services(inf: Inf, install: str) -> Iterator[Service]:
    for line in inf.lines(f"{install}.services"):
        if line.key.lower() != "addservice" or len(line.fields) < 3 or not line.fields[2].strip():
            continue  # DelService; an AddService with neither section nor name says that there is no driver
        yield _service(inf, line.fields[0].strip(), line.fields[2].strip(), line.number)


def _service(inf: Inf, name: str, section: str, number: int) -> Service:
    if section not in inf:
        raise DriverError(f"line {number} names the section [{quoted(section, 60)}], which is not there")
    if not re.fullmatch(r"[A-Za-z0-9_.-]{1,256}", name):
        raise DriverError(f"line {number} adds a service '{quoted(name, 60)}', which is no name for one")
    start = _number(inf, section, "StartType", 3)
    kind = _number(inf, section, "ServiceType", 1)
    if kind not in _TYPES:
        raise DriverError(f"the service {name} is of type {kind:#x}, and a driver is of 1 or 2 (ServiceType)")
    if start not in _STARTS:
        raise DriverError(f"the service {name} has the start type {start}, and there are 0 to 4 (StartType)")
    binary, path = _binary(inf.value(section, "ServiceBinary"), name)
    needed = [word.strip() for word in inf.values(section, "Dependencies") if word.strip()]
    for word in needed:
        if not re.fullmatch(r"\+?[A-Za-z0-9_. -]{1,256}", word):
            raise DriverError(f"the service {name} depends on '{quoted(word, 60)}', which is no name of a service")
    group = inf.value(section, "LoadOrderGroup")
    if not re.fullmatch(r"[A-Za-z0-9_. -]{0,256}", group):
        raise DriverError(f"the service {name} is in the group '{quoted(group, 60)}', which is no name of one")
    return Service(
        name,
        binary,
        path,
        _STARTS[start],
        _ERROR_CONTROLS.get(_number(inf, section, "ErrorControl", 1), "normal"),
        _TYPES[kind],
        group,
        tuple(word for word in needed if not word.startswith("+")),
        tuple(word[1:] for word in needed if word.startswith("+")),
    )


def _number(inf: Inf, section: str, key: str, otherwise: int) -> int:
    said = inf.value(section, key)
    if not said:
        return otherwise
    if not re.fullmatch(r"0[xX][0-9A-Fa-f]{1,8}|[0-9]{1,9}", said):
        raise DriverError(f"{key} in [{quoted(section, 60)}] is '{quoted(said, 60)}', and should be a number")
    return int(said, 16 if said[:2].lower() == "0x" else 10)


def _binary(said: str, service: str) -> tuple[str, str]:
    """(name of the file, full path in Windows) of `%12%\\my.sys`."""
    match = re.fullmatch(r"%(\d{1,5})%\\?(.*)", said)
    if match is None:
        raise DriverError(
            f"ServiceBinary of {service} is '{quoted(said, 60)}', and should be a directory's number and a file: "
            r"%13%\my.sys or %12%\my.sys"
        )
    number, rest = int(match[1]), match[2].strip().replace("/", "\\")
    name = _file_name(rest.rpartition("\\")[2], f"ServiceBinary of {service}")
    if number == STORE:
        return name, ""
    if number not in _DIRECTORIES:
        raise DriverError(f"ServiceBinary of {service} is in the directory {number}; the lab knows 10, 11, 12, 13, 24")
    return name, rf"{_DIRECTORIES[number]}\{rest}"


def _file_name(name: str, where: str) -> str:
    """Return a name in the package's own folder: it is looked for there and nowhere else."""
    if not re.fullmatch(r"[A-Za-z0-9 ._()+,=@#~{}\[\]-]{1,128}", name) or name.strip(". ") != name.strip(" "):
        raise DriverError(f"{where} names the file '{quoted(name, 60)}', which is no plain file name")
    return name
