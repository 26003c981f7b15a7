"""A lab: one target, one peer, and the wire between them; booted, watched, and stopped as one.

Long because whatever boots, restores, restarts or stops it knows all three of its parties.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsklab import images
from wsklab.drivers.build import BuiltDriver
from wsklab.orchestrator.errors import LabError
from wsklab.orchestrator.guest import ssh
from wsklab.orchestrator.guest.guest import FOLDER, Guest, content_of, linux_address
from wsklab.orchestrator.lab import strict_settings
from wsklab.orchestrator.lab.machines import Machines, savevm
from wsklab.orchestrator.lab.peer import BOOT, Peer
from wsklab.orchestrator.lab.snapshots import BARE, TAG, Kept
from wsklab.orchestrator.lab.target import Target
from wsklab.orchestrator.observe.journal import Journal
from wsklab.orchestrator.observe.machine_events import Complaint, Died, of_machine
from wsklab.orchestrator.observe.observation import Loss, describe_loss
from wsklab.orchestrator.scenario.scenario import Scenario
from wsklab.qemu.errors import DeadlinePassed
from wsklab.qemu.machine import Machine
from wsklab.qemu.machine_events import MachineEvent
from wsklab.qemu.profile import Accelerator
from wsklab.qemu.recording import Counter
from wsklab.qemu.wire.control import Wire

if TYPE_CHECKING:  # what other drivers need is loaded with the first of them
    from wsklab.orchestrator.lab.foreign_driver import Foreign
    from wsklab.orchestrator.lab.installed_foreign import InstalledForeign

LOAD = 30.0
"""Seconds for a driver's service to start or stop."""

HEALTH = 5.0
"""Seconds for each sign of life of a restored machine."""

FIRST_PORT, PORTS = 10000, 10000
"""Listeners of the peer: below the ports that its kernel gives out by itself."""

COARSE = 20
"""Milliseconds by which a clock that was just set may lag: Windows rounds to its ticks."""

COUNTS = "counts.json"
"""In the folder of a recorded target: which count of instructions was seen when its debug line had said how much."""

_RESET_FIRST = ("shutdown", "internal-error")
"""States in which QEMU lets a machine run again only after a reset."""

_RESTARTS = ("reset", "shutdown")
"""What a machine tells of when it starts itself anew."""


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
        self.recorded = False  # the target is, from its first instruction to its end
        self.debugger_port: int | None = None  # on 127.0.0.1, where another debugger may have the target's line
        self.failed: Callable[[Lab, BaseException], None] = lambda _lab, _error: None
        """Called when it does not boot, before it is stopped."""
        self.wire = Wire(folder / "wire")
        self._excused: set[str] = set()
        self._machines = Machines(folder, accelerator, self._on_machine)
        self.peer = Peer(self._machines, peer, self.journal, self.slowness)
        self._target: Target | None = None
        self._going: str | None = None  # the machine that is taken down on purpose
        self._may_restart = False  # the target does, before it is ready
        self._ports = itertools.count()
        self._driver: BuiltDriver | None = None
        self._static_events = False
        self._told_irql: str | None = None  # what the target's file says
        self._counter: Counter | None = None
        self._ready: BuiltDriver | None = None  # the driver in the target's snapshot, once there is one
        self.emptied = False  # there is a snapshot without a driver, too
        self.journal.on_loss(self._wake)

    @property
    def target(self) -> Target:
        """The guest that runs the driver; there is one once `boot` has begun."""
        assert self._target is not None, "the lab has not booted"
        return self._target

    def excuse(self, party: str, silent: bool = True) -> None:
        """Note that a scenario silences `peer` or the `peer program` on purpose, or gives it its voice back."""
        (self._excused.add if silent else self._excused.discard)(party)

    def excused(self, party: str) -> bool:
        """Whether nothing is to be heard of it, on purpose."""
        return party in self._excused or self._going == party

    @property
    def reachable(self) -> list[str]:
        """The machines that can answer on the wire."""
        return ["target"] if self._going == "peer" else ["peer", "target"]

    def complaints(self) -> list[Complaint]:
        """Return what the kernel has told its debugger since the driver's load and no scenario has been judged by.

        It is marked as early.
        """
        return [replace(o, early=True) for o in self.journal.since(self.judged_to) if isinstance(o, Complaint)]

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
            self.peer.start(self.wire.peer_end)
            now = time.monotonic()
            # Not waited for when something goes wrong: both end by themselves once the machines are stopped.
            pool = ThreadPoolExecutor(2)
            peer = pool.submit(self.peer.await_ready, now + BOOT * self.slowness, keep)
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
                self._machines.keep("target", keep)
                self._ready = driver
        except BaseException as error:
            self.failed(self, error)
            self.stop()
            raise
        return self

    def resume(self, kept: Kept, driver: BuiltDriver) -> Lab:
        """Start both machines from a kept snapshot, in which `driver` is loaded.

        Raises LabError, MachineError or TimeoutError; nothing is left running then.
        """
        try:
            with ThreadPoolExecutor(4) as pool:
                self._resume(kept, driver, pool)
            self.settings = self.guest.settings(self.target.agent, driver)
        except BaseException:
            self.stop()
            raise
        return self

    def _resume(self, kept: Kept, driver: BuiltDriver, pool: ThreadPoolExecutor) -> None:
        """Let both machines go on, each as soon as it can: the peer's SSH takes longer than all the rest."""
        wired = pool.submit(self._start_wire)
        pool.submit(ssh.load)
        started = pool.submit(self.peer.resume, kept, self.wire.peer_end, wired)
        awake = pool.submit(self.peer.wake, started)
        try:
            self._machines.copy(kept, "target")
            wired.result()
            self._target = Target(self._start_target(driver, TAG), self.journal)
            self._driver = self._ready = driver
            self._target.know(driver)
            started.result()
            self._check()
            awake.result()
        except BaseException:
            wait([wired, started])
            self.stop()  # which ends the wait for SSH, too
            raise

    def save(self) -> None:
        """Make the target's present state the one that `restore` goes back to. Raises LabError or MachineError."""
        if self._ready is None:
            savevm(self.target.machine)
            self._ready = self._driver

    @property
    def saved(self) -> bool:
        """Whether there is a state of the target that `restore` goes back to."""
        return self._ready is not None

    @property
    def loaded(self) -> bool:
        """Whether the target has the lab's driver in it."""
        return self._driver is not None

    def empty(self) -> None:
        """Unload the driver; where there are snapshots, the target as it is then is one. Raises as `restore`."""
        self.target.unload(LOAD * self.slowness)
        self._driver = None
        if self.saved:
            savevm(self.target.machine, BARE)
            self.emptied = True

    def restore(self, empty: bool = False) -> None:
        """Take the target back to its snapshot, whatever state it is in, and see that it is well.

        With `empty` to the one without a driver, which `empty` has made. Raises LabError, MachineError or
        TimeoutError: the lab is of no use then.
        """
        began, machine = time.monotonic(), self.target.machine
        if self._going is not None or (self.journal.lost and self.journal.lost.machine != machine.name):
            raise LabError("the peer is not there")
        if self.trusted:
            with suppress(DeadlinePassed):  # what the last scenario sent is then behind us
                self.wire.barrier(time.monotonic() + HEALTH * self.slowness)
        self._going = machine.name
        try:
            status = machine.qmp.execute("query-status")
            if status["status"] in _RESET_FIRST:
                machine.reset()
            machine.restore(BARE if empty else TAG)
            self.judged_to = self.journal.mark
            machine.set_link(up=True)
            if not status["running"]:
                machine.resume()
        finally:
            self._going = None
        self.journal.forgive()
        self._driver, self._static_events, self.doubt = None if empty else self._ready, False, None
        self._told_irql = None
        self._check()
        self.last_restore_s = time.monotonic() - began

    @property
    def trusted(self) -> bool:
        """Whether the next scenario's verdict can rest on this lab as it is."""
        return self.doubt is None and self.journal.lost is None

    def stop(self) -> None:
        """Stop everything, whatever state it is in, for good; takes less than two seconds, and longer with a recording.

        Another thread may be about to start it: it meets an error.
        """
        self._machines.forbid()
        self._end_recording()
        self.journal.expect_loss(True)
        self.journal.close()
        if self._target is not None:
            self._target.agent.wake()
        self._machines.stop(before=self.peer.hang_up, after=self.wire.stop)

    def _end_recording(self) -> None:
        """Write beside the recording what a replay needs to know of it."""
        counter, self._counter = self._counter, None
        if counter is not None:
            folder = counter.machine.folder
            with suppress(OSError):
                (folder / COUNTS).write_text(json.dumps(counter.finish()) + "\n", encoding="utf-8")

    def prepare(self, scenario: Scenario, seed: str = "1") -> None:
        """Tell what is to be simulated, as drawn from `seed`.

        The driver is loaded anew where static event callbacks begin or end, as they are for ever (R36).
        """
        self._tell_irql(scenario, seed)
        wanted = scenario.socket.events == "static"
        if wanted == self._static_events:
            return
        assert self._driver is not None, "the lab has not booted"
        self.target.unload(LOAD * self.slowness)
        self._load(self._driver)
        if wanted:
            self.target.set_static_events()
        self._static_events = wanted

    def _tell_irql(self, scenario: Scenario, seed: str) -> None:
        """Set what the stand-in's strict mode does in this scenario. Raises LabError."""
        if self.guest.strict is not None:
            of = self.foreign.foreign.file_name if self.foreign else self._driver.path.name if self._driver else ""
            self._tell_strict(strict_settings.words(scenario, f"{self.guest.strict} {seed}", of))

    def ask_nothing(self) -> None:
        """From now on the strict mode does nothing that only this scenario wanted. Raises LabError."""
        if self.guest.strict is not None:
            self._tell_strict(strict_settings.NOTHING)

    def _tell_strict(self, wanted: str) -> None:
        if wanted != self._told_irql:
            self.target.agent.put(rf"{FOLDER}\strict.txt", wanted.encode())
            self._told_irql = wanted

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
        from wsklab.orchestrator.lab.installed_foreign import InstalledForeign

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
        """Return a port for a listener of the peer, the same only after thousands of scenarios.

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
        """Press the reset button: the peer boots anew and knows of no connection."""
        self._going = "peer"
        self.peer.reset()
        self._going = None

    def cut_peer(self) -> None:
        """Pull the plug: the peer vanishes without a word."""
        self._going = "peer"
        self.peer.cut_power()

    def boot_peer(self) -> None:
        """Boot the peer again after `cut_peer`."""
        self.peer.boot()
        self._going = None

    def _start_wire(self) -> None:
        self.wire.start(self._on_wire)
        if not self.guest.profile.variant.ipv4:
            self.wire.ping_by_ipv6("target")

    def _start_target(self, driver: BuiltDriver, snapshot: str | None = None) -> Machine:
        files = self.guest.files(driver, self.folder / "target")
        machine = self._machines.start("target", self.guest.profile, files, self.wire.target_end, snapshot,
                                       "record" if self.recorded else None)  # fmt: skip
        if self.recorded:
            self._counter = Counter(machine)
        if self.debugger_port is not None:
            machine.lend_debugger(self.debugger_port)
        return machine

    # --- signs of life --------------------------------------------------------------------------------------------

    def _check(self) -> None:
        """Look for the signs of life: the agent answers, the clock is right, the debug line works, frames pass."""
        patience = HEALTH * self.slowness
        set_to = time.time_ns() // 10**6
        told = self.target.agent.ask("set_time", patience, unix_ms=set_to)["time_ms"]
        if not is_right(told, set_to, patience):
            raise LabError(f"the target's clock was set to {set_to} ms and says {told}")
        if self.loaded and self.target.canary(time.monotonic() + patience) is None:
            raise LabError("the canary does not come through on the debug line")
        self.wire.barrier(time.monotonic() + patience)

    def _on_machine(self, name: str, event: MachineEvent) -> None:
        if self._going == name or (name == "target" and self._may_restart and event.kind in _RESTARTS):
            return
        said = self._target.named(event.detail) if name == "target" and self._target is not None else event.detail
        self.journal.add(of_machine(event.kind, event.t_ns, name, said))

    def _on_wire(self, words: str) -> None:
        self.journal.add(Died(t=time.time_ns(), machine="wire", detail=words))

    def _wake(self, loss: Loss) -> None:
        """Whoever waits for a party of this lab stops waiting, as something has gone for good."""
        why, party = describe_loss(loss), loss.machine
        if self._target is not None:
            self._target.agent.wake()
        self._machines.interrupt(why)
        self.peer.interrupt(for_good=party == "peer")
        (self.wire.give_up if party == "wire" else self.wire.interrupt)(why)


def is_right(told: int, set_to: int, patience: float) -> bool:
    """Whether a clock that was just set says what it may, in ms: its ticks are coarse, and the answer took a while."""
    return -COARSE <= told - set_to <= 1000 * patience
