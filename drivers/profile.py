"""Driver profiles: which driver is under test, and how Windows is told to load it.

Built-in profiles are in drivers/profiles; a user's own is any YAML file of the same form.
"""

from __future__ import annotations

from pathlib import Path, PureWindowsPath
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from .build import Progress, build_driver, build_sample
from .errors import DriverError
from .patterns import Pattern, problems
from .twins import twins

PROFILES = Path(__file__).with_name("profiles")


ServiceName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{1,64}$")]
ValueName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{1,64}$")]
Number = Annotated[int, Field(strict=True, ge=0, le=0xFFFFFFFF)]
Text = Annotated[str, Field(strict=True, pattern=r"^[ -~]{0,512}$")]


class Provoke(BaseModel):
    """How a connection of the driver comes about, and the TCP port that is listened on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    by: Literal["peer", "start", "command"] = Field(
        description="peer: the driver listens, the peer connects; start: it connects when its service starts; "
        "command: it connects when a program is run in the target"
    )
    port: int = Field(ge=1, le=65535)
    command: str = Field(default="", description="the program and its arguments, for `by: command`")
    greeting: int = Field(default=0, ge=0, le=1 << 20, description="bytes it sends unasked as soon as it is connected")
    replies: bool = Field(default=False, description="it sends something back when it gets data")

    @property
    def talks(self) -> bool:
        """Whether a peer that does not read can have something unread."""
        return self.greeting > 0 or self.replies

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.by == "command") != bool(self.command):
            raise ValueError("`command` goes with `by: command`, and only with it")
        return self


class DriverProfile(BaseModel):
    """One driver under test. Exactly one of `build` and `path` says where its file comes from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")
    title: str = ""
    service: ServiceName = Field(description="name of the kernel service")
    after: tuple[ServiceName, ...] = Field(default=(), description="services that are started before it, in this order")
    parameters: dict[ValueName, Number | Text] = Field(
        default_factory=dict, description="values under the service's Parameters key: numbers REG_DWORD, texts REG_SZ"
    )
    provoke: Provoke | None = Field(default=None, description="how a connection comes about")
    patterns: tuple[Pattern, ...] = Field(default=(), description="what its debug text means; the first match wins")
    device: str = Field(default="", description="device to open, empty when the driver has none")
    target_path: str = Field(description="where the .sys is put in the target, a Windows path on drive C")
    build: str | None = Field(default=None, pattern=r"^(wsklab|echo|pinger)$", description="a driver of this project")
    twin: str | None = Field(default=None, description="a deliberately wrong build of it")
    path: Path | None = Field(default=None, description="a .sys file; relative to the profile")
    files: dict[str, Path] = Field(default_factory=dict, description="more files: Windows path -> local file")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.build is None) == (self.path is None):
            raise ValueError("say either build or path")
        if self.twin is not None and self.build is None:
            raise ValueError("twin needs build")
        if self.twin is not None and self.build != "wsklab":
            raise ValueError(f"there are twins of wsklab, not of {self.build}")
        if self.twin is not None and self.twin not in twins():
            raise ValueError(f"there is no twin {self.twin!r}; there are {', '.join(twins())}")
        for path in (self.target_path, *self.files):
            windows = PureWindowsPath(path)
            if windows.drive.upper() != "C:" or not windows.root or ".." in windows.parts:
                raise ValueError(f"{path!r} is not an absolute path on drive C")
        if found := problems(self.patterns):
            raise ValueError("; ".join(found))
        return self

    def tells(self, kind: str) -> bool:
        """Whether some line of its debug text is an observation of this kind."""
        return any(pattern.kind == kind for pattern in self.patterns)

    def resolve(self, cache: Path, progress: Progress | None = None) -> Path:
        """The .sys file on this host, built when it has to be.

        Raises:
            DriverError: it cannot be built, or does not exist.
        """
        if self.build == "wsklab":
            return build_driver(self.twin, cache, progress).path
        if self.path is None:
            return build_sample(str(self.build), cache, progress).path
        if not self.path.is_file():
            raise DriverError(f"The driver {self.path} of profile {self.name} does not exist.")
        return self.path


def registry_file(profile: DriverProfile) -> str:
    """The service's parameters as a file for `reg import` (the Parameters key is emptied first)."""
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
    """A built-in profile by name ("wsklab", or "wsklab:ignores-flag" for a twin), or a file by its path.

    Raises:
        DriverError: there is no such profile, or it is wrong.
    """
    name, _, twin = name_or_path.partition(":")
    built_in = PROFILES / f"{name}.yaml"
    if "/" not in name and built_in.is_file():
        return _read(built_in, {"twin": twin} if twin else {})
    if Path(name_or_path).is_file():
        return _read(Path(name_or_path), {})
    known = ", ".join(sorted(path.stem for path in PROFILES.glob("*.yaml")))
    raise DriverError(
        f"There is no driver profile {name_or_path!r}; built in: {known}. A path to a YAML file works, too."
    )


def _read(path: Path, changes: dict[str, str]) -> DriverProfile:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise DriverError(f"The driver profile {path} cannot be read: {error}") from error
    if not isinstance(data, dict):
        raise DriverError(f"The driver profile {path} is not a list of keys and values.")
    try:
        profile = DriverProfile.model_validate({**data, **changes})
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc']) or 'profile'}: "
            + problem["msg"].removeprefix("Value error, ")
            for problem in error.errors()
        )
        raise DriverError(f"The driver profile {path} is wrong: {problems}.") from error
    folder = path.parent
    return profile.model_copy(
        update={
            "path": folder / profile.path if profile.path else None,
            "files": {target: folder / local for target, local in profile.files.items()},
        }
    )
