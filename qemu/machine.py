"""One machine: a QEMU process with its control connection, its serial lines, its overlay disk and its folder."""

import re
import shlex
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self

from wsklab.qemu import firmware
from wsklab.qemu.confinement import confinement
from wsklab.qemu.deadline import within
from wsklab.qemu.errors import LaunchError, MachineError
from wsklab.qemu.firmware import Uefi
from wsklab.qemu.handover import Handover
from wsklab.qemu.logfile import LogFile
from wsklab.qemu.monitor import Event, Qmp
from wsklab.qemu.process import Child
from wsklab.qemu.profile import WIRE_LINK, Accelerator, ImageFiles, Profile, SerialRole, command_line
from wsklab.qemu.serial import SerialLine
from wsklab.qemu.tpm import Tpm

if TYPE_CHECKING:  # a debugger's protocol, which Windows alone speaks, is loaded with the first such machine
    from wsklab.qemu.kd.line import KdLine, Told

LAUNCH_PATIENCE = 10.0  # seconds for QEMU to greet: it may be read from a cold disk
SNAPSHOT_PATIENCE = 60.0
PER_GIB = 30.0
"""Seconds more for each GiB of memory that is written or read."""

BETWEEN_PACKETS = 100
"""Times that a machine is stopped again for a snapshot, until nothing is half said on its debug line."""

SERIAL_BUFFER = 1 << 20  # bytes that a guest may say while our Python is busy

EventKind = Literal[
    "panic", "shutdown", "reset", "died", "last-words", "bugcheck", "exception", "prompt", "stops", "lost-text"
]

# On the console: what the kernel says last, and what the init of a guest of ours does when it cannot go on.
_LAST_WORDS: tuple[tuple[re.Pattern[str], EventKind], ...] = (
    (re.compile(r"(Kernel panic - not syncing.*)"), "panic"),
    (re.compile(r"WSKLAB-(?:PANIC|GONE) (.*)"), "last-words"),
)
_QMP_KINDS: dict[str, EventKind] = {"GUEST_PANICKED": "panic", "SHUTDOWN": "shutdown", "RESET": "reset"}


@dataclass(frozen=True)
class MachineEvent:
    """Something that happened to a machine as a whole. `t_ns` is `time.time_ns`."""

    t_ns: int
    kind: EventKind
    detail: str


class Machine:
    """A machine from its start to its stop; a context manager which stops it.

    `folder` receives debug.log, agent.log, console.log (raw bytes), qmp.log, qemu.stderr, command.txt, overlay.qcow2,
    and kd.jsonl where the debug line speaks KD.
    `wire` is the machine's end of the wire (`Wire.target_end`, `Wire.peer_end`).
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
    ) -> None:
        self.name = name
        self.profile = profile
        self.files = files
        self.folder = folder
        self.accelerator = accelerator
        self.overlay = folder / "overlay.qcow2"
        self.variables = folder / "variables.qcow2"
        self._wire = wire
        self._confined = confinement(accelerator)
        self._subscribers: list[Callable[[MachineEvent], None]] = []
        self._lines: dict[SerialRole, SerialLine] = {}
        self._firmware: SerialLine | None = None
        self._logs: dict[str, LogFile] = {}
        self._kd: KdLine | None = None
        self._child: Child | None = None
        self._tpm: Tpm | None = None
        self._qmp: Qmp | None = None
        self._stopping = False

    @property
    def disks(self) -> tuple[Path, ...]:
        """The files that it writes to, all of which hold a part of each snapshot."""
        return (self.overlay, self.variables) if self.profile.firmware == "ovmf" else (self.overlay,)

    def log(self, name: str) -> LogFile:
        """One of its logs, `debug.log` for example; the same object for as long as the machine is there."""
        return self._logs.setdefault(name, LogFile(self.folder / name))

    def on_event(self, subscriber: Callable[[MachineEvent], None]) -> None:
        """Calls `subscriber` for every event from now on."""
        self._subscribers.append(subscriber)

    # -- life ---------------------------------------------------------------------------------------------------

    def start(self, snapshot: str | None = None) -> None:
        """Boots from a fresh overlay; with `snapshot`, continues from that snapshot in the overlay already there.

        Returns once the CPUs run. Raises LaunchError or MachineError; nothing is left behind then.
        """
        if self._child:
            raise MachineError(f"{self.name} has been started already: stop it first")
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if snapshot is None:
            self._make_disks()
        self._stopping = False
        try:
            self._hand_folder()
            self._launch(snapshot)
            if self._kd and snapshot:
                self._kd.resync(restored=True)
            self.resume()
        except BaseException:
            self.stop()
            raise

    def stop(self, patience: float = 0.8) -> None:
        """Ends the machine, softly if QEMU still listens, and frees all it held. Does nothing to a stopped one.

        `patience` is the time in seconds that QEMU has to finish its disks: more is needed where one is to be kept.
        """
        self._stopping = True
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
        for line in (*self._lines.values(), *([self._firmware] if self._firmware else [])):
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
        self.qmp.execute("stop")
        if self._kd:
            self._kd.stand_still()

    def resume(self) -> None:
        self.qmp.execute("cont")
        if self._kd:
            self._kd.resumed()

    def reset(self) -> None:
        """Presses the reset button. From then on the guest may reboot by itself: its firmware does, to start over."""
        self.qmp.execute("set-action", reboot="reset")
        self.qmp.execute("system_reset")
        if self._kd:
            self._kd.resync()

    def cut_power(self) -> None:
        """Pulls the plug: the machine vanishes without a word on the wire. `start` boots it anew, on a fresh disk."""
        self._stopping = True
        child = self._alive()
        child.kill()
        child.wait(within(5.0))
        self.stop()

    def set_link(self, up: bool) -> None:
        """Plugs the cable into the wire's NIC, or pulls it; the guest sees its carrier change."""
        self.qmp.execute("set_link", name=WIRE_LINK, up=up)

    # -- snapshots ----------------------------------------------------------------------------------------------

    def save(self, tag: str) -> None:
        """Saves RAM, devices and disk under `tag` in the overlay. The guest stands still meanwhile."""
        running = self._kd is not None and self.qmp.execute("query-status")["running"]
        if self._kd:
            self._stop_between_packets(self._kd)
        try:
            self._snapshot_command(f"savevm {tag}")
        finally:
            if running:
                self.resume()

    def _stop_between_packets(self, kd: "KdLine") -> None:
        """Make it stand where nothing is half said, if it comes to such a place at all; one in a stop does not."""
        self.pause()
        for _ in range(BETWEEN_PACKETS):
            if kd.between:
                return
            self.resume()
            time.sleep(0.002)
            self.pause()

    def restore(self, tag: str) -> None:
        """Goes back to the snapshot; a running machine runs on from there, a paused one stays paused.

        After an error the machine stands still in an unknown state: start it anew.
        """
        # A debugger must have forgotten what the target said before the target runs on (docs/kd.md), and the target
        # must not find what the debugger has said to it in another time: an old ACK would cost it a line.
        resume = self._kd is not None and self.qmp.execute("query-status")["running"]
        if resume:
            self.pause()
        if self._kd:
            self._kd.empty()
        self._snapshot_command(f"loadvm {tag}")
        for line in self._lines.values():
            line.cut()
        if self._kd:
            self._kd.resync(restored=True)
        if resume:
            self.resume()

    def _snapshot_command(self, command: str) -> None:
        if said := self.qmp.hmp(command, within(snapshot_patience(self.profile.memory_mib))).strip():
            raise MachineError(f"{self.name}: {command}: {said}")

    def interrupt(self, why: str) -> None:
        """Ends every wait for text on a serial line, as it cannot come any more."""
        for line in self._lines.values():
            line.interrupt(why)

    # -- evidence -----------------------------------------------------------------------------------------------

    def status(self, deadline: float | None = None) -> str:
        """What QEMU says of the CPUs (QMP's RunState): `running`, `paused`, `guest-panicked`, `internal-error`, ..."""
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

    def lend_debugger(self, port: int) -> int:
        """Let WinDbg have the debug line on a TCP port of 127.0.0.1 (0: any) whenever it connects; returns the port.

        Raises MachineError.
        """
        if self._kd is None:
            raise MachineError(f"{self.name} has no kernel debugger's line: its profile says `debug: text`")
        return self._kd.lend(port)

    def registers(self) -> str:
        """The registers of all CPUs, as QEMU's monitor prints them."""
        return self.qmp.hmp("info registers -a")

    def screenshot(self, path: Path) -> None:
        """Writes the screen as PNG. Raises MachineError when the profile has no display."""
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

    # -- ways in ------------------------------------------------------------------------------------------------

    @property
    def qmp(self) -> Qmp:
        if self._qmp is None:
            raise MachineError(f"{self.name} is not running: start it first")
        return self._qmp

    @property
    def ssh_port(self) -> int:
        """The port on 127.0.0.1 which leads to the guest's port 22."""
        table = self.qmp.hmp("info usernet")
        if match := re.search(r"HOST_FORWARD\]\s+\d+\s+127\.0\.0\.1\s+(\d+)", table):
            return int(match[1])
        raise MachineError(f"{self.name}: QEMU forwards no port to the guest: {table!r}")

    # -- inside -------------------------------------------------------------------------------------------------

    def _launch(self, snapshot: str | None) -> None:
        """Starts QEMU with one end of a socket pair per channel: connected before it runs, with no path and no port."""
        if self._wire:
            _discard_stale_frames(self._wire)
        qmp_ours, qmp_theirs = socket.socketpair()
        serial = {role: _serial_pair() for role in self.profile.serial}
        self._lines = {role: SerialLine(role, ours, self.log(f"{role}.log")) for role, (ours, _) in serial.items()}
        firmware_theirs = self._listen_to_firmware() if self.files.kernel is None else None
        if self.profile.tpm:
            self._tpm = Tpm(self.folder / "tpm", self.files.tpm_state, self._confined)
        theirs = [
            qmp_theirs,
            *(end for _, end in serial.values()),
            *([self._tpm.qemu_end] if self._tpm else []),
            *([firmware_theirs] if firmware_theirs else []),
        ]
        self._qmp = Qmp(self.name, qmp_ours, self.log("qmp.log"), self._hear_qmp)
        if self.profile.debug == "kd":
            from wsklab.qemu.kd.line import KdLine

            self._kd = KdLine(self._lines["debug"], self.log("kd.jsonl"), self._hear_kd, serial["debug"][1].dup())
        for role, line in self._lines.items():
            setattr(self, role, line)
            line.start()
        if "console" in self._lines:
            self.console.on_line(self._hear_console)
        try:
            with Handover(self._confined) as handover:
                command = command_line(
                    self.profile,
                    handover.image(self.files),
                    name=self.name,
                    accelerator=self.accelerator,
                    overlay=Path(self.overlay.name),  # QEMU runs in the folder, and may have no way to it
                    serial_fds={role: end.fileno() for role, (_, end) in serial.items()},
                    qmp_fd=qmp_theirs.fileno(),
                    firmware_fd=firmware_theirs.fileno() if firmware_theirs else None,
                    wire_fd=self._wire.fileno() if self._wire else None,
                    uefi=self._uefi(handover),
                    tpm_fd=self._tpm.qemu_end.fileno() if self._tpm else None,
                    snapshot=snapshot,
                    options=handover.options,
                )
                (self.folder / "command.txt").write_text(f"{shlex.join(command)}\n{handover.legend}")
                sockets = [end.fileno() for end in (*theirs, *([self._wire] if self._wire else []))]
                self._child = Child(
                    command,
                    self.folder / "qemu.stderr",
                    pass_fds=[*sockets, *handover.fds],
                    confined=self._confined,
                    cwd=self.folder,
                    on_exit=self._hear_exit,
                )
        finally:
            _close(theirs)
        self._greet(self._child)

    def _hand_folder(self) -> None:
        """Make the disks those of QEMU's user, who can make no other files."""
        self._confined.open_folder(self.folder)
        for path in self.disks:
            self._confined.give(path)

    def _listen_to_firmware(self) -> socket.socket:
        """QEMU's end of the port that SeaBIOS writes its log to; whatever runs later may write there, too."""
        (self.folder / "firmware.log").unlink(missing_ok=True)
        self._logs.pop("firmware.log", None)
        ours, theirs = _serial_pair()
        self._firmware = SerialLine("firmware", ours, self.log("firmware.log"))
        self._firmware.start()
        return theirs

    def _make_disks(self) -> None:
        """A fresh overlay, fresh UEFI variables, and no TPM state of an earlier run."""
        create_overlay(self.files.disk, self.overlay)
        if self.profile.firmware == "ovmf":
            secure = self.profile.variant.secure_boot
            template = (not secure and self.files.variables) or firmware.find(secure=secure).variables
            firmware.make_variables(template, self.variables)
        shutil.rmtree(self.folder / "tpm", ignore_errors=True)

    def _uefi(self, handover: Handover) -> Uefi | None:
        if self.profile.firmware != "ovmf":
            return None
        found = firmware.find(secure=self.profile.variant.secure_boot)
        return Uefi(handover.block(found.code), Path(self.variables.name), found.secure)

    def _greet(self, child: Child) -> None:
        try:
            self.qmp.connect(within(LAUNCH_PATIENCE))
        except MachineError as error:
            if child.wait(within(0.5)) is None:
                raise
            raise LaunchError(child.command, child.exit_code, child.stderr_tail()) from error

    def _quit(self) -> None:
        self.qmp.execute("quit", deadline=within(0.5))

    def _alive(self) -> Child:
        if self._child is None:
            raise MachineError(f"{self.name} is not running: start it first")
        return self._child

    def _hear_qmp(self, event: Event) -> None:
        if kind := _QMP_KINDS.get(event["event"]):
            stamp = event["timestamp"]
            if kind == "reset" and self._kd:
                self._kd.rebooted()
            kind, detail = _crash_registers(event) or (kind, str(event.get("data", "")))
            self._tell(kind, detail, stamp["seconds"] * 10**9 + stamp["microseconds"] * 1000)

    def _hear_console(self, t_ns: int, text: str) -> None:
        for words, kind in _LAST_WORDS:
            if said := words.search(text):
                self._tell(kind, said[1], t_ns)

    def _hear_kd(self, t_ns: int, told: "Told") -> None:
        self._tell(*told, t_ns)

    def _hear_exit(self, code: int) -> None:
        if self._kd:
            self._kd.let_go()
        tail = ""
        with suppress(OSError):  # somebody may have removed the folder
            tail = (self.folder / "qemu.stderr").read_text(errors="replace")[-4096:]
        self._tell("died", f"QEMU ended with code {code}: {tail.strip() or 'it said nothing'}", time.time_ns())

    def _tell(self, kind: EventKind, detail: str, t_ns: int) -> None:
        if self._stopping:
            return
        for subscriber in list(self._subscribers):
            subscriber(MachineEvent(t_ns, kind, detail))


def snapshot_patience(memory_mib: int) -> float:
    """The seconds that saving or going back may take."""
    return SNAPSHOT_PATIENCE + PER_GIB * memory_mib / 1024


def _crash_registers(event: Event) -> tuple[EventKind, str] | None:
    """What a Windows that crashes writes for its hypervisor (hv-crash); None for a panic of another kind."""
    info = event.get("data", {}).get("info") or {}
    if info.get("type") != "hyper-v":
        return None
    code, first, second, third, fourth = (int(info.get(f"arg{number}", 0)) for number in range(1, 6))
    from wsklab.qemu.kd import bugcheck

    told = bugcheck.describe(code & 0xFFFFFFFF, (first, second, third, fourth))
    return "bugcheck", f"{told}, from what it wrote for its hypervisor"


def create_overlay(base: Path | None, overlay: Path) -> None:
    """Makes a qcow2 file over `base`; without a base an empty one, whose only use is to hold snapshots."""
    backing = ["64M"] if base is None else []
    source = [] if base is None else ["-b", str(base.resolve()), "-F", "qcow2"]
    made = subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", *source, str(overlay), *backing], capture_output=True, text=True
    )
    if made.returncode:
        raise MachineError(f"cannot make the disk {overlay}: {made.stderr.strip()}")


def _serial_pair() -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SERIAL_BUFFER)
    return ours, theirs


def _discard_stale_frames(wire: socket.socket) -> None:
    """A machine that was off has not heard what the cable said meanwhile."""
    with suppress(BlockingIOError):
        while True:
            wire.recv(65536, socket.MSG_DONTWAIT)


def _close(sockets: Iterable[socket.socket]) -> None:
    for end in sockets:
        end.close()
