"""What differs between the two kinds of target: how each comes up, is given its driver, and asked."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from wsklab import images
from wsklab.drivers.build import BuiltDriver, build_agent
from wsklab.drivers.errors import DriverError
from wsklab.images.store import Image
from wsklab.orchestrator.errors import LabError
from wsklab.orchestrator.guest import deploy, variants, verifier
from wsklab.orchestrator.guest.agent import Agent, AgentSilent, Refused
from wsklab.orchestrator.guest.service_control import ALREADY_RUNNING
from wsklab.orchestrator.guest.ssh import Ssh
from wsklab.qemu.errors import MachineError
from wsklab.qemu.machine import Machine
from wsklab.qemu.network import MACHINES, WIRE_NETMASK
from wsklab.qemu.profile import Accelerator, ImageFiles, Profile

if TYPE_CHECKING:  # what other drivers need is loaded with the first of them
    from wsklab.drivers.package import Package

READY = "WSKLAB-READY"
"""What a Linux guest of ours says on its console when its SSH server listens."""

FOLDER = deploy.FOLDER
"""Where drivers are in the words of the target's own system."""

WIRE_NIC = {"standin": "eth0", "windows": "wire"}
"""Its NIC on the wire, in the words of the guest: Linux' first on the bus, and the name that set-up gave it."""

if TYPE_CHECKING:  # what other drivers need is loaded with the first of them
    from wsklab.drivers.package import Package


class Guest(ABC):
    """A kind of target, with the image that it boots from."""

    kind: ClassVar[Literal["standin", "windows"]]
    boot: ClassVar[float]
    """Seconds that it may take to boot with KVM."""
    slow: Mapping[Accelerator, float]
    """How many times KVM's time everything may take."""
    user: str = "root"
    """Who logs in by SSH."""
    watched: str = ""
    """The file that Driver Verifier watches, where that is not the lab's own driver."""
    restarts: ClassVar[bool] = False
    """Whether it may reset itself before it is ready."""

    def __init__(self, image: Image, profile: Profile, version: str, strict: int | None = None) -> None:
        self.strict = strict
        """The seed of what the stand-in's strict mode draws; None: it is off, or there is none."""
        self.image = image
        self.profile = profile
        self.version = version
        """Of its system, for people."""

    @property
    def qualifying(self) -> bool:
        """Whether a driver that passes here has passed on Windows."""
        return self.kind == "windows"

    def varied(self, name: str) -> Self:
        """Return the same guest on a variant of its machine; "" is the machine itself."""
        guest = copy.copy(self)
        guest.profile = self.profile.varied(name)
        return guest

    @abstractmethod
    def adjust(self, machine: Machine, agent: Agent, deadline: float) -> None:
        """Make the ready guest the variant that its machine is. Raises LabError."""

    def describe(self) -> dict[str, Any]:
        """Return the `target` part of results.json."""
        return {
            "name": self.image.name,
            "kind": self.kind,
            "qualifying": self.qualifying,
            "version": self.version,
            "image_sha256": self.image.manifest.files["disk.qcow2"],
        }

    def ingredients(self) -> dict[str, str]:
        """Return what of it a saved lab depends on."""
        return {self.kind: self.image.key}

    def prepare(self, driver: BuiltDriver) -> BuiltDriver:
        """Return the driver as it goes into this guest, checked on the host. Raises DriverError."""
        return driver

    def pack(self, package: Package) -> Mapping[str, bytes]:
        """Return the files of a driver's package as they go into this guest. Raises DriverError."""
        return package.contents()

    def restart(self, machine: Machine, agent: Agent, deadline: float) -> None:
        """Start the system anew by its own command. Raises LabError."""
        raise LabError(f"a {self.kind} is not restarted")

    def files(self, driver: BuiltDriver, folder: Path) -> ImageFiles:
        """Return what the machine boots from; `folder` is the machine's own, for what must be written first."""
        image = self.image
        return ImageFiles(image.disk, image.kernel, image.initrd, image.kernel_args)

    @abstractmethod
    def await_ready(self, machine: Machine, agent: Agent, driver: BuiltDriver, deadline: float) -> None:
        """Until the agent answers and the driver's file is in place. Raises LabError or MachineError."""

    @abstractmethod
    def ssh(self, machine: Machine, agent: Agent) -> Ssh:
        """Return a connection to its SSH server. Raises LabError."""

    @abstractmethod
    def shell(self, machine: Machine, agent: Agent, command: str) -> str:
        """Run a command line of the guest's own; returns what it said. Raises LabError."""

    @abstractmethod
    def address(self, present: bool) -> str:
        """Return the command line that gives the guest its address on the wire, or takes it."""

    def settings(self, agent: Agent, driver: BuiltDriver) -> dict[str, Any]:
        """Return what is set in the ready guest that a verdict depends on, for results.json. Raises LabError."""
        return {}


STRICT_CHECKS = ("irql", "memory", "witness")
"""What the strict mode of the stand-in checks; drivers/strict/config.c knows the words."""


class StandinGuest(Guest):
    """Debian with Wine: its own shell behind SSH, READY on its console."""

    kind = "standin"
    boot = 90.0
    slow: Mapping[Accelerator, float] = {"kvm": 1.0, "tcg": 3.0}
    LINUX_FOLDER = "/wine/drive_c/wsklab"  # FOLDER, in Linux's words

    def ingredients(self) -> dict[str, str]:
        return super().ingredients() | ({} if self.strict is None else {"strict": ",".join(STRICT_CHECKS)})

    def files(self, driver: BuiltDriver, folder: Path) -> ImageFiles:
        files = super().files(driver, folder)
        if self.strict is None:
            return files
        return replace(files, kernel_args=f"{files.kernel_args} wsklab.strict={','.join(STRICT_CHECKS)}")

    def settings(self, agent: Agent, driver: BuiltDriver) -> dict[str, Any]:
        return {} if self.strict is None else {"strict": {"checks": list(STRICT_CHECKS), "simulated": True}}

    def await_ready(self, machine: Machine, agent: Agent, driver: BuiltDriver, deadline: float) -> None:
        machine.console.expect(READY, deadline)
        ssh = self.ssh(machine, agent)
        ssh.put(f"{self.LINUX_FOLDER}/{driver.path.name}", content_of(driver))
        ssh.close()  # no connection may be open when the lab is ready
        agent.await_hello(deadline)

    def ssh(self, machine: Machine, agent: Agent) -> Ssh:
        return Ssh("target", machine.ssh_port, self.image.ssh_key, self.image.known_hosts)

    def shell(self, machine: Machine, agent: Agent, command: str) -> str:
        ssh = self.ssh(machine, agent)
        try:
            return ssh.run(command)
        finally:
            ssh.close()

    def address(self, present: bool) -> str:
        return linux_address("target", present)

    def adjust(self, machine: Machine, agent: Agent, deadline: float) -> None:
        commands = variants.linux(self.profile.variant, WIRE_NIC[self.kind])
        if not self.profile.variant.ipv4:
            commands.append(self.address(present=False))
        for command in commands:
            self.shell(machine, agent, command)


class WindowsGuest(Guest):
    """Windows as `wsklab image build windows-*` makes it: KD on COM1, the agent on COM2. Not yet run on Windows."""

    kind = "windows"
    boot = 600.0
    slow: Mapping[Accelerator, float] = {"kvm": 1.0, "tcg": 12.0}
    restarts = True

    def __init__(self, image: Image, profile: Profile, version: str, verify: verifier.Choice | None = None) -> None:
        from wsklab.images.windows.answers.settings import USER

        super().__init__(image, profile, version)
        self.user = USER
        self.verify = verify

    @property
    def has_ssh(self) -> bool:
        """An SSH server was installed with the image, and its host key is known."""
        return bool(self.image.known_hosts.read_text(encoding="ascii").strip())

    def ingredients(self) -> dict[str, str]:
        return super().ingredients() | {
            "agent": self._agent().sha256,
            "verifier": " ".join(filter(None, (self.verify, self.watched))),
        }

    def prepare(self, driver: BuiltDriver) -> BuiltDriver:
        return deploy.prepared(driver, images.cache_folder(), datetime.now(UTC))

    def pack(self, package: Package) -> Mapping[str, bytes]:
        return deploy.packed(package, images.cache_folder(), datetime.now(UTC))

    def files(self, driver: BuiltDriver, folder: Path) -> ImageFiles:
        """Without SSH the driver comes on a disc, which is there from power-on: that bus takes none later."""
        disc = folder / "deploy.iso"
        if not self.has_ssh:
            deploy.disc(self._deployed(driver), disc)
        return ImageFiles(self.image.disk, variables=self.image.variables, cdroms=() if self.has_ssh else (disc,))

    def await_ready(self, machine: Machine, agent: Agent, driver: BuiltDriver, deadline: float) -> None:
        self._greet(machine, agent, deadline)
        self._deliver(machine, agent, driver)
        if not deploy.agent_is(agent, self._agent().sha256):  # the image is older than this checkout
            deploy.renew_agent(agent)
            self._greet(machine, agent, deadline)
        if self.verify:
            verifier.enable(self._program(agent), self.verify, self.watched or driver.path.name)
            self.restart(machine, agent, deadline)

    def restart(self, machine: Machine, agent: Agent, deadline: float) -> None:
        """Start Windows anew by its own command; what it is told before is not lost. Raises LabError."""
        agent.hello = None
        deploy.run(agent, deploy.RESTART, 30)
        self._greet(machine, agent, deadline)

    def shell(self, machine: Machine, agent: Agent, command: str) -> str:
        return deploy.run(agent, f"cmd.exe /d /c {command}", 30)

    def address(self, present: bool) -> str:
        if present:
            return (
                f"netsh.exe interface ipv4 add address name={WIRE_NIC[self.kind]} address={MACHINES['target'].ipv4} "
                f"mask={WIRE_NETMASK} store=active"
            )
        return (
            f"netsh.exe interface ipv4 delete address name={WIRE_NIC[self.kind]} "
            f"address={MACHINES['target'].ipv4} store=active"
        )

    def adjust(self, machine: Machine, agent: Agent, deadline: float) -> None:
        variant = self.profile.variant
        changed_card = variant.network is not None
        script = variants.powershell(variant, WIRE_NIC[self.kind], self.profile.wire_mac, changed_card)
        if script:
            deploy.powershell(agent, script)
        if variant.memory_integrity:
            self.restart(machine, agent, deadline)
        if not variant.ipv4:
            self.shell(machine, agent, self.address(present=False))

    def settings(self, agent: Agent, driver: BuiltDriver) -> dict[str, Any]:
        if self.verify is None:
            return {}
        return {"verifier": verifier.settings(self._program(agent), self.verify, self.watched or driver.path.name)}

    def ssh(self, machine: Machine, agent: Agent) -> Ssh:
        """Return a way in over SSH; the server starts late by itself, so the agent starts it."""
        try:
            agent.service("start", "sshd")
        except Refused as error:
            if error.code != ALREADY_RUNNING:
                raise
        return Ssh("target", machine.ssh_port, self.image.ssh_key, self.image.known_hosts, self.user)

    def _greet(self, machine: Machine, agent: Agent, deadline: float) -> None:
        """Wait for the agent's first words; the kernel debugger's come long before them."""
        transcript = machine.folder / "kd.jsonl"
        try:
            agent.await_hello(deadline)
        except AgentSilent as silence:
            with suppress(MachineError):
                machine.screenshot(machine.folder / "screen.png")
            heard = (
                "the kernel speaks on COM1, so Windows runs and its scheduled task wsklab-agent does not"
                if attached(transcript)
                else "nothing came from Windows on COM1 either, so it did not boot"
            )
            look = f"see screen.png, kd.jsonl and agent.log in {machine.folder}"
            raise AgentSilent(f"{silence}: {heard}; {look}") from None
        if not attached(transcript):
            raise LabError(
                "Windows runs, but its kernel debugger says nothing on COM1, so no debug text can come: "
                "`bcdedit /debug` must be on and `bcdedit /dbgsettings` serial, port 1, 115200; "
                "build the image again"
            )

    def _deliver(self, machine: Machine, agent: Agent, driver: BuiltDriver) -> None:
        files = self._deployed(driver)
        if not self.has_ssh:
            deploy.from_disc(agent, files)
            return
        ssh = self.ssh(machine, agent)
        try:
            deploy.by_sftp(ssh, files)
        finally:
            ssh.close()  # no connection may be open when the lab is ready

    def _deployed(self, driver: BuiltDriver) -> dict[str, bytes]:
        return {driver.path.name: content_of(driver), **deploy.agent_files(content_of(self._agent()))}

    @staticmethod
    def _agent() -> BuiltDriver:
        return build_agent(images.cache_folder())

    @staticmethod
    def _program(agent: Agent) -> Callable[[str], str]:
        return lambda command: deploy.run(agent, command, 60, harmless=None)


def content_of(driver: BuiltDriver) -> bytes:
    """Return the bytes whose hash the results report. Raises LabError when the file has changed meanwhile."""
    try:
        return driver.content()
    except DriverError as error:
        raise LabError(str(error)) from None


def linux_address(machine: str, present: bool) -> str:
    """Return the command line that gives a Linux guest its address on the wire, or takes it."""
    if present:
        return f"ip addr replace {MACHINES[machine].networks[0]} dev {WIRE_NIC['standin']}"
    return f"ip addr del {MACHINES[machine].networks[0]} dev {WIRE_NIC['standin']}"


def attached(transcript: Path) -> bool:
    """Whether the target has spoken KD; the firmware's text on the same line is no proof."""
    from wsklab.qemu.kd.line import read_transcript

    return any(event.get("event") == "Attached" for event in read_transcript(transcript))
