"""Getting a driver into a Windows guest and its service going: SFTP or a disc, then the service control manager.

The manager is reached through the agent (`Agent.service`) or, over SSH, through `sc.exe`: both are `Services`, and
both refuse with the same Win32 errors. Not yet run on Windows.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from wsklab.drivers import dense
from wsklab.drivers.build import BuiltDriver
from wsklab.drivers.errors import DriverError
from wsklab.orchestrator.errors import LabError
from wsklab.orchestrator.guest import service_control
from wsklab.orchestrator.guest.agent import Agent, Refused
from wsklab.orchestrator.guest.ssh import Ssh

if TYPE_CHECKING:
    from wsklab.drivers.check import Report
    from wsklab.drivers.package import Package
    from wsklab.drivers.sign import SigningKey

FOLDER = r"C:\wsklab"
DISC_LABEL = "WSKDEPLOY"
RESTART = "shutdown.exe /r /t 0 /f /d p:4:2"
AGENT, NEW_AGENT, RENEW = "wskagent.exe", "wskagent.new", "renew.cmd"
AGENT_TASK, RENEW_TASK = "wsklab-agent", "wsklab-renew"
"""Scheduled tasks: the first is made with the image (images/windows/answers/guest/provision.ps1)."""

COPY = 60.0
"""Seconds for a file or two to be copied inside the guest."""

_LOOK = 0.05
"""Seconds between two looks at a service: the manager has nothing to wait on."""


class Services(Protocol):
    """The service control manager, by whatever road. `Agent` is one."""

    def service(
        self, action: service_control.Action, name: str, path: str | None = None, timeout: float = 60.0
    ) -> dict[str, Any]:
        """Return what is known of the service (`state`, perhaps empty). Raises Refused with the Win32 error."""
        ...


class SshServices:
    """`sc.exe` over SSH."""

    def __init__(self, ssh: Ssh) -> None:
        self._ssh = ssh

    def service(
        self, action: service_control.Action, name: str, path: str | None = None, timeout: float = 60.0
    ) -> dict[str, Any]:
        status, said = self._ssh.call(service_control.command(action, name, path or ""), timeout)
        answer = service_control.read(said.decode(errors="replace"), status)
        if answer.code:
            raise Refused(f"{action} {name}: {service_control.explain(answer.code, action)}", answer.code)
        return {"state": answer.state, "win32_exit": answer.win32_exit}


# --- the service ------------------------------------------------------------------------------------------------------


def load(services: Services, name: str, path: str, timeout: float) -> None:
    """Create the service of a kernel driver and start it; what an earlier attempt left is removed first.

    Raises Refused, which explains the code, or LabError.
    """
    try:
        services.service("create", name, path, timeout)
    except Refused as error:
        if error.code not in (service_control.EXISTS, service_control.MARKED_FOR_DELETE):
            raise
        remove(services, name, timeout)
        services.service("create", name, path, timeout)
    services.service("start", name, timeout=timeout)


EVENTS = "wevtutil.exe qe Microsoft-Windows-CodeIntegrity/Operational /c:3 /rd:true /f:text"
"""The newest words of what refuses drivers: event 3004 or 3077 names the file and the policy."""


def why_blocked(agent: Agent, code: int) -> str:
    """Return what Windows' own log says of a driver whose signature or reputation it refused.

    Nothing for other errors.
    """
    if code not in (service_control.INVALID_IMAGE_HASH, service_control.DRIVER_BLOCKED):
        return ""
    try:
        said = " ".join(run(agent, EVENTS, 30, harmless=None).split())
    except LabError as error:
        said = f"could not be read ({error})"
    return f"; CodeIntegrity's last events: {said[:1500] or 'none'}"


def remove(services: Services, name: str, timeout: float) -> None:
    """Stop a service and delete it, whatever state it is in. Raises Refused or LabError."""
    deadline = time.monotonic() + timeout
    stop(services, name, deadline)
    _pass(
        lambda: services.service("delete", name, timeout=timeout),
        service_control.DOES_NOT_EXIST,
        service_control.MARKED_FOR_DELETE,
    )
    _await(
        lambda: _state(services, name) is None,
        deadline,
        f"the service {name} is still there after it was deleted: "
        f"{service_control.explain(service_control.MARKED_FOR_DELETE, 'delete')}",
    )


def stop(services: Services, name: str, deadline: float) -> None:
    """Stop a service; one that does not run, or does not exist, is stopped. Raises Refused or LabError."""
    patience = max(1.0, deadline - time.monotonic())

    def accepted() -> bool:
        try:
            services.service("stop", name, timeout=patience)
        except Refused as error:
            if error.code == service_control.CANNOT_ACCEPT_CONTROL:
                return False  # a start or stop is going on
            if error.code not in (service_control.NOT_ACTIVE, service_control.DOES_NOT_EXIST):
                raise
        return True

    stuck = (
        f"the service {name} does not stop: {service_control.explain(service_control.CANNOT_ACCEPT_CONTROL, 'stop')}"
    )
    _await(accepted, deadline, stuck)
    _await(lambda: _state(services, name) in (None, "stopped"), deadline, stuck)


def _state(services: Services, name: str) -> str | None:
    """None when there is no such service."""
    try:
        return str(services.service("query", name)["state"])
    except Refused as error:
        if error.code != service_control.DOES_NOT_EXIST:
            raise
        return None


def _pass(call: Callable[[], object], *harmless: int) -> None:
    try:
        call()
    except Refused as error:
        if error.code not in harmless:
            raise


def _await(there: Callable[[], bool], deadline: float, otherwise: str) -> None:
    while not there():
        if time.monotonic() > deadline:
            raise LabError(otherwise)
        time.sleep(_LOOK)


# --- the files --------------------------------------------------------------------------------------------------------


def prepared(driver: BuiltDriver, cache: Path, now: datetime) -> BuiltDriver:
    """Return a signed copy of the driver, checked as Windows will check it; made once per driver and certificate.

    A file that comes signed stays as it is. Raises DriverError, which names what would keep it from loading.
    """
    if _loadable(driver.path).signed:
        return driver
    from wsklab.drivers.sign import sign, signing_key, verify  # the stand-in loads what is not signed

    pair = signing_key(cache, now)
    certificate = hashlib.sha256(pair.certificate.read_bytes()).hexdigest()[:16]
    kept = cache / "signed" / f"{driver.sha256[:32]}-{certificate}" / driver.path.name
    if not _holds(kept, pair):
        kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = kept.with_name(f"{time.monotonic_ns()}.sys")
        sign(driver.path, fresh, pair)
        fresh.replace(kept)
    verify(kept, pair)
    _loadable(kept)
    return replace(driver, path=kept, sha256=hashlib.sha256(kept.read_bytes()).hexdigest())


def packed(package: Package, cache: Path, now: datetime) -> dict[str, bytes]:
    """Return the files of a package, signed where they are not.

    Raises DriverError, which names what Windows would refuse.
    """
    from wsklab.drivers.package import signed
    from wsklab.drivers.sign import signing_key

    for name in package.contents():
        if name.lower().endswith(".sys"):
            _loadable(package.inf.parent / name)
    return signed(package, signing_key(cache, now), cache / "signed" / "packages", now)


def _holds(kept: Path, pair: SigningKey) -> bool:
    """Whether there is a signed copy that is as it was signed; a damaged one is signed again."""
    from wsklab.drivers.sign import verify

    with suppress(DriverError):
        verify(kept, pair)
        return True
    return False


def _loadable(path: Path) -> Report:
    """Return what the check says of a file in which nothing would keep it from loading. Raises DriverError."""
    from wsklab.drivers.check import check_file

    report = check_file(path)
    wrong = [finding.sentence for finding in report.findings if finding.severity == "error"]
    if wrong:
        raise DriverError(f"Windows would not load {path.name}: {' '.join(wrong)}")
    return report


def by_sftp(ssh: Ssh, files: Mapping[str, bytes]) -> None:
    """Put files into the lab's folder. Raises LabError."""
    for name, content in files.items():
        ssh.put(f"/{FOLDER[:2]}/{FOLDER[3:]}/{name}", content)


def disc(files: Mapping[str, bytes], path: Path) -> None:
    """Make a disc with the files, for a guest without SSH; a tag in its root tells it from every other disc."""
    from wsklab.images.windows.media.disc import write_disc

    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_disc({_tag(files): b"wsklab\r\n", **files}, DISC_LABEL, path)


def from_disc(agent: Agent, files: Mapping[str, bytes]) -> None:
    """Have the agent copy the files off the disc, and compare each with what was written there. Raises LabError."""
    names = " & ".join(rf"copy /y %d:\{name} {FOLDER}\{name}" for name in files)
    find = rf"for %d in (D E F G H I J K) do @if exist %d:\{_tag(files)} ({names})"
    said = run(agent, f'cmd.exe /d /c "{find}"', COPY)
    for name, content in files.items():
        if hashlib.sha256(content).hexdigest() not in _hash(agent, name):
            raise LabError(
                f"{name} did not come off the disc {DISC_LABEL} into {FOLDER} as it was written; the guest "
                f"said: {said.strip()[-300:] or 'nothing, so it does not see the disc'}"
            )


# A task of its own, for what `schtasks /end` ends takes its children along. The pause lets the agent answer first.
_RENEW = "\r\n".join(
    (
        "@echo off",
        "ping.exe -n 2 127.0.0.1 >nul",
        f"schtasks.exe /end /tn {AGENT_TASK}",
        ":again",
        rf"copy /y {FOLDER}\{NEW_AGENT} {FOLDER}\{AGENT} >nul && goto done",
        "ping.exe -n 2 127.0.0.1 >nul",
        "goto again",
        ":done",
        f"schtasks.exe /run /tn {AGENT_TASK}",
        f"schtasks.exe /delete /tn {RENEW_TASK} /f",
        "",
    )
).encode("ascii")


def agent_files(agent: bytes) -> dict[str, bytes]:
    """Return what goes into the guest besides the driver, so that `renew_agent` finds it."""
    return {NEW_AGENT: agent, RENEW: _RENEW}


def agent_is(agent: Agent, sha256: str) -> bool:
    """Whether the guest's agent is the one with this SHA-256. Raises LabError."""
    return sha256 in _hash(agent, AGENT)


def renew_agent(agent: Agent) -> None:
    """Have the agent replaced by what `agent_files` brought; it goes, and the new one greets. Raises LabError."""
    task = rf"schtasks.exe /create /f /tn {RENEW_TASK} /sc once /st 00:00 /ru SYSTEM /tr {FOLDER}\{RENEW}"
    run(agent, task, COPY)
    agent.hello = None
    run(agent, f"schtasks.exe /run /tn {RENEW_TASK}", COPY)


def _hash(agent: Agent, name: str) -> str:
    """Return the SHA-256 of a file in the lab's folder, somewhere in what certutil says in its own language."""
    return run(agent, rf"certutil.exe -hashfile {FOLDER}\{name} SHA256", COPY).replace(" ", "").lower()


def run(agent: Agent, command: str, timeout: float, harmless: tuple[int, ...] | None = (0,)) -> str:
    """Run a program in the guest; returns what it printed. Raises LabError for a status not `harmless` (None: any)."""
    answer = agent.ask("run", timeout + 5, command=command, timeout_ms=int(timeout * 1000))
    said = dense.decode(answer["output"]).decode(errors="replace")
    if harmless is not None and answer["exit"] not in harmless:
        raise LabError(f"'{command}' failed in the target (status {answer['exit']}): {said.strip()[-500:]}")
    return said


def powershell(agent: Agent, script: str) -> str:
    """Run a script in the guest; returns what it printed. Encoded, so that nothing on the way quotes it."""
    encoded = base64.b64encode(script.encode("utf-16-le")).decode()
    return run(agent, f"powershell.exe -NoProfile -NonInteractive -EncodedCommand {encoded}", COPY)


def _tag(files: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(name.encode() + b"\0" + hashlib.sha256(files[name]).digest())
    return f"{digest.hexdigest()[:16]}.tag"
