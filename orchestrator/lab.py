"""A lab: one target, one peer, and the wire between them; booted, watched, and stopped as one."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from wsklab import images
from wsklab.drivers.build import BuiltDriver
from wsklab.orchestrator.journal import Journal
from wsklab.orchestrator.observation import Observation
from wsklab.orchestrator.peer import PeerProcess, Ssh
from wsklab.orchestrator.target import Target
from wsklab.qemu.machine import Machine, MachineEvent
from wsklab.qemu.profile import Accelerator, ImageFiles, load_profile
from wsklab.qemu.wire.control import Wire

BOOT = 90.0
"""Seconds a guest may take to boot; on a slow host they are stretched by `slowness`."""

# Where the target's system finds what SFTP puts there: the same folder in Linux's words and in Windows'.
STANDIN_FOLDER = ("/wine/drive_c/wsklab", r"C:\wsklab")


class Peer:
    """The Linux machine at the other end; starts peer programs over one SSH transport."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.ssh: Ssh | None = None

    def process(self) -> PeerProcess:
        """A fresh peer program. Raises StepError."""
        assert self.ssh is not None, "the peer has not booted"
        return PeerProcess(self.ssh, self._journal)


class Lab:
    """Everything of one lab that runs; `folder` keeps what the machines and the wire leave behind."""

    def __init__(self, folder: Path, accelerator: Accelerator, standin: images.Image, peer: images.Image) -> None:
        self.folder = folder
        self.journal = Journal()
        self.slowness = 1.0 if accelerator == "kvm" else 3.0
        self.last_restore_s = 0.0
        self.doubt: str | None = None
        self._images = {"target": standin, "peer": peer}
        self.wire = Wire(folder / "wire")
        self._machines: dict[str, Machine] = {}
        self._accelerator = accelerator
        self._target: Target | None = None
        self.peer = Peer(self.journal)

    @property
    def target(self) -> Target:
        """The guest that runs the driver; there is one once `boot` has begun."""
        assert self._target is not None, "the lab has not booted"
        return self._target

    def _start_machine(self, name: str, profile: str, wire_end: socket.socket) -> Machine:
        """Start one machine; what happens to it as a whole is observed from its first instruction on."""
        image = self._images[name]
        files = ImageFiles(image.disk, image.kernel, image.initrd, image.kernel_args)
        machine = Machine(name, load_profile(profile), files, self.folder / name, self._accelerator, wire_end)
        machine.on_event(lambda event: self._on_machine(name, event))
        self._machines[name] = machine
        machine.start()
        return machine

    def _on_machine(self, name: str, event: MachineEvent) -> None:
        detail = {"machine": name, "detail": event.detail}
        self.journal.add(Observation(event.t_ns, "machine", event.kind, None, detail))
        if self._target is not None:
            self._target.agent.wake()

    def boot(self, driver: BuiltDriver, step: Callable[[str], None]) -> Lab:
        """Start both machines side by side, put the driver into the target and load it.

        Raises LabError or MachineError; nothing is left running then.
        """
        try:
            self.wire.start()
            self._target = Target(self._start_machine("target", "standin", self.wire.target_end), self.journal)
            self._start_machine("peer", "peer", self.wire.peer_end)
            deadline = time.monotonic() + BOOT * self.slowness
            # Not waited for when something goes wrong: both end by themselves once the machines are stopped.
            pool = ThreadPoolExecutor(2)
            peer = pool.submit(self._await_peer, deadline)
            target = pool.submit(self._await_target, driver, deadline)
            pool.shutdown(wait=False)
            peer.result()
            step("the peer answers over SSH")
            target.result()
            step("the agent answers, the driver is in place")
            self.target.load(driver, STANDIN_FOLDER[1], 30 * self.slowness)
            self.wire.barrier(time.monotonic() + 10 * self.slowness)
        except BaseException:
            self.stop()
            raise
        return self

    def _await_peer(self, deadline: float) -> None:
        machine = self._machines["peer"]
        machine.console.expect("WSKLAB-READY", deadline)
        self.peer.ssh = self._ssh("peer")

    def _await_target(self, driver: BuiltDriver, deadline: float) -> None:
        machine = self._machines["target"]
        machine.console.expect("WSKLAB-READY", deadline)
        ssh = self._ssh("target")
        ssh.put(f"{STANDIN_FOLDER[0]}/{driver.path.name}", driver.path.read_bytes())
        ssh.close()  # no connection may be open when the lab is ready
        self.target.agent.await_hello(deadline)

    def _ssh(self, name: str) -> Ssh:
        image = self._images[name]
        return Ssh(name, self._machines[name].ssh_port, image.ssh_key, image.known_hosts)

    def machine(self, name: str) -> Machine:
        """`target` or `peer`."""
        return self._machines[name]

    def stop(self) -> None:
        """Stop everything, whatever state it is in; takes less than two seconds."""
        self.journal.expect_loss(True)
        if self.peer.ssh is not None:
            self.peer.ssh.close()
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda machine: machine.stop(), self._machines.values()))
        self.wire.stop()
