"""Which accelerator QEMU can really use here: one that has run a guest, not one whose device merely opens.

/dev/kvm may open, make virtual machines, and still hang a guest in its boot (nested virtualisation), so a kernel is
booted that reports itself on its first serial port and powers off. The answer is kept until host, QEMU or kernel
change.
"""

import functools
import hashlib
import json
import os
import platform
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple, cast, get_args

from wsklab.common.errors import UsageError
from wsklab.qemu.confinement import confinement
from wsklab.qemu.deadline import within
from wsklab.qemu.errors import MachineError
from wsklab.qemu.handover import Handover
from wsklab.qemu.process import Child
from wsklab.qemu.profile import Accelerator

PROBE_PATIENCE = 8.0  # seconds; TCG boots the same kernel in 2.5 s, so a KVM that needs longer is of no use
PROBE_WORD = b"WSKLAB-PROBE"
_KVM = Path("/dev/kvm")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Choice(NamedTuple):
    """The accelerator, and why in one line."""

    name: Accelerator
    reason: str


def wanted() -> Accelerator | None:
    """Return what the user wants, by WSKLAB_ACCEL=kvm|tcg. Raises UsageError."""
    word = os.environ.get("WSKLAB_ACCEL")
    if not word:
        return None
    if word not in get_args(Accelerator):
        raise UsageError(f"WSKLAB_ACCEL is {word!r}: set it to kvm or tcg, or not at all")
    return cast(Accelerator, word)


def choose(kernel: Path, initrd: Path, cache: Path) -> Choice:
    """Return what the user wants, else KVM if it boots this kernel, else TCG; the answer is kept in `cache`.

    Raises MachineError when there is no QEMU, and UsageError.
    """
    if word := wanted():
        return Choice(word, "WSKLAB_ACCEL says so")
    file, circumstances = cache / "accelerator.json", _circumstances(kernel, initrd)
    if kept := _read(file, circumstances):
        return kept
    choice = _probe(kernel, initrd)
    cache.mkdir(parents=True, exist_ok=True)
    fresh = file.with_suffix(f".{os.getpid()}")
    fresh.write_text(json.dumps({"circumstances": circumstances, **choice._asdict()}, indent=1) + "\n")
    fresh.replace(file)
    return choice


@functools.cache
def qemu_version() -> str:
    """Return what QEMU says of itself, such as `7.2.22 (Debian ...)`. Raises MachineError when there is no QEMU."""
    try:
        said = subprocess.run(["qemu-system-x86_64", "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise MachineError(f"qemu-system-x86_64 does not run ({error}); `apt-get install qemu-system-x86`") from None
    return said.partition("version ")[2].partition("\n")[0]


def _probe(kernel: Path, initrd: Path) -> Choice:
    """TCG is taken untried: it is QEMU itself, and there is nothing to fall back to."""
    if not os.access(_KVM, os.R_OK | os.W_OK):
        closed = "may not be opened (`sudo adduser $USER kvm`, and log in again)"
        return Choice("tcg", f"{_KVM} {closed if _KVM.exists() else 'does not exist'}")
    with tempfile.TemporaryDirectory(prefix="wsklab-probe-") as folder:
        said, errors = Path(folder) / "serial", Path(folder) / "stderr"
        confined = confinement("kvm")
        confined.open_folder(Path(folder))
        confined.give(said)
        with Handover(confined) as handover:
            command = _command(handover.plain(kernel), handover.plain(initrd), Path(said.name))
            guest = Child(command, errors, pass_fds=[*handover.fds], confined=confined, cwd=Path(folder))
        if guest.wait(within(PROBE_PATIENCE)) is None:
            guest.kill()
            guest.wait(within(5.0))
            return Choice("tcg", f"KVM did not bring a guest through its boot in {PROBE_PATIENCE:g} s")
        if said.exists() and PROBE_WORD in said.read_bytes():
            return Choice("kvm", "KVM booted the probe guest")
        last = guest.stderr_tail().strip().splitlines() or ["the probe guest said nothing"]
        return Choice("tcg", f"KVM failed: {last[0]}")


def _command(kernel: Path, initrd: Path, serial: Path) -> list[str]:
    return [
        "qemu-system-x86_64",
        "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
        "-machine", "q35,accel=kvm", "-cpu", "host", "-m", "256",
        "-serial", f"file:{serial}",
        "-kernel", str(kernel), "-initrd", str(initrd), "-append", "wsklab.probe quiet panic=-1",
    ]  # fmt: skip


def _circumstances(kernel: Path, initrd: Path) -> str:
    """All that the answer depends on, as one digest."""
    files = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in (kernel, initrd)]
    facts = [qemu_version(), files, platform.release(), _BOOT_ID.read_text(), os.access(_KVM, os.R_OK | os.W_OK)]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _read(file: Path, circumstances: str) -> Choice | None:
    try:
        kept = json.loads(file.read_text())
        if kept["circumstances"] == circumstances and kept["name"] in get_args(Accelerator):
            return Choice(kept["name"], str(kept["reason"]))
    except (OSError, ValueError, KeyError, TypeError):
        pass  # none, or not ours: probe again
    return None
