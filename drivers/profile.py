"""Driver profiles: which driver is under test, and how Windows is told to load it.

Built-in profiles are in drivers/profiles; a user's own is any YAML file of the same form.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from wsklab.common import document
from wsklab.common.strict import Strict
from wsklab.common.text import quoted

from . import package
from .build import Progress, build_driver, build_sample
from .errors import DriverError
from .inf import Start
from .patterns import MOST, Pattern, problems
from .twins import twins

PROFILES = Path(__file__).with_name("profiles")


ServiceName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{1,64}$")]
ValueName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{1,64}$")]
Number = Annotated[int, Field(strict=True, ge=0, le=0xFFFFFFFF)]
Text = Annotated[str, Field(strict=True, pattern=r"^[ -~]{0,512}$")]

LONGEST_PATH = 200
"""Characters of a path in the target: Windows takes 259, and its tools add some."""

# What Windows takes in a name and no shell, no registry value and no command line gives a meaning of its own.
_NAME = re.compile(r"(?=[^ ])[A-Za-z0-9 ._()+,=@#~{}\[\]-]+(?<=[^ .])")
_PROVOKE = re.compile(r"(?P<by>peer|start):(?P<port>[0-9]{1,5})(?::(?P<connections>[1-8]))?")
_DEVICE = re.compile(r"(CON|PRN|AUX|NUL|CLOCK\$|CONIN\$|CONOUT\$|COM[0-9]|LPT[0-9])", re.IGNORECASE)


def windows_path(path: str) -> str:
    """`path` as it is, if it can only mean one file on drive C. Raises ValueError with the reason.

    It goes into the service's ImagePath and into commands: no quotes, variables or wildcards, no stream (`a.sys:b`), no
    name that is a device (`NUL.sys`) or that Windows would change (a dot or a space at its end).
    """
    drive, *names = path.split("\\")
    if drive.upper() != "C:" or not names or ".." in names or "/" in path:
        raise ValueError("should be an absolute path on drive C, as C:\\folder\\file.sys")
    if len(path) > LONGEST_PATH:
        raise ValueError(f"should not be longer than {LONGEST_PATH} characters")
    for name in names:
        if _DEVICE.fullmatch(name.partition(".")[0].strip()):
            raise ValueError(f"should have no name that is a device in every folder ('{quoted(name)}')")
        if not _NAME.fullmatch(name):
            raise ValueError(
                "should have names that are made of letters, digits, spaces inside and ._()+,=@#~{}[]-, "
                f"and do not end with a dot (unlike '{quoted(name)}')"
            )
    return path


WindowsPath = Annotated[str, Field(max_length=4096), AfterValidator(windows_path)]


class Provoke(Strict):
    """How a connection of the driver comes about, and the TCP port that is listened on."""

    by: Literal["peer", "start", "command"] = Field(
        description="peer: the driver listens, the peer connects; start: it connects when its service starts; "
        "command: it connects when a program is run in the target"
    )
    port: int = Field(ge=1, le=65535)
    command: str = Field(
        default="", pattern=r"^[ -~]{0,1000}$", description="the program and its arguments, for `by: command`"
    )
    greeting: int = Field(default=0, ge=0, le=1 << 20, description="bytes it sends unasked as soon as it is connected")
    replies: bool = Field(default=False, description="it sends something back when it gets data")
    connections: int = Field(default=1, ge=1, le=8, description="how many connections it can have at a time")
    ipv6: bool = Field(default=False, description="it listens on IPv6, too; for `by: peer`")

    @property
    def talks(self) -> bool:
        """Whether a peer that does not read can have something unread."""
        return self.greeting > 0 or self.replies

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.by == "command") != bool(self.command):
            raise ValueError("`command` goes with `by: command`, and only with it")
        if self.ipv6 and self.by != "peer":
            raise ValueError(
                "`ipv6` goes with `by: peer`: a driver that connects has its address from its own settings"
            )
        return self


class DriverProfile(Strict):
    """One driver under test. Exactly one of `build`, `path` and `inf` says where its file comes from."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    title: str = Field(default="", max_length=120, pattern=r"^[^\x00-\x1f\x7f-\x9f]*$")
    service: ServiceName = Field(description="name of the kernel service")
    after: tuple[ServiceName, ...] = Field(
        default=(), max_length=MOST, description="services that are started before it, in this order"
    )
    start: Start = Field(default="demand", description="when Windows starts the service; of a package, its INF says")
    depends: tuple[ServiceName, ...] = Field(
        default=(), max_length=MOST, description="services that it cannot run without; of a package, its INF says"
    )
    parameters: dict[ValueName, Number | Text] = Field(
        default_factory=dict,
        max_length=MOST,
        description="values under the service's Parameters key: numbers REG_DWORD, texts REG_SZ",
    )
    provoke: Provoke | None = Field(default=None, description="how a connection comes about")
    patterns: tuple[Pattern, ...] = Field(
        default=(), max_length=MOST, description="what its debug text means; the first match wins"
    )
    device: str = Field(
        default="",
        pattern=r"^(\\\\\.\\[A-Za-z0-9._-]{1,64})?$",
        description="device to open, empty when the driver has none",
    )
    target_path: WindowsPath = Field(
        default="",
        description="where the .sys is put in the target, a Windows path on drive C; of a package, its INF says",
    )
    build: str | None = Field(default=None, pattern=r"^(wsklab|echo|pinger)$", description="a driver of this project")
    twin: str | None = Field(default=None, description="a deliberately wrong build of it")
    path: Path | None = Field(default=None, description="a .sys file; relative to the profile")
    inf: Path | None = Field(default=None, description="the INF file of a package; relative to the profile")
    upgrade_from: Path | None = Field(
        default=None, description="the INF file of an older version, which is installed and run first"
    )
    files: dict[WindowsPath, Path] = Field(
        default_factory=dict, max_length=MOST, description="more files: Windows path -> local file"
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if [self.build, self.path, self.inf].count(None) != 2:
            raise ValueError("say one of build, path and inf")
        if self.inf is None and not self.target_path:
            raise ValueError("say where the .sys goes in the target, by target_path")
        if self.inf is not None and {"target_path", "start", "depends"} & self.model_fields_set:
            raise ValueError("with inf there is no target_path, start or depends: the INF file says these")
        if self.upgrade_from is not None and self.inf is None:
            raise ValueError("upgrade_from is the INF file of an older package, and needs inf")
        if self.start == "disabled":
            raise ValueError("a driver whose start is disabled cannot be run")
        if self.twin is not None and self.build is None:
            raise ValueError("twin needs build")
        if self.twin is not None and self.build != "wsklab":
            raise ValueError(f"there are twins of wsklab, not of {self.build}")
        if self.twin is not None and self.twin not in twins():
            raise ValueError(f"there is no twin {self.twin!r}; there are {', '.join(twins())}")
        places = [path.lower() for path in (self.target_path, *self.files)]
        if twice := sorted({path for path in places if places.count(path) > 1}):
            raise ValueError(f"two files go to {', '.join(twice)} in the target")
        for index, problem in problems(self.patterns):
            # The error names its place, so that the message points at the pattern's own line.
            raise PydanticCustomError("pattern", "{problem}", {"problem": problem, "where": ["patterns", index]})
        return self

    def tells(self, kind: str) -> bool:
        """Whether some line of its debug text is an observation of this kind."""
        return any(pattern.kind == kind for pattern in self.patterns)

    def resolve(self, cache: Path, progress: Progress | None = None) -> Path:
        """Return the .sys file on this host, built when it has to be.

        Raises:
            DriverError: it cannot be built, or does not exist.
        """
        if self.build == "wsklab":
            return build_driver(self.twin, cache, progress).path
        if self.build is not None:
            return build_sample(self.build, cache, progress).path
        if self.inf is not None:
            return package.find(self.inf, self.service).driver
        assert self.path is not None, "the profile says one of three"
        if not self.path.exists():
            raise DriverError(f"The driver {self.path} of profile {self.name} does not exist.")
        return self.path


def profile_of_file(file: Path, provoke: str | None) -> DriverProfile:
    """Return a profile for a driver of which there is only its file.

    `provoke` is `peer:PORT` or `start:PORT`, for several connections at a time with their number behind another colon.

    Raises:
        DriverError: `provoke` is something else, or the file's name cannot be one in Windows.
    """
    said = _PROVOKE.fullmatch(provoke or "")
    if said is None or not 1 <= int(said["port"]) <= 65535:
        raise DriverError(
            f"How {file.name} comes to connect must be said: --provoke peer:PORT if it listens there, "
            "--provoke start:PORT if it connects to the peer's port as soon as it is started; PORT:N if it has "
            "N connections at a time, 8 at most."
        )
    service = re.sub(r"[^A-Za-z0-9_]", "_", file.stem)[:64]
    try:
        return DriverProfile.model_validate(
            {
                "name": service,
                "service": service,
                "target_path": rf"C:\wsklab\{file.name}",
                "path": file,
                "provoke": {"by": said["by"], "port": int(said["port"]), "connections": int(said["connections"] or 1)},
            }
        )
    except ValidationError:
        raise DriverError(
            f"{quoted(file.name)} is no name for a driver's file: use letters, digits, - and _."
        ) from None


def registry_file(profile: DriverProfile) -> str:
    """Return the service's parameters as a file for `reg import` (the Parameters key is emptied first)."""
    key = rf"HKEY_LOCAL_MACHINE\SYSTEM\CurrentControlSet\Services\{profile.service}\Parameters"
    lines = ["REGEDIT4", "", f"[-{key}]", "", f"[{key}]"]
    for name, value in profile.parameters.items():
        if isinstance(value, int):
            lines.append(f'"{name}"=dword:{value:08x}')
        else:
            escaped = value.replace("\\", "\\\\").replace('"', '\\"')
            lines.append(f'"{name}"="{escaped}"')
    return "\r\n".join([*lines, "", ""])


def load_profile(name_or_path: str) -> DriverProfile:
    """Return a built-in profile by name ("wsklab", or "wsklab:ignores-flag" for a twin), or a file by its path.

    Raises:
        DriverError: there is no such profile, or it is wrong.
    """
    name, _, twin = name_or_path.partition(":")
    built_in = PROFILES / f"{name}.yaml"
    if "/" not in name and _exists(str(built_in)):
        return _read(built_in, {"twin": twin} if twin else {})
    if _exists(name_or_path):
        return _read(Path(name_or_path), {})
    known = ", ".join(sorted(path.stem for path in PROFILES.glob("*.yaml")))
    raise DriverError(
        f"There is no driver profile '{quoted(name_or_path)}'; built in: {known}. A path to a YAML file works, too."
    )


def _exists(path: str) -> bool:
    """Return whether there is such a file; a name that is too long for a file is that of none."""
    try:
        return Path(path).exists()
    except OSError:
        return False


def _read(path: Path, changes: dict[str, str]) -> DriverProfile:
    try:
        profile = document.load(path, DriverProfile, changes)
    except document.Refused as error:
        raise DriverError(f"The driver profile is wrong: {error}") from None
    folder = path.parent
    return profile.model_copy(
        update={
            **{
                key: folder / local
                for key in ("path", "inf", "upgrade_from")
                if (local := getattr(profile, key)) is not None
            },
            "files": {target: folder / local for target, local in profile.files.items()},
        }
    )
