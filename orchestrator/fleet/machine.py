"""What a machine can carry, told to the scheduler as dask resources: lab slots by accelerator, and whether of Windows.

A resource for each kind of slot, so that a task asks for one thing: `lab-kvm`, `lab-tcg`, `windows-kvm`, `windows-tcg`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wsklab import images
from wsklab.orchestrator.fleet.shipping import fetch_image, newest_peer
from wsklab.orchestrator.fleet.store import Store
from wsklab.orchestrator.lab.peer import PEER_PROFILE
from wsklab.orchestrator.run import capacity
from wsklab.qemu import accel
from wsklab.qemu.profile import Accelerator, load_profile

KVM = Path("/dev/kvm")


@dataclass(frozen=True)
class Slots:
    """How many labs, on what, and why not more."""

    labs: int
    accelerator: Accelerator
    windows: bool
    why: str

    @property
    def resources(self) -> dict[str, float]:
        """As dask counts them."""
        found = {resource(False, self.accelerator): float(self.labs)}
        if self.windows:
            found[resource(True, self.accelerator)] = float(self.labs)
        return found


def resource(windows: bool, accelerator: str) -> str:
    """Return the name of a kind of slot."""
    return f"{'windows' if windows else 'lab'}-{accelerator}"


def slots(labs: int | None, windows: bool, store: Store | None) -> Slots:
    """Return what this machine announces; `labs` None: as many as it carries. Raises MachineError, StoreError."""
    guests = sum(load_profile(name).memory_mib for name in ("standin", PEER_PROFILE))
    count, why = capacity.admit(labs, guests, capacity.host())
    accelerator, reason = accelerated(store)
    return Slots(labs or count, accelerator, windows, "; ".join(filter(None, (reason, "" if labs else why))))


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


def offered(workers: Mapping[str, Mapping[str, object]]) -> dict[str, float]:
    """Resource -> how many of it all workers have together."""
    total: dict[str, float] = {}
    for about in workers.values():
        resources = about.get("resources")
        if isinstance(resources, Mapping):
            for name, count in resources.items():
                total[name] = total.get(name, 0.0) + float(count)
    return total
