"""Files that QEMU reads are opened by us and handed over: it need not be able to reach them, nor may it open others.

Block devices take them as sets of file descriptors (`-add-fd`, `/dev/fdset/N`), the kernel's loader by their name in
/proc, which opens them once more and so asks whether QEMU may: what it may not read comes as a copy in memory.
"""

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Self

from wsklab.qemu.confinement import Confinement
from wsklab.qemu.errors import MachineError
from wsklab.qemu.profile import ImageFiles


@dataclass
class Handover:
    """The files of one QEMU; a context manager that closes our ends."""

    confinement: Confinement
    fds: dict[int, Path] = field(default_factory=dict)
    options: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for fd in self.fds:
            os.close(fd)

    def image(self, files: ImageFiles) -> ImageFiles:
        """Return the files of an image under the names that QEMU opens them by. Raises MachineError."""
        return replace(
            files,
            disk=files.disk and self.block(files.disk),
            kernel=files.kernel and self.plain(files.kernel),
            initrd=files.initrd and self.plain(files.initrd),
            cdroms=tuple(self.block(path) for path in files.cdroms),
        )

    def block(self, path: Path) -> Path:
        """Return the name of a file for a block device that only reads. Raises MachineError."""
        fd = self._open(path)
        number = len(self.options) // 2 + 1
        self.options += ["-add-fd", f"fd={fd},set={number},opaque={str(path).replace(',', ',,')}"]
        return Path(f"/dev/fdset/{number}")

    def plain(self, path: Path) -> Path:
        """Return the name of a file for whatever opens it as any program does. Raises MachineError."""
        fd = self._open(path)
        if not self.confinement.reads(fd):
            self.fds.pop(fd)
            with os.fdopen(fd, "rb") as file:
                fd = os.memfd_create(path.name)
                self.fds[fd] = path
                with os.fdopen(os.dup(fd), "wb") as copy:
                    copy.write(file.read())
        return Path(f"/proc/self/fd/{fd}")

    @property
    def legend(self) -> str:
        """What is behind the numbers of a command line, for people who look at it."""
        return "".join(f"# file descriptor {fd}: {path}\n" for fd, path in self.fds.items())

    def _open(self, path: Path) -> int:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise MachineError(f"cannot open {path}, which the machine starts from: {error.strerror}") from None
        self.fds[fd] = path
        return fd
