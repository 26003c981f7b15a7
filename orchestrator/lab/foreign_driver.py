"""Somebody else's driver: found by its profile or its file, and looked at before anything is booted."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath
from typing import Any

from wsklab.common import files
from wsklab.drivers.build import BuiltDriver, Progress
from wsklab.drivers.check import MACHINE_X64, WSK_EXPORTS, check_file
from wsklab.drivers.errors import DriverError
from wsklab.drivers.kept import read_checked
from wsklab.drivers.package import Package
from wsklab.drivers.profile import DriverProfile, Provoke, load_profile, profile_of_file
from wsklab.drivers.standin_modules import STANDIN_MODULES
from wsklab.drivers.standin_modules import beyond_standin as not_there
from wsklab.orchestrator.errors import LabError, UsageError
from wsklab.orchestrator.lab.installation import Payload
from wsklab.orchestrator.lab.packages import beyond_standin, of_profile
from wsklab.orchestrator.lab.wsk_words import KINDS


@dataclass(frozen=True)
class Foreign:
    """A driver that is not the lab's own: its profile, and its file on this host."""

    profile: DriverProfile
    file: Path
    sha256: str
    name: str  # as the user called it: a profile's name or file
    loaded_sha256: str = ""  # of the file as it goes into the target, where that is another one: it has been signed
    packages: tuple[Package, ...] = ()  # in the order in which they are installed: the last is the one under test
    payloads: tuple[Payload, ...] = ()  # the same as they go into the target
    witnessed: bool = False  # the stand-in's provider tells what the driver's own text does not

    @property
    def provoke(self) -> Provoke:
        """How it is made to connect."""
        assert self.profile.provoke is not None, "`usable` has seen to it"
        return self.profile.provoke

    def tells(self, kind: str) -> bool:
        """Whether what a line of this kind tells is known, by the driver's text or by the provider."""
        return self.profile.tells(kind) or (self.witnessed and kind in KINDS)

    @property
    def target_path(self) -> str:
        """Where its file is in the target; Windows itself chooses the place of one that its store has."""
        return self.packages[-1].path if self.packages else self.profile.target_path

    def prepared(
        self,
        prepare: Callable[[BuiltDriver], BuiltDriver],
        pack: Callable[[Package], Mapping[str, bytes]] | None = None,
    ) -> Foreign:
        """With its files as they go into the target: signed where that needs it. Raises DriverError."""
        if self.packages:
            payloads = tuple(Payload(one, pack(one) if pack else one.contents()) for one in self.packages)
            return replace(self, payloads=payloads, loaded_sha256=payloads[-1].sha256)
        built = prepare(BuiltDriver(self.file, self.sha256, self.profile.name, None, self.file))
        return replace(self, file=built.path, loaded_sha256=built.sha256)

    @property
    def file_name(self) -> str:
        """What its file is called in the target."""
        return PureWindowsPath(self.target_path).name

    @property
    def starts_by_itself(self) -> bool:
        """Whether Windows is to start it."""
        return (self.packages[-1].service.start if self.packages else self.profile.start) != "demand"

    def content(self) -> bytes:
        """Return what goes into the target. Raises LabError when the file has changed since it was looked at."""
        try:
            return read_checked(self.file, self.loaded_sha256 or self.sha256)
        except DriverError as error:
            raise LabError(str(error)) from None

    def document(self) -> dict[str, Any]:
        """Return the `driver` part of results.json; the hash is that of the file as it was given to us."""
        document = {"name": self.profile.name, "sha256": self.sha256, "twin": None, "profile": self.name}
        if not self.packages:
            return document
        *older, mine = self.packages
        return document | {"package": mine.document() | {"upgraded_from": older[0].about.version if older else None}}


def profile_of(name: str, provoke: str | None = None) -> DriverProfile:
    """Return the profile that the user has named, or one made for the driver's file that he has. Raises UsageError."""
    try:
        if name.lower().endswith(".sys"):
            return profile_of_file(Path(name), provoke)
        if provoke is not None:
            raise UsageError("--provoke goes with --driver FILE.sys; a profile says it itself, under `provoke`.")
        return load_profile(name)
    except DriverError as error:
        raise UsageError(str(error)) from None


def usable(profile: DriverProfile, twin: str | None = None, witnessed: bool = False) -> None:
    """See that its driver can be judged, before anything is booted. Raises UsageError."""
    if twin is not None:
        raise UsageError(f"there are twins of wsklab only, not of {profile.name}; leave out --twin or --driver.")
    if profile.provoke is None:
        raise UsageError(
            f"the profile {profile.name} does not say how its driver comes to connect; "
            "give `provoke` (docs/drivers.md)."
        )
    if not profile.tells("disc") and not witnessed:
        raise UsageError(
            f"the profile {profile.name} has no pattern of kind `disc`, so nobody would know what "
            "WskDisconnectEvent told its driver; give one under `patterns` (docs/drivers.md), or let the stand-in "
            "watch it with --strict."
        )


def find(
    name: str, profile: DriverProfile, standin: bool, cache: Path, progress: Progress, witnessed: bool = False
) -> Foreign:
    """Return the driver of the profile `name`, built when it is one of ours, for the stand-in or for Windows.

    Raises UsageError when there is none, or none that the target can load; DriverError when it cannot be built.
    """
    if profile.path is not None and not profile.path.exists():
        raise UsageError(
            f"the driver {profile.path} of the profile {profile.name} does not exist; "
            "build it, or say in the profile where it is."
        )
    for local in profile.files.values():
        if not local.exists():
            raise UsageError(f"the profile {profile.name} names the file {local}, which does not exist.")
        content_of(local)
    packages = of_profile(profile, standin)
    file = packages[-1].driver if packages else profile.resolve(cache, progress)
    if standin and (sentence := beyond_standin(profile, packages)):
        progress(sentence)
    loadable(file, standin, progress)
    sha256 = hashlib.sha256(content_of(file)).hexdigest()
    return Foreign(profile, file, sha256, name, packages=packages, witnessed=witnessed)


def loadable(file: Path, standin: bool, progress: Progress) -> None:
    """See that the target can load a file; what Windows would not like is told. Raises UsageError."""
    for remark in _inspect(file, standin):
        progress(f"{file.name}: {remark}")


def own(file: Path) -> BuiltDriver:
    """Return a build of the lab's own driver that the user has. Raises UsageError."""
    return BuiltDriver(file, hashlib.sha256(content_of(file)).hexdigest(), "wsklab", None, file)


def content_of(file: Path) -> bytes:
    """Return what goes into the target. Raises UsageError."""
    try:
        return files.read_bytes(file, files.DRIVER)
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {files.why(error)}.") from None


def _inspect(file: Path, standin: bool) -> list[str]:
    """Return what Windows would not like about a driver's file. Raises UsageError for what the target cannot load."""
    try:
        report = check_file(file)
    except DriverError as error:
        raise UsageError(f"{file} is no driver that could be loaded: {error}") from None
    if report.machine != MACHINE_X64:
        raise UsageError(f"{file}: the machine type is {report.machine:#x}, and the target is x64; build it for x64.")
    if reasons := [finding.sentence for finding in report.findings if finding.no_driver]:
        raise UsageError(f"{file} cannot be loaded as a driver: {' '.join(reasons)}")
    for module, names in report.imports.items():
        if standin and module.lower() not in STANDIN_MODULES:
            raise UsageError(f"{file}: {not_there(module, names)} Run it on Windows (--target).")
    imports = {name for module, names in report.imports.items() if module.lower() == "netio.sys" for name in names}
    if standin and (missing := sorted(imports - WSK_EXPORTS)):
        raise UsageError(
            f"{file}: it imports {', '.join(missing)} from netio.sys, which the stand-in does not have; "
            f"`wsklab driver check {file}` shows more."
        )
    return [finding.sentence for finding in report.findings if finding.severity == "error"]
