"""What a run needs of a worker, what a worker says that it has, and in one sentence why nobody fits. Pure.

Slots are dask resources, which are counted; everything else is told with a worker's heartbeat, as it changes while
tasks run, and dask counts all slots of a worker as free when its resources are set anew (distributed 2026.8).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

TOLD = "wsklab"
"""What a worker says of itself, among the metrics that dask passes on."""


@dataclass(frozen=True)
class Offer:
    """A worker, as the scheduler knows it; memory and disk in MiB."""

    name: str
    slots: Mapping[str, float]
    version: str = ""
    memory_mib: float = float("inf")
    """Of which labs may have their share; without limit where nothing was said."""
    free_mib: float = float("inf")
    """On the disk of its cache."""
    images: frozenset[str] = frozenset()
    """Keys of those that it holds."""


@dataclass(frozen=True)
class Needs:
    """What a batch of a run asks of a worker. `images` is key -> MiB, of what is fetched where it is not held."""

    slot: str
    version: str = ""
    lab_mib: float = 0.0
    images: Mapping[str, float] = field(default_factory=dict)

    def unmet(self, offer: Offer) -> str | None:
        """Return why a worker cannot play it; None when it can."""
        if self.version and offer.version and offer.version != self.version:
            return "another version of wsklab than the client"
        if not offer.slots.get(self.slot):
            return f"no {self.slot} but {_listed(offer.slots) or 'nothing'}"
        if offer.memory_mib < self.lab_mib:
            return f"{offer.memory_mib:.0f} MiB of memory, and a lab needs {self.lab_mib:.0f}"
        missing = sum(size for key, size in self.images.items() if key not in offer.images)
        if missing > offer.free_mib:
            return f"{offer.free_mib:.0f} MiB of disk free, and the images need {missing:.0f}"
        return None

    def held(self, offer: Offer) -> bool:
        """Whether a worker holds every image."""
        return offer.images >= set(self.images)

    def nobody(self, offers: Iterable[Offer]) -> str:
        """Return the sentence for a run that none of these can play."""
        why: dict[str, list[str]] = {}
        for offer in sorted(offers, key=lambda offer: offer.name):
            why.setdefault(self.unmet(offer) or "can", []).append(offer.name)
        if not why:
            return f"there is no worker that offers {self.slot}"
        each = "; ".join(f"{_listed(names)}: {reason}" for reason, names in why.items())
        hint = " (a worker runs Windows guests with `--windows`)" if self.slot.startswith("windows-") else ""
        return f"no worker can play this run: {each}{hint}"


def offer_of(about: Mapping[str, Any]) -> Offer:
    """Return what the scheduler says of a worker as an offer."""
    told = about.get("metrics", {}).get(TOLD) or {}
    return Offer(
        name=str(about.get("name", "")),
        slots=about.get("resources") or {},
        version=str(told.get("version", "")),
        memory_mib=float(told.get("memory_mib", "inf")),
        free_mib=float(told.get("free_mib", "inf")),
        images=frozenset(told.get("images", ())),
    )


SHOWN = 3
"""Names that are said one by one."""


def _listed(names: Iterable[str]) -> str:
    found = list(names)
    return ", ".join(found[:SHOWN]) + (f" and {len(found) - SHOWN} more" if len(found) > SHOWN else "")
