"""Variants of a machine: the same one with another number of processors, another card, another network."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from wsklab.common.strict import Strict

VariantName = Annotated[str, Field(pattern="^[a-z0-9][a-z0-9-]{0,31}$")]
BASE = "base"
"""The machine as its profile says, without any variant."""

Card = Literal["virtio-net-pci", "e1000e"]


class Variant(Strict):
    """What is otherwise; what is not named is as in the profile."""

    title: Annotated[str, Field(max_length=120, pattern="^[ -~]*$")] = ""
    cpus: Annotated[int, Field(ge=1, le=64)] | None = None
    network: Card | None = None  # on the wire
    mtu: Annotated[int, Field(ge=1280, le=1500)] | None = None  # of the target on the wire; IPv6 needs 1280
    ipv4: bool = True  # whether the target has an IPv4 address on the wire
    offloads: bool = True  # of checksums, RSC and LSO, where card and wire offer them
    tcp_template: Literal["InternetCustom", "DatacenterCustom"] | None = None  # Windows' settings of TCP
    memory_integrity: bool = False  # HVCI, which needs nested virtualisation
    secure_boot: bool = False  # with Microsoft's keys; neither test signing nor a kernel debugger then

    @property
    def windows_only(self) -> list[str]:
        """What of it only Windows has, in words."""
        wanted = {
            "offloads that can be switched off": not self.offloads,
            "TCP templates": self.tcp_template is not None,
            "Memory Integrity": self.memory_integrity,
            "Secure Boot": self.secure_boot,
        }
        return [words for words, needed in wanted.items() if needed]
