"""A TPM 2.0 for a machine: swtpm, joined to QEMU by an inherited socket."""

import shutil
import socket
from pathlib import Path

from wsklab.qemu.confinement import Confinement
from wsklab.qemu.deadline import within
from wsklab.qemu.errors import MachineError
from wsklab.qemu.process import Child


class Tpm:
    """A running swtpm. It ends with QEMU (`--terminate`), at the latest with `close`."""

    def __init__(self, folder: Path, state: Path | None, confined: Confinement) -> None:
        """`folder` keeps the state of this run; a fresh one begins with a copy of `state`, or as a new chip."""
        if shutil.which("swtpm") is None:
            raise MachineError("the machine has a TPM, which swtpm plays; run `apt-get install swtpm`")
        if not folder.exists():
            if state is None:
                folder.mkdir(mode=0o700)
            else:
                shutil.copytree(state, folder)
        confined.give_folder(folder)
        self.qemu_end, swtpm_end = socket.socketpair()
        with swtpm_end:
            self._child = Child(
                [
                    "swtpm", "socket", "--tpm2", "--terminate",
                    "--tpmstate", "dir=.",
                    "--ctrl", f"type=unixio,clientfd={swtpm_end.fileno()}",
                ],
                folder.with_suffix(".stderr"),
                pass_fds=[swtpm_end.fileno()],
                confined=confined,
                cwd=folder,
            )  # fmt: skip

    def close(self) -> None:
        """Let go of QEMU's end and wait for swtpm."""
        self.qemu_end.close()
        if self._child.wait(within(1.0)) is None:
            self._child.kill()
            self._child.wait(within(5.0))
