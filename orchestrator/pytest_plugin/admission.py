"""How many of xdist's workers the host carries: each has a lab."""

from __future__ import annotations

from wsklab.orchestrator.lab.peer import PEER_PROFILE
from wsklab.orchestrator.run import capacity
from wsklab.qemu.profile import load_profile

WINDOWS = "windows-11"
"""The profile by whose memory a Windows image is counted before it is opened: none has more."""


def admitted(wanted: int | None, target: str) -> tuple[int, str]:
    """Return (number of workers, why it is not more); `wanted` None: as many as the host carries."""
    guests = (target if target == "standin" else WINDOWS, PEER_PROFILE)
    return capacity.admit(wanted, sum(load_profile(name).memory_mib for name in guests), capacity.host())
