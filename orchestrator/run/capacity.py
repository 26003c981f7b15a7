"""How many labs a host carries side by side: as many as it has memory and cores for. Pure, but for `host`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

LAB_CORES = 1.0
"""Cores that a lab keeps busy on average: its target computes, its peer and we mostly wait."""

WRONG_CORES = 0.66
"""The same of a lab that runs one wrong build after the other: it often waits for a driver that hangs. Two of them
kept 1.46 of two cores busy; a third fills the rest."""

OVERHEAD_MIB = 200
"""Memory of a QEMU process beside its guest's, and of our part of it: 60 measured, and 128 of translated code."""

SPARE_MIB = 512
"""What is left to the host."""


@dataclass(frozen=True)
class Host:
    """What a host has for labs: cores, and MiB of memory that a new process could get."""

    cores: float
    memory_mib: float


def admit(wanted: int | None, guests_mib: float, host: Host, lab_cores: float = LAB_CORES) -> tuple[int, str]:
    """Return (number of labs, why it is not more).

    `wanted` None: as many as the host carries; at least one in any case. `lab_cores`: what one of them keeps busy.
    """
    by_memory, by_cores = int((host.memory_mib - SPARE_MIB) / need(guests_mib)), int(host.cores / lab_cores)
    most = max(1, min(by_memory, by_cores))
    if wanted is not None and wanted <= most:
        return wanted, ""
    if by_memory < by_cores:
        return most, f"a lab needs {need(guests_mib):.0f} MiB of memory, {max(0, host.memory_mib):.0f} are free"
    busy = "a core" if lab_cores == LAB_CORES else f"{lab_cores:g} of a core"
    return most, f"a lab keeps {busy} busy, and there are {host.cores:g}"


def room(guests_mib: float, host: Host) -> str | None:
    """Why there is no memory for one more lab now; None when there is."""
    if host.memory_mib - SPARE_MIB >= need(guests_mib):
        return None
    return f"another one needs {need(guests_mib):.0f} MiB of memory, {host.memory_mib:.0f} are free"


def need(guests_mib: float) -> float:
    """MiB of a whole lab, whose two guests have `guests_mib` in all."""
    return guests_mib + 2 * OVERHEAD_MIB


def host() -> Host:
    """Return this host as this process may use it: its CPU set and the limits of its control groups (v2) count."""
    cores, memory = float(len(os.sched_getaffinity(0))), _available()
    own = Path("/proc/self/cgroup").read_text(encoding="ascii").rpartition(":")[2]
    group = Path("/sys/fs/cgroup") / own.strip().strip("/")
    for folder in (group, *group.parents):
        quota = _words(folder / "cpu.max")
        if len(quota) == 2 and quota[0] != "max":
            cores = min(cores, int(quota[0]) / int(quota[1]))
        limit, used = _words(folder / "memory.max"), _words(folder / "memory.current")
        if limit and used and limit[0] != "max":
            memory = min(memory, (int(limit[0]) - int(used[0])) / 2**20)
    return Host(cores, memory)


def _available() -> float:
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")) / 1024


def _words(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="ascii").split()
    except OSError:
        return []
