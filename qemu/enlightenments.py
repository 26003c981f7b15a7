"""Which of Hyper-V's interfaces this host's KVM can offer a Windows guest.

QEMU does not merely refuse what KVM lacks: some of these flags end it with a failed assertion at once. So a stopped
machine is started with each candidate, and the richest one that answers and can be saved is taken: QEMU starts with
a CPU that no snapshot can hold (`migratable=no`), and says so only when one is wanted.
"""

import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from wsklab.qemu.profile import Profile

_PATIENCE = 10.0  # seconds for a stopped machine to start and end
_HARMLESS = ("hv-relaxed", "hv-spinlocks=0x1fff")
"""Accepted by QEMU wherever there is KVM; the rest need a KVM that emulates Hyper-V."""
_AMD = "arch-capabilities=off"
"""Some AMD hosts announce an MSR that their KVM then refuses to set."""


def fit(profile: Profile, starts: Callable[[Profile], bool] | None = None) -> Profile:
    """Return the profile with what works here under KVM; without any enlightenment when nothing more can be started."""
    starts = starts or _starts
    return next((one for one in candidates(profile) if starts(one)), profile.model_copy(update={"hyperv": ()}))


def candidates(profile: Profile) -> Iterator[Profile]:
    """Yield the profile as it is, then with less and less."""
    harmless = tuple(flag for flag in profile.hyperv if flag in _HARMLESS)
    for flags in dict.fromkeys((profile.hyperv, harmless, ())):
        for cpu in (profile.cpu["kvm"], f"{profile.cpu['kvm']},{_AMD}"):
            yield profile.model_copy(update={"hyperv": flags, "cpu": profile.cpu | {"kvm": cpu}})


def _starts(profile: Profile) -> bool:
    with tempfile.TemporaryDirectory(prefix="wsklab-") as folder:
        return _saves(profile, Path(folder) / "probe.qcow2")


def _saves(profile: Profile, disk: Path) -> bool:
    """Whether a stopped machine starts, and its state can be saved on an empty disk; needs no guest."""
    command = [
        "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-S",
        "-machine", "q35,accel=kvm", "-m", "64", "-cpu", ",".join([profile.cpu["kvm"], *profile.hyperv]),
        "-drive", f"if=none,format=qcow2,file={str(disk).replace(',', ',,')}", "-monitor", "stdio",
    ]  # fmt: skip
    make = ["qemu-img", "create", "-q", "-f", "qcow2", str(disk), "1M"]
    try:
        subprocess.run(make, capture_output=True, timeout=_PATIENCE, check=True)
        words = b"savevm probe\nquit\n"
        done = subprocess.run(command, input=words, capture_output=True, timeout=_PATIENCE, check=False)
    except (OSError, subprocess.SubprocessError):
        return False
    return done.returncode == 0 and b"Error" not in done.stdout
