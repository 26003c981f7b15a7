"""The network plan: who has which address, on the wire and on the management network.

Nothing else decides it. What cannot read it (the guests' init script, the profiles of machines and drivers) is compared
with it by tests/unit/qemu/test_network.py.
"""

from __future__ import annotations

from dataclasses import dataclass

WIRE_PREFIX = {"ipv4": 24, "ipv6": 64}
"""Prefix lengths of the wire's networks, in bits."""

WIRE_NETMASK = "255.255.255.0"
"""WIRE_PREFIX of IPv4, as netsh wants it."""

MANAGEMENT_ADDRESS, MANAGEMENT_PREFIX = "10.0.2.15", 24
"""Every guest's own, behind QEMU's user-mode network: 10.0.2.15 is the first address that QEMU's DHCP would give."""


@dataclass(frozen=True, slots=True)
class Host:
    """A place in the plan. Its number ends all its addresses, written with the same digits in each."""

    number: int

    @property
    def mac(self) -> str:
        """The MAC address on the wire."""
        return f"52:54:00:77:00:{self.number:02d}"

    @property
    def management_mac(self) -> str:
        """The MAC address on the management network."""
        return f"52:54:00:0a:00:{self.number:02d}"

    @property
    def ipv4(self) -> str:
        """The IPv4 address on the wire."""
        return f"10.77.0.{self.number}"

    @property
    def ipv6(self) -> str:
        """The IPv6 address on the wire."""
        return f"fd77::{self.number}"

    @property
    def addresses(self) -> dict[str, str]:
        """The addresses on the wire, by family."""
        return {"ipv4": self.ipv4, "ipv6": self.ipv6}

    @property
    def networks(self) -> tuple[str, ...]:
        """The addresses on the wire with their prefix lengths: `10.77.0.10/24`."""
        return tuple(f"{address}/{WIRE_PREFIX[family]}" for family, address in self.addresses.items())


WIRE = Host(1)
"""The wire's own process, which pings both machines."""

MACHINES = {"target": Host(10), "peer": Host(20)}
NOBODY = Host(99)
"""On the wire's network, but no machine has it."""
