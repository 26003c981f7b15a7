"""A lab: one target, one peer, and the wire between them; booted, watched, and stopped as one."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from wsklab import images
from wsklab.drivers.build import BuiltDriver
from wsklab.orchestrator.errors import LabError
from wsklab.orchestrator.guest.guest import FOLDER, READY, Guest, content_of, linux_address
from wsklab.orchestrator.guest.ssh import Ssh
from wsklab.orchestrator.judge.integrity import COMPLAINTS
from wsklab.orchestrator.lab.foreign_driver import Foreign, InstalledForeign
from wsklab.orchestrator.lab.peer import PeerProcess
from wsklab.orchestrator.lab.peer_clock import check_pace
from wsklab.orchestrator.lab.snapshots import DISKS, MACHINES, TAG, Kept, Unfit, copy, kept_name
from wsklab.orchestrator.lab.target import Target
from wsklab.orchestrator.observe.journal import Journal
from wsklab.orchestrator.observe.observation import Observation, describe_loss
from wsklab.orchestrator.scenario.scenario import Scenario
from wsklab.qemu.errors import DeadlinePassed, MachineError
from wsklab.qemu.machine import Machine, MachineEvent
from wsklab.qemu.profile import Accelerator, ImageFiles, Profile, load_profile
from wsklab.qemu.wire.control import Wire

BOOT = 90.0
"""Seconds the peer may take to boot; on a slow host they are stretched by `slowness`."""

LOAD = 30.0
"""Seconds for a driver's service to start or stop."""

HEALTH = 5.0
"""Seconds for each sign of life of a restored machine."""

FIRST_PORT, PORTS = 10000, 10000
"""Listeners of the peer: below the ports that its kernel gives out by itself."""

COARSE = 20
"""Milliseconds by which a clock that was just set may lag: Windows rounds to its ticks."""

PEER_PROFILE = "peer"

_RESET_FIRST = ("shutdown", "internal-error")
"""States in which QEMU lets a machine run again only after a reset."""

_RESTARTS = ("reset", "shutdown")
"""What a machine tells of when it starts itself anew."""


class Peer:
    """The Linux machine at the other end; starts peer programs over one SSH transport."""

    def __init__(self, machine: Machine, ssh: Ssh, journal: Journal) -> None:
        self.machine = machine
        self.ssh = ssh
        self._journal = journal
        self.newest: PeerProcess | None = None

    def process(self) -> PeerProcess:
        """A fresh peer program. Raises StepError."""
        self.newest = PeerProcess(self.ssh, self._journal)
        return self.newest


class Lab:
    """Everything of one lab that runs; `folder` keeps what the machines and the wire leave behind."""

    def __init__(self, folder: Path, accelerator: Accelerator, guest: Guest, peer: images.Image) -> None:
        self.folder = folder
        self.guest = guest
        self.journal = Journal()
        self.slowness = guest.slow[accelerator]
        self.settings: dict[str, Any] = {}
        self.remarks: list[str] = []  # on what could not be done as a driver's package says
        self.last_restore_s = 0.0
        self.doubt: str | None = None
        self.judged_to = 0  # the mark in the journal up to which a scenario has been judged by what the target told
        self.foreign: InstalledForeign | None = None
        self.wire = Wire(folder / "wire")
        self._accelerator = accelerator
        self._peer_image = peer
        self._excused: set[str] = set()
        self._machines: dict[str, Machine] = {}
        self._target: Target | None = None
        self._peer: Peer | None = None
        self._going: str | None = None  # the machine that is taken down on purpose
        self._may_restart = False  # the target does, before it is ready
        self._ports = itertools.count()
        self._driver: BuiltDriver | None = None
        self._static_events = False
        self._ready: BuiltDriver | None = None  # the driver in the target's snapshot, once there is one
        self.journal.on_loss(self._wake)
        self._stopped = False
        self._stopping = threading.Lock()

    @property
    def target(self) -> Target:
        """The guest that runs the driver; there is one once `boot` has begun."""
        assert self._target is not None, "the lab has not booted"
        return self._target

    @property
    def peer(self) -> Peer:
        """The guest at the other end."""
        assert self._peer is not None, "the peer has not booted"
        return self._peer

    def excuse(self, party: str, silent: bool = True) -> None:
        """A scenario silences `peer` or the `peer program` on purpose, or gives it its voice back."""
        (self._excused.add if silent else self._excused.discard)(party)

    def excused(self, party: str) -> bool:
        """Whether nothing is to be heard of it, on purpose."""
        return party in self._excused or self._going == party

    @property
    def reachable(self) -> list[str]:
        """The machines that can answer on the wire."""
        return ["target"] if self._going == "peer" else ["peer", "target"]

    def complaints(self) -> list[Observation]:
        """What the target's kernel has told its debugger and no scenario has been judged by, since the driver's load.

        It is marked as early.
        """
        return [
            replace(o, data={**o.data, "early": True})
            for o in self.journal.since(self.judged_to)
            if o.source == "machine" and o.kind in COMPLAINTS
        ]

    # --- life -----------------------------------------------------------------------------------------------------

    def boot(self, driver: BuiltDriver, step: Callable[[str], None], keep: Path | None = None) -> Lab:
        """Start both machines side by side, put the driver into the target and load it.

        Into the folder `keep` goes what `resume` needs to be as far as this in another lab. Raises LabError or
        MachineError; nothing is left running then.
        """
        try:
            self._start_wire()
            self._may_restart = self.guest.restarts
            self._target = Target(self._start_target(driver), self.journal)
            self._start_peer()
            now = time.monotonic()
            # Not waited for when something goes wrong: both end by themselves once the machines are stopped.
            pool = ThreadPoolExecutor(2)
            peer = pool.submit(self._await_peer, now + BOOT * self.slowness, keep)
            target = pool.submit(
                self.guest.await_ready,
                self.target.machine,
                self.target.agent,
                driver,
                now + self.guest.boot * self.slowness,
            )
            pool.shutdown(wait=False)
            peer.result()
            step("the peer answers over SSH")
            target.result()
            self.guest.adjust(
                self.target.machine, self.target.agent, time.monotonic() + self.guest.boot * self.slowness
            )
            self._may_restart = False
            step("the agent answers, the driver is in place")
            self.judged_to = self.journal.mark  # what Windows has told its debugger so far is not the driver's
            self._load(driver)
            self.settings = self.guest.settings(self.target.agent, driver)
            self.wire.barrier(time.monotonic() + 10 * self.slowness)
            if keep is not None:
                self._check()  # after the canary's line the debug line is quiet, after the answer the agent idle
                self._save("target", keep)
                self._ready = driver
        except BaseException:
            self.stop()
            raise
        return self

    def resume(self, kept: Kept, driver: BuiltDriver) -> Lab:
        """Start both machines from a kept snapshot, in which `driver` is loaded.

        Raises LabError, MachineError or TimeoutError; nothing is left running then.
        """
        try:
            with ThreadPoolExecutor(len(MACHINES)) as pool:
                copies = [pool.submit(self._copy, kept, name) for name in MACHINES]
                self._start_wire()
                for done in copies:
                    done.result()
            self._target = Target(self._start_target(driver, TAG), self.journal)
            self._start_peer(TAG)
            with ThreadPoolExecutor(1) as pool:
                peer = pool.submit(self._wake_peer)
                self._driver = self._ready = driver
                self._target.know(driver)
                self._check()
                peer.result()
            self.settings = self.guest.settings(self.target.agent, driver)
        except BaseException:
            self.stop()
            raise
        return self

    def save(self) -> None:
        """Make the target's present state the one that `restore` goes back to. Raises LabError or MachineError."""
        if self._ready is None:
            _savevm(self.target.machine)
            self._ready = self._driver

    def restore(self) -> None:
        """Take the target back to its snapshot, whatever state it is in, and see that it is well.

        Raises LabError, MachineError or TimeoutError: the lab is of no use then.
        """
        began, machine = time.monotonic(), self.target.machine
        if self._going is not None or (self.journal.lost and self.journal.lost.data.get("machine") != machine.name):
            raise LabError("the peer is not there")
        if self.trusted:
            with suppress(DeadlinePassed):  # what the last scenario sent is then behind us
                self.wire.barrier(time.monotonic() + HEALTH * self.slowness)
        self._going = machine.name
        try:
            status = machine.qmp.execute("query-status")
            if status["status"] in _RESET_FIRST:
                machine.reset()
            machine.restore(TAG)
            self.judged_to = self.journal.mark
            machine.set_link(up=True)
            if not status["running"]:
                machine.resume()
        finally:
            self._going = None
        self.journal.forgive()
        self._driver, self._static_events, self.doubt = self._ready, False, None
        self._check()
        self.last_restore_s = time.monotonic() - began

    @property
    def trusted(self) -> bool:
        """Whether the next scenario's verdict can rest on this lab as it is."""
        return self.doubt is None and self.journal.lost is None

    def stop(self) -> None:
        """Stop everything, whatever state it is in, for good; takes less than two seconds.

        Another thread may be about to start it: it meets an error.
        """
        self._stopped = True
        self.journal.expect_loss(True)
        self.journal.close()
        if self._target is not None:
            self._target.agent.wake()
        with self._stopping:
            if self._peer is not None:
                self._peer.ssh.close()
            with ThreadPoolExecutor(2) as pool:
                list(pool.map(lambda machine: machine.stop(), list(self._machines.values())))
            self.wire.stop()
            for name in MACHINES:  # no evidence, and with a snapshot in them large
                for disk in DISKS:
                    (self.folder / name / disk).unlink(missing_ok=True)

    def prepare(self, scenario: Scenario) -> None:
        """Static event callbacks are for ever (R36): going to them, and leaving them, takes a freshly loaded driver."""
        wanted = scenario.socket.events == "static"
        if wanted == self._static_events:
            return
        assert self._driver is not None, "the lab has not booted"
        self.target.unload(LOAD * self.slowness)
        self._load(self._driver)
        if wanted:
            self.target.set_static_events()
        self._static_events = wanted

    def load(self, driver: BuiltDriver) -> None:
        """Put another build of the driver into the target, which has none loaded, and load it. Raises LabError."""
        self.target.agent.put(rf"{FOLDER}\{driver.path.name}", content_of(driver))
        self._load(driver)

    def reload(self) -> None:
        """Load the driver again, which has been unloaded. Raises LabError."""
        assert self._driver is not None, "the lab has not booted"
        self._load(self._driver)

    def install_foreign(self, foreign: Foreign) -> Lab:
        """Put somebody else's driver into the target, beside ours; the next `save` has it. Raises LabError.

        Nothing is left running then.
        """
        self.foreign, self._ready = InstalledForeign(foreign, self.target, self.slowness), None
        try:
            self.remarks = self.foreign.install(self.guest.kind == "windows", self.restart)
        except BaseException:
            self.stop()
            raise
        return self

    def restart(self) -> None:
        """Have the target start anew by its own command, and load the lab's driver again. Raises LabError."""
        assert self._driver is not None, "the lab has not booted"
        self._may_restart = True
        try:
            deadline = time.monotonic() + self.guest.boot * self.slowness
            self.guest.restart(self.target.machine, self.target.agent, deadline)
            if not self.guest.profile.variant.ipv4:  # the address was taken until the next start only
                self.guest.shell(self.target.machine, self.target.agent, self.guest.address(present=False))
        finally:
            self._may_restart = False
        self._load(self._driver)

    def _load(self, driver: BuiltDriver) -> None:
        self.target.load(driver, FOLDER, LOAD * self.slowness)
        self._driver, self._static_events = driver, False

    # --- machines -------------------------------------------------------------------------------------------------

    def machine(self, name: str) -> Machine:
        """`target` or `peer`."""
        return self._machines[name]

    def fresh_port(self) -> int:
        """A port for a listener of the peer, the same only after thousands of scenarios.

        A target that goes back to its snapshot takes the same ports of its own again; with a listener at an earlier
        scenario's port it would meet that connection's TIME_WAIT in the peer.
        """
        return FIRST_PORT + next(self._ports) % PORTS

    def shell(self, machine: str, command: str) -> str:
        """Run a command line of a guest's own in it; returns what it said. Raises LabError."""
        if machine == "peer":
            return self.peer.ssh.run(command)
        return self.guest.shell(self.target.machine, self.target.agent, command)

    def address(self, machine: str, present: bool) -> None:
        """Give a machine its address on the wire, or take it. Raises LabError."""
        self.shell(machine, linux_address(machine, present) if machine == "peer" else self.guest.address(present))

    def reset_peer(self) -> None:
        """The reset button: the peer boots anew and knows of no connection."""
        self._going = "peer"
        self.peer.ssh.close()
        with self.peer.machine.console.watch() as console:
            self.peer.machine.reset()
            console.expect(READY, time.monotonic() + BOOT * self.slowness)
        self._greet_peer()
        check_pace(self.peer.ssh.run, time.monotonic)

    def cut_peer(self) -> None:
        """The plug: the peer vanishes without a word."""
        self._going = "peer"
        self.peer.ssh.hung_up = True  # the connection ends with the machine
        self.peer.machine.cut_power()
        self.peer.ssh.close()

    def boot_peer(self) -> None:
        """Boot the peer again after `cut_peer`."""
        self._power_on(self.peer.machine)
        self._await_peer(time.monotonic() + BOOT * self.slowness)

    def _start_wire(self) -> None:
        self.wire.start(self._on_wire)
        if not self.guest.profile.variant.ipv4:
            self.wire.ping_by_ipv6("target")

    def _start_target(self, driver: BuiltDriver, snapshot: str | None = None) -> Machine:
        files = self.guest.files(driver, self.folder / "target")
        return self._start("target", self.guest.profile, files, self.wire.target_end, snapshot)

    def _start_peer(self, snapshot: str | None = None) -> Machine:
        image = self._peer_image
        files = ImageFiles(image.disk, image.kernel, image.initrd, image.kernel_args)
        return self._start("peer", load_profile(PEER_PROFILE), files, self.wire.peer_end, snapshot)

    def _start(
        self, name: str, profile: Profile, files: ImageFiles, wire_end: socket.socket, snapshot: str | None
    ) -> Machine:
        """Start one machine; what happens to it as a whole is observed from its first instruction on."""
        machine = Machine(name, profile, files, self.folder / name, self._accelerator, wire_end)
        machine.on_event(lambda event: self._on_machine(name, event))
        self._machines[name] = machine
        self._power_on(machine, snapshot)
        return machine

    def _power_on(self, machine: Machine, snapshot: str | None = None) -> None:
        """Start a machine, unless the lab is stopped. Raises LabError then; the machine does not run."""
        self._alive()
        machine.start(snapshot)
        if self._stopped:
            machine.stop()
            self._alive()

    def _alive(self) -> None:
        if self._stopped:
            raise LabError("the lab was stopped")

    # --- snapshots ------------------------------------------------------------------------------------------------

    def _save(self, name: str, keep: Path) -> None:
        """Save a machine and copy its disk; it stands still meanwhile, so that the copy is of one moment."""
        machine = self._machines[name]
        machine.pause()
        _savevm(machine)
        with suppress(Unfit):  # a disk that is full costs the snapshot, not the run: what is not whole is not published
            for disk in machine.disks:
                copy(disk, keep / kept_name(name, disk.name))
        machine.resume()

    def _copy(self, kept: Kept, name: str) -> None:
        (self.folder / name).mkdir(mode=0o700, parents=True, exist_ok=True)
        self._alive()
        kept.copy(name, self.folder / name)

    def _wake_peer(self) -> None:
        """A peer from a snapshot has an old clock; no connection survives it, so SSH connects anew."""
        self._greet_peer()
        self.peer.ssh.run(f"date -s @{int(time.time())}")

    def _check(self) -> None:
        """The signs of life: the agent answers, the clock is right, the debug line works, frames pass."""
        patience = HEALTH * self.slowness
        set_to = time.time_ns() // 10**6
        told = self.target.agent.ask("set_time", patience, unix_ms=set_to)["time_ms"]
        if not -COARSE <= told - set_to <= 1000 * patience:
            raise LabError(f"the target's clock was set to {set_to} ms and says {told}")
        if self.target.canary(time.monotonic() + patience) is None:
            raise LabError("the canary does not come through on the debug line")
        self.wire.barrier(time.monotonic() + patience)

    def _on_machine(self, name: str, event: MachineEvent) -> None:
        if self._going == name or (name == "target" and self._may_restart and event.kind in _RESTARTS):
            return
        said = self._target.named(event.detail) if name == "target" and self._target is not None else event.detail
        detail = {"machine": name, "detail": said}
        self.journal.add(Observation(event.t_ns, "machine", event.kind, None, detail))

    def _on_wire(self, words: str) -> None:
        self.journal.add(Observation(time.time_ns(), "machine", "died", None, {"machine": "wire", "detail": words}))

    def _wake(self, loss: Observation) -> None:
        """Whoever waits for a party of this lab stops waiting, as something has gone for good."""
        why, party = describe_loss(loss), loss.data.get("machine")
        if self._target is not None:
            self._target.agent.wake()
        for machine in self._machines.values():
            machine.interrupt(why)
        if self._peer is not None:
            (self._peer.ssh.give_up if party == "peer" else self._peer.ssh.interrupt)()
        (self.wire.give_up if party == "wire" else self.wire.interrupt)(why)

    def _await_peer(self, deadline: float, keep: Path | None = None) -> None:
        self._machines["peer"].console.expect(READY, deadline)
        self._greet_peer()
        check_pace(self.peer.ssh.run, time.monotonic)
        if keep is not None:
            self.peer.ssh.run("true")  # what a login needs is in memory now
            self.peer.ssh.close()
            self._save("peer", keep)
            self._greet_peer()

    def _greet_peer(self) -> None:
        self._peer = Peer(self._machines["peer"], self._ssh(), self.journal)
        self._going = None

    def _ssh(self) -> Ssh:
        image = self._peer_image
        return Ssh("peer", self._machines["peer"].ssh_port, image.ssh_key, image.known_hosts)


def _savevm(machine: Machine) -> None:
    """Save a machine. Raises LabError, which names the way to do without, or MachineError for one that is gone."""
    try:
        machine.save(TAG)
    except MachineError as error:
        if not machine.running:
            raise
        raise LabError(f"{error}; `--cold --shared` does without snapshots") from None
