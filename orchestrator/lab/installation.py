"""Putting a package into a target: by `pnputil` in Windows; in the stand-in its service is made as the INF says.

The steps of Windows are not yet run there. Exit codes: Microsoft, "PnPUtil Return Values", "System Error Codes".
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from wsklab.drivers import dense
from wsklab.drivers.package import BEFORE_WINDOWS, Package
from wsklab.orchestrator.errors import LabError
from wsklab.orchestrator.guest import service_control
from wsklab.orchestrator.guest.agent import Agent, AgentError
from wsklab.orchestrator.guest.service_control import ALREADY_RUNNING, DOES_NOT_EXIST, NOT_ACTIVE

PNPUTIL = 120.0
"""Seconds for `pnputil`: it copies the package, checks its catalog, and makes the service."""

NO_DEVICE, RESTART = 259, 3010
FIRST_WITH_PRIMITIVE = 18362
"""The first build that installs a package without a device by `pnputil`: Windows 10 1903."""

_SETUP = 0xE0000000  # APPLICATION_ERROR_MASK | ERROR_SEVERITY_ERROR
_WHY = {
    _SETUP | 0x22F: "its catalog is not there or not named by the INF",
    _SETUP | 0x241: "its signer is not among the trusted publishers",
    _SETUP | 0x242: "its signature is not trusted: build the image again, which brings the lab's certificate",
    _SETUP | 0x243: "its signer was refused before",
    _SETUP | 0x24B: "a file is not as its catalog says",
    0x800B0109: "its signature leads to a root that Windows does not trust",
    0x800B0100: "its catalog is not signed",
    2: "a file that the INF names is not in the package",
    5: "the agent has no right to install drivers",
}
_FEATURE = "the package {name} is not installed in Windows: "


@dataclass(frozen=True)
class Payload:
    """A package as it goes into the target."""

    package: Package
    contents: Mapping[str, bytes]

    @property
    def sha256(self) -> str:
        """Of the driver's file."""
        return hashlib.sha256(self.contents[self.package.service.binary]).hexdigest()


@dataclass
class Installation:
    """One target that is given packages, the older before the newer."""

    agent: Agent
    limit: float
    """Seconds for a service to start or to stop."""
    patience: float = 1.0
    remarks: list[str] = field(default_factory=list)
    """What could not be done as the INF says, in sentences."""
    restart: bool = False
    """Whether Windows wants to be started anew."""

    def in_standin(self, payloads: Sequence[Payload]) -> None:
        """Make the service of each package by hand. Raises AgentError, LabError."""
        for number, payload in enumerate(payloads, 1):
            package, service = payload.package, payload.package.service
            for name, content in payload.contents.items():
                place = package.path if name == service.binary else rf"{BEFORE_WINDOWS}\{name}"
                self.agent.put(place, content)
            self._dependencies(service.dependencies)
            self._make(service_control.create(
                service.name, package.path, service.start, service.dependencies,
                group=service.group, kind=service.type, error=service.error,
            ))  # fmt: skip
            if number < len(payloads):
                self._once(service.name)
                self.agent.service("delete", service.name, timeout=self.limit)

    def in_windows(self, payloads: Sequence[Payload]) -> None:
        """Have `pnputil` install each package. Raises AgentError, LabError."""
        for number, payload in enumerate(payloads, 1):
            package, service = payload.package, payload.package.service
            folder = rf"{BEFORE_WINDOWS}\package{number}"
            self._run(rf"cmd.exe /d /c if not exist {folder} mkdir {folder}")
            for name, content in payload.contents.items():
                self.agent.put(rf"{folder}\{name}", content)
            self._install(package, rf"{folder}\{package.inf.name}")
            self._must_exist(service.name, package.inf.name)
            self._same_file(payload)
            if number < len(payloads):
                self._once(service.name)

    def by_hand(self, name: str, path: str, start: str, depends: Sequence[str], windows: bool) -> None:
        """Make the service of a driver that comes without a package. Raises AgentError, LabError."""
        if start == "demand" and not depends:
            self.agent.service("create", name, path, self.limit)
            return
        if not windows:
            self._dependencies(depends)
        self._make(service_control.create(name, path, start, depends))

    def started_by_itself(self, name: str) -> None:
        """See that a restarted Windows has started the service, and stop it. Raises AgentError, LabError."""
        state = self.agent.service("query", name, timeout=self.limit).get("state")
        if state != "running":
            raise LabError(
                f"the service {name} is to be started by Windows itself, and is {state} after a restart: see what the "
                "kernel said meanwhile (kd.jsonl), and the event log System, source Service Control Manager"
            )
        self.agent.service("stop", name, timeout=self.limit)

    # --- steps ----------------------------------------------------------------------------------------------------

    def _install(self, package: Package, inf: str) -> None:
        name = package.inf.name
        if package.about.primitive and self._build() < FIRST_WITH_PRIMITIVE:
            if not package.service.path:
                raise LabError(_FEATURE.format(name=name) + "before Windows 10 1903 no package without a device runs "
                               r"from the driver store (%13%); its INF would have to say %12%")  # fmt: skip
            self._run(f"rundll32.exe setupapi.dll,InstallHinfSection DefaultInstall 132 {inf}")
            self.remarks.append(f"{name}: installed by InstallHinfSection, as this Windows is older than 1903")
            return
        status, said = self._ask(f"pnputil.exe /add-driver {inf} /install", PNPUTIL * self.patience)
        if status == RESTART:
            self.restart = True
        elif status:
            raise LabError(_FEATURE.format(name=name) + explain(status, said))

    def _must_exist(self, service: str, inf: str) -> None:
        try:
            self.agent.service("query", service, timeout=self.limit)
        except AgentError as error:
            if error.code != DOES_NOT_EXIST:
                raise
            raise LabError(
                f"{inf} was installed, and there is no service {service}: Windows took no section of it that adds one; "
                r"see C:\Windows\INF\setupapi.dev.log in the guest"
            ) from None

    def _same_file(self, payload: Payload) -> None:
        """Refuse an upgrade that leaves the old file in use: it would test the wrong driver."""
        service = payload.package.service
        said = self._run(f"sc.exe qc {service.name}")
        path = service_control.binary_path(said, service.binary)
        if path is None:
            raise LabError(f"sc.exe qc does not say which file {service.name} runs: {' '.join(said.split())[:300]}")
        found = self._run(f'certutil.exe -hashfile "{path}" SHA256').replace(" ", "").lower()
        if payload.sha256 not in found:
            raise LabError(
                f"the service {service.name} runs {path}, which is not the file of {payload.package.inf.name}: "
                "the upgrade has left an older version in place"
            )

    def _once(self, name: str) -> None:
        """Run the older version once, so that there is something to upgrade."""
        self._start(name)
        self.agent.service("stop", name, timeout=self.limit)

    def _start(self, name: str) -> None:
        try:
            self.agent.service("start", name, timeout=self.limit)
        except AgentError as error:
            if error.code != ALREADY_RUNNING:
                raise

    def _dependencies(self, names: Sequence[str]) -> None:
        """Windows starts them by itself, Wine does not."""
        missing = []
        for name in names:
            try:
                self._start(name)
            except AgentError as error:
                if error.code not in (DOES_NOT_EXIST, NOT_ACTIVE):
                    raise
                missing.append(name)
        if missing:
            self.remarks.append(f"the stand-in has no service {', '.join(missing)}: the driver runs without")

    def _make(self, command: str) -> None:
        status, said = self._ask(command, self.limit)
        answer = service_control.read(said, status)
        if answer.code:
            raise AgentError(service_control.explain(answer.code, "create", " ".join(said.split())[:200]), answer.code)

    def _build(self) -> int:
        """Return the build of the running system, 0 when it does not say."""
        found = re.fullmatch(r"windows \d+\.\d+\.(\d{1,6})", str((self.agent.hello or {}).get("system", "")))
        return int(found[1]) if found else 0

    def _run(self, command: str) -> str:
        status, said = self._ask(command, self.limit)
        if status:
            raise LabError(f"'{command}' failed in the target (status {status}): {' '.join(said.split())[-500:]}")
        return said

    def _ask(self, command: str, timeout: float) -> tuple[int, str]:
        answer = self.agent.ask("run", timeout + 5, command=command, timeout_ms=round(1000 * timeout))
        return int(answer["exit"]), dense.decode(answer["output"]).decode(errors="replace")


def explain(status: int, said: str) -> str:
    """One sentence for an exit status of `pnputil`."""
    if status == NO_DEVICE:
        return (
            "it is for a device that this machine does not have; a driver without a device is installed by "
            "[DefaultInstall.NTamd64]"
        )
    code = status & 0xFFFFFFFF
    return f"pnputil ended with {code:#x}, {_WHY.get(code, ' '.join(said.split())[-300:] or 'without a word')}"
