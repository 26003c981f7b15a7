"""What QEMU and swtpm may do on the host: run their guest, with the files that they are given, and nothing else.

A lab that is run by root starts them as a user of their own, who owns no file but those that a machine writes to. The
folders stay root's, so that nothing in them can be replaced by a link. Whoever runs the lab, no process gets a
capability or can gain one (capabilities(7), PR_SET_NO_NEW_PRIVS); QEMU's own seccomp filter comes on top.
"""

import os
import re
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path

from wsklab.qemu.profile import Accelerator

USER = 65533
"""User and group. No system gives it to anybody: systemd's dynamic users end at 65519, `nobody` is 65534."""

QEMU = "qemu-system-x86_64"
_KVM = Path("/dev/kvm")
_SETPCAP = 8
_NEEDED = (0, 1, 5, 6, 7)  # chown, dac_override, kill, setgid, setuid
"""Capabilities with which root can start a process as another user, end it, and read what it has left."""


@dataclass(frozen=True)
class Confinement:
    """How a process is started. `user` None: as whoever runs the lab."""

    user: int | None = None
    groups: tuple[int, ...] = ()
    bounded: bool = False  # even a program of root's gets no capability

    @property
    def setpriv(self) -> list[str]:
        """Options of setpriv(1)."""
        words = ["--no-new-privs"]
        if self.bounded:
            words += ["--inh-caps=-all", "--bounding-set=-all"]
        if self.user is not None:
            groups = [f"--groups={','.join(map(str, self.groups))}"] if self.groups else ["--clear-groups"]
            words += [f"--reuid={self.user}", f"--regid={self.user}", *groups]
        return words

    def open_folder(self, folder: Path) -> None:
        """Let the process look up files in a folder of ours by their names; it can neither list nor change it."""
        if self.user is not None:
            os.chown(folder, -1, self.user)
            folder.chmod(0o710)

    def give(self, path: Path) -> None:
        """Make a file one that the process may read and write; an empty one where there is none."""
        if self.user is not None:
            path.touch(mode=0o600)
            os.chown(path, self.user, self.user, follow_symlinks=False)

    def take(self, path: Path) -> None:
        """Make a file that was given away ours again."""
        if self.user is not None:
            os.chown(path, os.geteuid(), os.getegid(), follow_symlinks=False)

    def give_folder(self, folder: Path) -> None:
        """Do the same for a folder that is the process' alone, with all that is in it."""
        if self.user is not None:
            for path in (folder, *folder.rglob("*")):
                os.chown(path, self.user, self.user, follow_symlinks=False)

    def reads(self, fd: int) -> bool:
        """Whether the process could open by itself the file that is open here."""
        return (self.user is None and not self.bounded) or bool(os.fstat(fd).st_mode & stat.S_IROTH)


def confinement(accelerator: Accelerator) -> Confinement:
    """Return how processes are confined on this host."""
    kvm = _KVM.stat() if accelerator == "kvm" and _KVM.exists() else None
    return choose(os.geteuid(), Path("/proc/self/status").read_text(), Path("/proc/self/uid_map").read_text(),
                  open_to_all(QEMU), (kvm.st_mode, kvm.st_gid) if kvm else None)  # fmt: skip


def open_to_all(program: str) -> bool:
    """Whether any user may run a program; one that is not there is met by whoever starts it."""
    found = shutil.which(program)
    path = Path(found or "/").resolve()
    return all(step.stat().st_mode & stat.S_IXOTH for step in (path, *path.parents))


def choose(user: int, status: str, uid_map: str, runnable: bool, kvm: tuple[int, int] | None = None) -> Confinement:
    """Return the tightest confinement for a lab of `user`, whose /proc/self/status and uid_map these are.

    `runnable`: any user may run QEMU. `kvm` is mode and group of the device, where it is needed. What only root may
    run or open is run and opened by root, who still gets no capability.
    """
    if user != 0:
        return Confinement()
    capable = int(match[1], 16) if (match := re.search(r"^CapEff:\s*([0-9a-f]+)", status, re.MULTILINE)) else 0
    bounded = bool(capable >> _SETPCAP & 1)
    ranges = [[int(number) for number in line.split()] for line in uid_map.splitlines()]
    mapped = any(first <= USER < first + count for first, _, count in ranges)
    if not runnable or not mapped or not all(capable >> number & 1 for number in _NEEDED):
        return Confinement(bounded=bounded)
    if kvm is None or kvm[0] & 0o006 == 0o006:
        return Confinement(USER, (), bounded)
    if kvm[0] & 0o060 == 0o060 and kvm[1] != 0:
        return Confinement(USER, (kvm[1],), bounded)
    return Confinement(bounded=bounded)
