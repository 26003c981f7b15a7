"""One machine: a QEMU process with its control connection, its serial lines, its overlay disk and its folder.

Long because every way to start, steer, save and question it is one method here.
"""

import re
import shutil
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from wsklab.qemu import launch, recording, screen, vmstate
from wsklab.qemu.confinement import confinement
from wsklab.qemu.deadline import within
from wsklab.qemu.disks import OVERLAY, VARIABLES, make_disks
from wsklab.qemu.errors import MachineError
from wsklab.qemu.launch import Channels, Launch
from wsklab.qemu.logfile import LogFile
from wsklab.qemu.machine_events import Events, MachineEvent, is_reset
from wsklab.qemu.monitor import MONITOR, Event, Qmp
from wsklab.qemu.process import Child
from wsklab.qemu.profile import WIRE_LINK, Accelerator, ImageFiles, Profile, SerialRole
from wsklab.qemu.serial import SerialLine
from wsklab.qemu.tpm import Tpm
from wsklab.qemu.vmstate import RunControl

if TYPE_CHECKING:  # a debugger's protocol, which Windows alone speaks, is loaded with the first such machine
    from wsklab.qemu.kd.line import KdLine


class Machine:
    """A machine from its start to its stop; a context manager which stops it.

    `folder` receives debug.log, agent.log, console.log (raw bytes), qmp.log, qemu.stderr, command.txt, overlay.qcow2,
    and kd.jsonl where the debug line speaks KD.
    `wire` is the machine's end of the wire (`Wire.target_end`, `Wire.peer_end`).
    `rr`: its inputs are recorded in the file recording.FILE of its folder, or come from the one that is there.
    Event and line subscribers run in the thread that noticed: they must be quick and not call the machine.
    """

    debug: SerialLine
    agent: SerialLine
    console: SerialLine

    def __init__(
        self,
        name: str,
        profile: Profile,
        files: ImageFiles,
        folder: Path,
        accelerator: Accelerator,
        wire: socket.socket | None = None,
        rr: recording.Mode | None = None,
    ) -> None:
        self.name = name
        self.profile = profile
        self.files = files
        self.folder = folder
        self.accelerator = accelerator
        self.overlay = folder / OVERLAY
        self.variables = folder / VARIABLES
        self.rr = rr
        self._wire = wire
        self._confined = confinement(accelerator)
        self._events = Events()
        self._lines: dict[SerialRole, SerialLine] = {}
        self._firmware: SerialLine | None = None
        self._logs: dict[str, LogFile] = {}
        self._kd: KdLine | None = None
        self._child: Child | None = None
        self._tpm: Tpm | None = None
        self._qmp: Qmp | None = None

    @property
    def disks(self) -> tuple[Path, ...]:
        """The files that it writes to, all of which hold a part of each snapshot."""
        return (self.overlay, self.variables) if self.profile.firmware == "ovmf" else (self.overlay,)

    def log(self, name: str) -> LogFile:
        """One of its logs, `debug.log` for example; the same object for as long as the machine is there."""
        return self._logs.setdefault(name, LogFile(self.folder / name))

    def on_event(self, subscriber: Callable[[MachineEvent], None]) -> None:
        """Call `subscriber` for every event from now on."""
        self._events.subscribe(subscriber)

    # -- life ---------------------------------------------------------------------------------------------------

    def start(self, snapshot: str | None = None) -> None:
        """Boot from a fresh overlay; with `snapshot`, continue from that snapshot in the overlay already there.

        Returns once the CPUs run. Raises LaunchError or MachineError; nothing is left behind then.
        """
        if self._child:
            raise MachineError(f"{self.name} has been started already: stop it first")
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if snapshot is None:
            make_disks(self.files, self.folder, self.profile)
        self._events.muted = False
        try:
            self._hand_folder()
            self._launch(snapshot)
            if self._kd and snapshot:
                self._kd.resync(restored=True)
            self.resume()
            screen.RUNNING.add(self)
        except BaseException:
            self.stop()
            raise

    def stop(self, patience: float = 0.8) -> None:
        """End the machine, softly if QEMU still listens, and free all it held. Does nothing to a stopped one.

        `patience` is the time in seconds that QEMU has to finish its disks: more is needed where one is to be kept.
        """
        patience = recording.LAST_WORDS if self.rr == "record" else patience
        self._events.muted = True
        screen.RUNNING.discard(self)
        with suppress(OSError):
            self.monitor.unlink(missing_ok=True)
        if child := self._child:
            for ask, seconds in ((self._quit, patience), (child.terminate, 0.3), (child.kill, 5.0)):
                if child.exit_code is None:
                    with suppress(MachineError, OSError):
                        ask()
                    child.wait(within(seconds))
        if self._qmp:
            self._qmp.close()
        if self._kd:
            self._kd.let_go()
        for line in self._all_lines:
            line.close()
        if self._tpm:
            self._tpm.close()
        self._child, self._qmp, self._tpm, self._firmware = None, None, None, None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def running(self) -> bool:
        """True while the QEMU process lives."""
        return self._child is not None and self._child.exit_code is None

    @property
    def pid(self) -> int:
        return self._alive().pid

    # -- power --------------------------------------------------------------------------------------------------

    def pause(self) -> None:
        self._control.pause()

    def resume(self) -> None:
        self._control.resume()

    def reset(self) -> None:
        """Press the reset button. From then on the guest may reboot by itself: its firmware does, to start over."""
        self.qmp.execute("set-action", reboot="reset")
        self.qmp.execute("system_reset")
        if self._kd:
            self._kd.resync()

    def cut_power(self) -> None:
        """Pull the plug: the machine vanishes without a word on the wire. `start` boots it anew, on a fresh disk."""
        self._events.muted = True
        child = self._alive()
        child.kill()
        child.wait(within(5.0))
        self.stop()

    def set_link(self, up: bool) -> None:
        """Plug the cable into the wire's NIC, or pull it; the guest sees its carrier change."""
        self.qmp.execute("set_link", name=WIRE_LINK, up=up)

    # -- snapshots ----------------------------------------------------------------------------------------------

    def save(self, tag: str) -> None:
        """Save RAM, devices and disk under `tag` in the overlay. The guest stands still meanwhile."""
        vmstate.save(self.name, self._control, tag, self.profile.memory_mib)

    def restore(self, tag: str) -> None:
        """Go back to the snapshot; a running machine runs on from there, a paused one stays paused.

        After an error the machine stands still in an unknown state: start it anew.
        """
        vmstate.restore(self.name, self._control, tag, self.profile.memory_mib, self._lines.values())

    def interrupt(self, why: str) -> None:
        """End every wait for text on a serial line, as it cannot come any more."""
        for line in self._lines.values():
            line.interrupt(why)

    # -- evidence -----------------------------------------------------------------------------------------------

    def status(self, deadline: float | None = None) -> str:
        """Return what QEMU says of the CPUs (QMP's RunState): `running`, `paused`, `guest-panicked`, ..."""
        return str(self.qmp.execute("query-status", deadline)["status"])

    def quiet(self) -> dict[str, float]:
        """For how many seconds nothing has been heard on each serial line (since its start, if never)."""
        now = time.monotonic()
        return {role: now - line.last_heard for role, line in self._lines.items()}

    def locate(self, deadline: float) -> str | None:
        """Break into it by its debug line and let it go on: where its processors were. None when it does not stop.

        Raises MachineError while another debugger has the line.
        """
        places = self._kd.locate(deadline) if self._kd else None
        if places is None:
            return None
        from wsklab.qemu.kd.line import tell_places

        return tell_places(places)

    def debugger_latencies(self) -> list[float]:
        """Return the seconds from packets to the kernel until their ACKs; none without a debugger's line."""
        return self._kd.latencies if self._kd else []

    def lend_debugger(self, port: int) -> int:
        """Let WinDbg have the debug line on a TCP port of 127.0.0.1 (0: any) whenever it connects; returns the port.

        Raises MachineError.
        """
        if self._kd is None:
            raise MachineError(f"{self.name} has no kernel debugger's line: its profile says `debug: text`")
        return self._kd.lend(port)

    def registers(self) -> str:
        """Return the registers of all CPUs, as QEMU's monitor prints them."""
        return self.qmp.hmp("info registers -a")

    def screenshot(self, path: Path) -> None:
        """Write the screen as PNG. Raises MachineError when the profile has no display."""
        if self.profile.display == "none":
            raise MachineError(f"{self.name} has no screen: its profile says `display: none`")
        self._written(path, lambda name: self.qmp.execute("screendump", filename=name, format="png"))

    def dump(self, path: Path) -> None:
        """Write the memory of a Windows machine in the format of its own dumps. Raises MachineError."""
        self._written(path, lambda name: self.qmp.execute(
            "dump-guest-memory", paging=False, protocol=f"file:{name}", format="win-dmp"))  # fmt: skip

    def _written(self, path: Path, write: Callable[[str], object]) -> None:
        """Have QEMU write a file in the one folder where it can, then move it to `path` as ours."""
        made = self.folder / f"{path.name}.part"
        self._confined.give(made)
        try:
            write(made.name)
            self._confined.take(made)
            shutil.move(made, path)
        finally:
            made.unlink(missing_ok=True)

    @property
    def has_screen(self) -> bool:
        """Whether there is something to see but the text on its console."""
        return self.profile.display != "none"

    # -- ways in ------------------------------------------------------------------------------------------------

    @property
    def qmp(self) -> Qmp:
        if self._qmp is None:
            raise MachineError(f"{self.name} is not running: start it first")
        return self._qmp

    def view(self) -> socket.socket:
        """Return a connection to its screen, keyboard and mouse (RFC 6143). Raises MachineError."""
        return screen.connect(self.qmp)

    @property
    def monitor(self) -> Path:
        """The socket where anybody who may open it speaks QMP with it."""
        return self.folder / MONITOR

    @property
    def ssh_port(self) -> int:
        """The port on 127.0.0.1 which leads to the guest's port 22."""
        table = self.qmp.hmp("info usernet")
        if match := re.search(r"HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)", table):
            return int(match[1])
        raise MachineError(f"{self.name}: QEMU forwards no port to the guest: {table!r}")

    # -- inside -------------------------------------------------------------------------------------------------

    def _launch(self, snapshot: str | None) -> None:
        """Start QEMU, and hear it on all its lines before its first instruction."""
        what = Launch(
            self.name, self.profile, self.files, self.folder, self.accelerator, self._confined, self._wire, self.log,
            self.rr,
        )  # fmt: skip
        if self.files.kernel is None:
            (self.folder / "firmware.log").unlink(missing_ok=True)
            self._logs.pop("firmware.log", None)
        channels = Channels(what)
        self._lines, self._firmware, self._tpm = channels.lines, channels.firmware, channels.tpm
        self._qmp = Qmp(self.name, channels.qmp, self.log("qmp.log"), self._hear_qmp)
        if self.profile.debug == "kd":
            from wsklab.qemu.kd.line import KdLine

            far = channels.serial_theirs["debug"].dup()
            self._kd = KdLine(self._lines["debug"], self.log("kd.jsonl"), self._events.hear_kd, far)
        for role, line in self._lines.items():
            setattr(self, role, line)
        if self.rr == "record":
            for line in self._lines.values():
                line.pace = recording.PACE
        for line in self._all_lines:
            line.start()
        if "console" in self._lines:
            self.console.on_line(self._events.hear_console)
        self._child = launch.start(what, channels, snapshot, self._hear_exit)
        launch.greet(self._child, self._qmp)

    def _hand_folder(self) -> None:
        """Make the disks those of QEMU's user, who can make no other files."""
        self._confined.open_folder(self.folder)
        for path in (*self.disks, *([self.folder / recording.FILE] if self.rr else [])):
            self._confined.give(path)

    def _quit(self) -> None:
        self.qmp.execute("quit", deadline=within(0.5))

    def _alive(self) -> Child:
        if self._child is None:
            raise MachineError(f"{self.name} is not running: start it first")
        return self._child

    @property
    def _all_lines(self) -> list[SerialLine]:
        return [*self._lines.values(), *([self._firmware] if self._firmware else [])]

    @property
    def _control(self) -> RunControl:
        return RunControl(self.qmp, self._kd)

    def _hear_qmp(self, event: Event) -> None:
        if is_reset(event) and self._kd:
            self._kd.rebooted()
        self._events.hear_qmp(event)

    def _hear_exit(self, code: int) -> None:
        if self._kd:
            self._kd.let_go()
        tail = ""
        with suppress(OSError):  # somebody may have removed the folder
            tail = (self.folder / "qemu.stderr").read_text(errors="replace")[-4096:]
        self._events.hear_exit(code, tail)
