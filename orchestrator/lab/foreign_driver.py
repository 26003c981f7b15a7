"""Somebody else's driver in a lab: put into the target, started, heard, stopped.

The lab's own driver stays loaded beside it: its canary vouches for the debug line that both print to.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PureWindowsPath
from typing import Any

from wsklab.common import files
from wsklab.drivers.build import BuiltDriver, Progress
from wsklab.drivers.check import MACHINE_X64, WSK_EXPORTS, check_file
from wsklab.drivers.errors import DriverError
from wsklab.drivers.kept import read_checked
from wsklab.drivers.package import Package
from wsklab.drivers.patterns import read
from wsklab.drivers.profile import DriverProfile, Provoke, load_profile, registry_file
from wsklab.drivers.protocol import MARK, PROVIDER_MARK
from wsklab.orchestrator.errors import LabError, UsageError
from wsklab.orchestrator.guest.agent import AgentError
from wsklab.orchestrator.guest.service_control import ALREADY_RUNNING, NOT_ACTIVE, Action
from wsklab.orchestrator.lab.installation import Installation, Payload
from wsklab.orchestrator.lab.packages import beyond_standin, of_profile
from wsklab.orchestrator.lab.target import Target
from wsklab.orchestrator.observe.driver_lines import DriverLine
from wsklab.orchestrator.observe.foreign_lines import ForeignUnload, foreign_line
from wsklab.orchestrator.observe.lab_notes import Unread

PARAMETERS = r"C:\wsklab\parameters.reg"

LOAD = 30.0
"""Seconds for its service to start or to stop."""

LAST_WORDS = 5.0
"""Seconds that its last line may come after its end."""

RUN = 30.0
"""Seconds for a program in the target; the agent stops it then."""


MOST_UNREAD = 2 << 20
"""Characters of lines that no pattern knows, kept of one scenario."""

_WINE = re.compile(r"^[0-9a-f]{4}:\w+:debugstr:\w+ [0-9a-f]{8}:[0-9a-f]{8}: ")
"""What Wine puts before a line of DbgPrintEx: thread, channel, function, component and level."""


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

    @property
    def provoke(self) -> Provoke:
        """How it is made to connect."""
        assert self.profile.provoke is not None, "`usable` has seen to it"
        return self.profile.provoke

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
        """The `driver` part of results.json; the hash is that of the file as it was given to us."""
        document = {"name": self.profile.name, "sha256": self.sha256, "twin": None, "profile": self.name}
        if not self.packages:
            return document
        *older, mine = self.packages
        return document | {"package": mine.document() | {"upgraded_from": older[0].about.version if older else None}}


def profile_of(name: str) -> DriverProfile:
    """The profile that the user has named. Raises UsageError."""
    try:
        return load_profile(name)
    except DriverError as error:
        raise UsageError(str(error)) from None


def usable(profile: DriverProfile, twin: str | None = None) -> None:
    """See that its driver can be judged, before anything is booted. Raises UsageError."""
    if twin is not None:
        raise UsageError(f"there are twins of wsklab only, not of {profile.name}; leave out --twin or --driver.")
    if profile.provoke is None:
        raise UsageError(
            f"the profile {profile.name} does not say how its driver comes to connect; "
            "give `provoke` (docs/drivers.md)."
        )
    if not profile.tells("disc"):
        raise UsageError(
            f"the profile {profile.name} has no pattern of kind `disc`, so nobody would know what "
            "WskDisconnectEvent told its driver; give one under `patterns` (docs/drivers.md)."
        )


def find(name: str, profile: DriverProfile, standin: bool, cache: Path, progress: Progress) -> Foreign:
    """The driver of the profile `name`, built when it is one of ours, for the stand-in or for Windows.

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
        _content(local)
    packages = of_profile(profile, standin)
    file = packages[-1].driver if packages else profile.resolve(cache, progress)
    if standin and (sentence := beyond_standin(profile, packages)):
        progress(sentence)
    loadable(file, standin, progress)
    return Foreign(profile, file, hashlib.sha256(_content(file)).hexdigest(), name, packages=packages)


def loadable(file: Path, standin: bool, progress: Progress) -> None:
    """See that the target can load a file; what Windows would not like is told. Raises UsageError."""
    for remark in _inspect(file, standin):
        progress(f"{file.name}: {remark}")


def own(file: Path) -> BuiltDriver:
    """A build of the lab's own driver that the user has. Raises UsageError."""
    return BuiltDriver(file, hashlib.sha256(_content(file)).hexdigest(), "wsklab", None, file)


def _content(file: Path) -> bytes:
    """What goes into the target. Raises UsageError."""
    try:
        return files.read_bytes(file, files.DRIVER)
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {files.why(error)}.") from None


def _inspect(file: Path, standin: bool) -> list[str]:
    """What Windows would not like about a driver's file. Raises UsageError for what the target cannot load."""
    try:
        report = check_file(file)
    except DriverError as error:
        raise UsageError(f"{file} is no driver that could be loaded: {error}") from None
    if report.machine != MACHINE_X64:
        raise UsageError(f"{file}: the machine type is {report.machine:#x}, and the target is x64; build it for x64.")
    if reasons := [finding.sentence for finding in report.findings if finding.no_driver]:
        raise UsageError(f"{file} cannot be loaded as a driver: {' '.join(reasons)}")
    imports = {name for module, names in report.imports.items() if module.lower() == "netio.sys" for name in names}
    if standin and (missing := sorted(imports - WSK_EXPORTS)):
        raise UsageError(
            f"{file}: it imports {', '.join(missing)} from netio.sys, which the stand-in does not have; "
            f"`wsklab driver check {file}` shows more."
        )
    return [finding.sentence for finding in report.findings if finding.severity == "error"]


class InstalledForeign:
    """A foreign driver in one target. Its lines belong to the connections that it has opened, in that order."""

    def __init__(self, foreign: Foreign, target: Target, patience: float) -> None:
        """`patience` stretches every limit of time."""
        self.foreign = foreign
        self._target = target
        self._patience = patience
        self._limit = LOAD * patience
        self._numbers: dict[int, int] = {}
        self._newest = 0
        self._unread = MOST_UNREAD
        # The file as it was given: a signed copy has no PDB beside it.
        given = foreign.packages[-1].driver if foreign.packages else foreign.profile.path or foreign.file
        target.know_pdb(foreign.file_name, given)
        patterns = foreign.profile.patterns
        target.machine.debug.on_line(self._on_line, reads=lambda text: read(patterns, text.strip()) is not None)

    # --- heard ----------------------------------------------------------------------------------------------------

    def _on_line(self, t: int, text: str) -> None:
        text = _WINE.sub("", text, 1).strip()
        reading = read(self.foreign.profile.patterns, text)
        if reading is None:
            if text and MARK not in text and PROVIDER_MARK not in text:  # nobody else keeps it
                self._keep_unread(t, text)
            return
        conn = None if reading.kind in ("load", "unload", "note") else self._number(reading.kind, reading.conn)
        self._target.journal.add(foreign_line(reading.kind, t, conn, text, reading.data))

    def _keep_unread(self, t: int, text: str) -> None:
        """A line that means nothing to us may mean something to who looks at the evidence, within bounds."""
        if self._unread <= 0:
            return
        self._unread -= len(text)
        if self._unread <= 0:
            text = "[wsklab: more lines that no pattern knows are left out here; see debug.raw]"
        self._target.journal.add(Unread(t=t, text=text))

    def _number(self, kind: str, told: int | None) -> int:
        """The scenario's number for a connection, by order of appearance; without one told, it is the newest."""
        if told is None:
            if kind == "open":
                self._newest = len(self._numbers)
                self._numbers[-1 - self._newest] = self._newest
            return self._newest
        self._newest = self._numbers.setdefault(told, len(self._numbers))
        return self._newest

    # --- put in, started, stopped, taken away -----------------------------------------------------------------------

    def install(self, windows: bool, restart: Callable[[], None]) -> list[str]:
        """Everything but the start; `restart` is Windows' own. Returns what could not be done. Raises LabError."""
        profile, agent = self.foreign.profile, self._target.agent
        installation = Installation(agent, self._limit, self._patience)
        try:
            if self.foreign.payloads:
                (installation.in_windows if windows else installation.in_standin)(self.foreign.payloads)
            else:
                agent.put(profile.target_path, self.foreign.content())
                installation.by_hand(profile.service, profile.target_path, profile.start, profile.depends, windows)
            for path, local in profile.files.items():
                agent.put(path, _content(local))
            if profile.parameters:
                agent.put(PARAMETERS, registry_file(profile).encode("ascii"))
                self.run(rf"regedit.exe /S {PARAMETERS}")
            if windows and (installation.restart or self.foreign.starts_by_itself):
                restart()
            for service in profile.after:
                self._service("start", service, ALREADY_RUNNING)
            if windows and self.foreign.starts_by_itself:
                installation.started_by_itself(profile.service)
        except AgentError as error:
            raise LabError(
                f"the driver {profile.name} could not be put into the target: {error}; the folders of its "
                r"files must exist there, as C:\wsklab does, and so must the services of `after`."
            ) from None
        return installation.remarks

    def start(self) -> None:
        """Load it for a scenario. Raises AgentError when it does not load, LabError."""
        self._numbers, self._newest, self._unread = {}, 0, MOST_UNREAD
        service = self.foreign.profile.service
        state = self._target.agent.service("start", service, timeout=self._limit).get("state")
        if state != "running":
            raise AgentError(f"the service {service} was told to start and is {state}")

    def run(self, command: str) -> None:
        """Run a program in the target to its end. Raises AgentError, also when it fails."""
        answer = self._target.agent.ask("run", RUN + 5, command=command, timeout_ms=round(1000 * RUN))
        if answer["exit"] != 0:
            raise AgentError(f"'{command}' ended with exit code {answer['exit']}")

    def stop(self) -> None:
        """Unload it, if it is loaded; a last line that its profile knows is read then. Raises LabError."""
        mark, profile = self._target.journal.mark, self.foreign.profile
        state = self._service("stop", profile.service, NOT_ACTIVE)
        if state not in (None, "stopped"):
            raise AgentError(f"the service {profile.service} was told to stop and is {state}")
        if state is not None and profile.tells("unload"):
            with suppress(TimeoutError):  # it is unloaded all the same
                self._target.journal.wait_for(
                    ForeignUnload,
                    time.monotonic() + LAST_WORDS * self._patience,
                    mark,
                )

    def last_unload(self) -> DriverLine:
        """Load it once more and unload it, with nobody at the other end; then delete its service. Raises LabError."""
        try:
            self._service("start", self.foreign.profile.service, ALREADY_RUNNING)
        except AgentError as error:
            raise LabError(f"it cannot even be loaded once more: {error}") from None
        self.stop()
        self._target.agent.service("delete", self.foreign.profile.service, timeout=self._limit)
        return ForeignUnload(t=time.time_ns())

    def _service(self, action: Action, name: str, harmless: int) -> str | None:
        """The state that it is in then, None when there was nothing to do. Raises AgentError."""
        try:
            return str(self._target.agent.service(action, name, timeout=self._limit).get("state"))
        except AgentError as error:
            if error.code != harmless:
                raise AgentError(f"{action} {name}: {error}", error.code) from None
            return None
