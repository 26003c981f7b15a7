"""What a running lab holds at one moment: memory and handles in both guests, in QEMU and in our own process."""

from __future__ import annotations

import os
from pathlib import Path

from wsklab.orchestrator.lab.lab import Lab

_GUEST_MEMORY = "cat /proc/meminfo"
_PROVIDER = (  # of the process in the stand-in that is Windows' kernel: pages of memory, threads, open handles
    'for p in /proc/[0-9]*; do read -r name < $p/comm; if [ "$name" = winedevice.exe ]; then '
    "grep -q wsklab.sys $p/maps && { cat $p/statm; ls $p/task | wc -l; ls $p/fd | wc -l; }; fi; done"
)


def vitals(lab: Lab) -> dict[str, float]:
    """Name -> value; memory in MiB. The guests are asked over SSH. Raises LabError."""
    state = lab.target.state()
    pages, threads, handles = _process(lab.shell("target", _PROVIDER))
    return {
        "target: memory in use": _in_use(lab.shell("target", _GUEST_MEMORY)),
        "target: driver and provider": pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
        "target: their threads": threads,
        "target: their handles": handles,
        "target: driver's allocations": state.allocations,
        "target: driver's sockets": state.sockets,
        "target: driver's IRPs": state.irps,
        "peer: memory in use": _in_use(lab.shell("peer", _GUEST_MEMORY)),
        "QEMU of the target": resident(lab.machine("target").pid),
        "QEMU of the peer": resident(lab.machine("peer").pid),
        "ours": resident(os.getpid()),
    }


def resident(pid: int) -> float:
    """MiB of a process of this host."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _in_use(meminfo: str) -> float:
    """MiB that a guest could not give to a new program, from its /proc/meminfo."""
    lines = (line.split() for line in meminfo.splitlines())
    kib = {words[0].rstrip(":"): int(words[1]) for words in lines if len(words) > 1}
    return (kib["MemTotal"] - kib["MemAvailable"]) / 1024


def _process(said: str) -> tuple[int, int, int]:
    """Resident pages, threads, open files; of the first such process."""
    statm, threads, handles = said.splitlines()[:3]
    return int(statm.split()[1]), int(threads), int(handles)
