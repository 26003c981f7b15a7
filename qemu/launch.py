"""The start of a machine's QEMU: its channels, its command line, and the process.

Every channel of ours is a socket pair, of which QEMU inherits one end: it is connected before anything runs, with no
path and no port.
"""

from __future__ import annotations

import shlex
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from wsklab.qemu import firmware, recording
from wsklab.qemu.confinement import Confinement
from wsklab.qemu.deadline import within
from wsklab.qemu.disks import OVERLAY, VARIABLES
from wsklab.qemu.errors import LaunchError, MachineError
from wsklab.qemu.firmware import Uefi
from wsklab.qemu.handover import Handover
from wsklab.qemu.logfile import LogFile
from wsklab.qemu.monitor import Qmp, listening
from wsklab.qemu.process import Child
from wsklab.qemu.profile import Accelerator, ImageFiles, Profile, SerialRole, command_line
from wsklab.qemu.serial import SerialLine
from wsklab.qemu.tpm import Tpm

GREETING = 10.0
"""Seconds for QEMU to greet: it may be read from a cold disk."""

SERIAL_BUFFER = 1 << 20
"""Bytes that a guest may say while our Python is busy."""


@dataclass(frozen=True)
class Launch:
    """What is to be started, and as whom."""

    name: str
    profile: Profile
    files: ImageFiles
    folder: Path
    accelerator: Accelerator
    confined: Confinement
    wire: socket.socket | None
    log: Callable[[str], LogFile]
    rr: recording.Mode | None = None


class Channels:
    """Both ends of all that joins us to one QEMU; its ends are closed once it has inherited them."""

    def __init__(self, launch: Launch) -> None:
        """Prepare the launch. Raises MachineError."""
        self.qmp, self.qmp_theirs = socket.socketpair()
        pairs = {role: _serial_pair() for role in launch.profile.serial}
        self.lines = {role: SerialLine(role, ours, launch.log(f"{role}.log")) for role, (ours, _) in pairs.items()}
        self.serial_theirs: dict[SerialRole, socket.socket] = {role: theirs for role, (_, theirs) in pairs.items()}
        self.firmware: SerialLine | None = None
        self.firmware_theirs: socket.socket | None = None
        if launch.files.kernel is None:  # SeaBIOS writes its log to this port; what runs later may write there, too
            ours, self.firmware_theirs = _serial_pair()
            self.firmware = SerialLine("firmware", ours, launch.log("firmware.log"))
        self.monitor_theirs = listening(launch.folder)  # for others, at a name in the machine's folder
        self.tpm = Tpm(launch.folder / "tpm", launch.files.tpm_state, launch.confined) if launch.profile.tpm else None

    @property
    def theirs(self) -> list[socket.socket]:
        """QEMU's ends."""
        tpm = [self.tpm.qemu_end] if self.tpm else []
        others = filter(None, [self.firmware_theirs, self.monitor_theirs])
        return [self.qmp_theirs, *self.serial_theirs.values(), *tpm, *others]


def start(launch: Launch, channels: Channels, snapshot: str | None, on_exit: Callable[[int], None]) -> Child:
    """Start QEMU, which inherits its ends of the channels; its CPUs stand still. Raises MachineError."""
    if launch.wire:
        _discard_stale_frames(launch.wire)
    try:
        with Handover(launch.confined) as handover:
            command = command_line(
                launch.profile,
                handover.image(launch.files),
                name=launch.name,
                accelerator=launch.accelerator,
                overlay=Path(OVERLAY),  # QEMU runs in the folder, and may have no way to it
                serial_fds={role: end.fileno() for role, end in channels.serial_theirs.items()},
                qmp_fd=channels.qmp_theirs.fileno(),
                firmware_fd=channels.firmware_theirs.fileno() if channels.firmware_theirs else None,
                wire_fd=launch.wire.fileno() if launch.wire else None,
                uefi=_uefi(launch.profile, handover),
                tpm_fd=channels.tpm.qemu_end.fileno() if channels.tpm else None,
                monitor_fd=channels.monitor_theirs.fileno() if channels.monitor_theirs else None,
                snapshot=snapshot,
                options=handover.options,
                rr=launch.rr,
            )
            (launch.folder / "command.txt").write_text(f"{shlex.join(command)}\n{handover.legend}")
            sockets = [end.fileno() for end in (*channels.theirs, *filter(None, [launch.wire]))]
            return Child(
                command,
                launch.folder / "qemu.stderr",
                pass_fds=[*sockets, *handover.fds],
                confined=launch.confined,
                cwd=launch.folder,
                on_exit=on_exit,
            )
    finally:
        for end in channels.theirs:
            end.close()


def greet(child: Child, qmp: Qmp) -> None:
    """Wait until QEMU speaks QMP. Raises LaunchError with its last words if it has ended, or MachineError."""
    try:
        qmp.connect(within(GREETING))
    except MachineError as error:
        if child.wait(within(0.5)) is None:
            raise
        raise LaunchError(child.command, child.exit_code, child.stderr_tail()) from error


def _uefi(profile: Profile, handover: Handover) -> Uefi | None:
    if profile.firmware != "ovmf":
        return None
    found = firmware.find(secure=profile.variant.secure_boot)
    return Uefi(handover.block(found.code), Path(VARIABLES), found.secure)


def _serial_pair() -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SERIAL_BUFFER)
    return ours, theirs


def _discard_stale_frames(wire: socket.socket) -> None:
    """Discard what the cable said meanwhile: a machine that was off has not heard it."""
    with suppress(BlockingIOError):
        while True:
            wire.recv(65536, socket.MSG_DONTWAIT)
