"""What a machine can carry, told to the scheduler: lab slots by accelerator, and whether of Windows; memory, images.

Slots are dask resources, one for each kind, so that a task asks for one thing: `lab-kvm`, `lab-tcg`, `windows-kvm`,
`windows-tcg`. What else there is goes with the worker's heartbeat (`needs.py`).
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wsklab import images
from wsklab.orchestrator.fleet.job import fingerprint
from wsklab.orchestrator.fleet.transport.shipping import fetch_image, newest_peer
from wsklab.orchestrator.fleet.transport.store import Store
from wsklab.orchestrator.lab.peer import PEER_PROFILE
from wsklab.orchestrator.run import capacity
from wsklab.qemu import accel
from wsklab.qemu.profile import Accelerator, load_profile

KVM = Path("/dev/kvm")

WINDOWS = "windows-10"
"""The smallest profile of a machine with Windows."""


@dataclass(frozen=True)
class Slots:
    """How many labs, on what, and why not more."""

    labs: int
    accelerator: Accelerator
    windows: int
    """How many of them may be labs with Windows, which have more memory."""
    why: str
    memory_mib: float

    @property
    def resources(self) -> dict[str, float]:
        """As dask counts them."""
        found = {resource(False, self.accelerator): float(self.labs)}
        if self.windows:
            found[resource(True, self.accelerator)] = float(self.windows)
        return found

    def told(self) -> dict[str, Any]:
        """Return what the scheduler is told besides, as it is now."""
        cache = images.cache_folder()
        return {
            "version": fingerprint(),
            "memory_mib": round(self.memory_mib),
            "free_mib": shutil.disk_usage(cache).free >> 20,
            "images": sorted(path.parent.name for path in (cache / "images").glob("*/manifest.json")),
        }


def resource(windows: bool, accelerator: str) -> str:
    """Return the name of a kind of slot."""
    return f"{'windows' if windows else 'lab'}-{accelerator}"


def slots(labs: int | None, windows: bool, store: Store | None) -> Slots:
    """Return what this machine announces; `labs` None: as many as it carries. Raises MachineError, StoreError."""
    host, peer = capacity.host(), load_profile(PEER_PROFILE).memory_mib
    count, why = capacity.admit(labs, load_profile("standin").memory_mib + peer, host)
    count = labs or count
    larger, _ = capacity.admit(count, load_profile(WINDOWS).memory_mib + peer, replace(host, cores=count))
    accelerator, reason = accelerated(store)
    why = "; ".join(filter(None, (reason, "" if labs else why)))
    return Slots(count, accelerator, larger if windows else 0, why, host.memory_mib)


def accelerated(store: Store | None) -> tuple[Accelerator, str]:
    """Return the accelerator, tried with the kernel of a peer: one that is here, or the one that the store has."""
    if word := accel.wanted():
        return word, "WSKLAB_ACCEL says so"
    if not os.access(KVM, os.R_OK | os.W_OK):
        return "tcg", f"{KVM} may not be opened by this user" if KVM.exists() else f"there is no {KVM}"
    cache = images.cache_folder()
    peer = next((image for image in images.listing() if image.name == "peer"), None)
    if peer is None and store is not None and (ref := newest_peer(store)):
        peer = fetch_image(ref, cache, store)
    if peer is None:
        return "tcg", "no image is here or in the store with which KVM could be tried"
    choice = accel.choose(peer.kernel, peer.initrd, cache)
    return choice.name, choice.reason
