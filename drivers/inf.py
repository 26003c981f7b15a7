"""Reads INF files: the services that a package adds, and what it says of itself. Pure.

Format: Microsoft, "INF AddService Directive", "INF DefaultInstall Section"; the text is read by `inf_text`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from wsklab.common import files
from wsklab.common.text import quoted

from .errors import DriverError
from .inf_text import Inf, decode, parse

Start = Literal["boot", "system", "auto", "demand", "disabled"]

LARGEST = 1 << 20
"""Bytes of an INF file."""

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
