"""What lies around an IP packet: link headers, tags, labels, tunnels. Pure.

Link types by tcpdump.org's list; IEEE 802.1Q, RFC 2516 (PPPoE), 3032 (MPLS), 2784 and 2890 (GRE), 7348 (VXLAN),
8926 (Geneve), 3GPP TS 29.281 (GTP-U). At most eight headers are taken off.
"""

from __future__ import annotations

from typing import NamedTuple

DEEPEST = 8

NULL, ETHERNET, RAW_BSD, RAW_OPENBSD, RAW, LOOP, SLL, IPV4, IPV6, NFLOG, SLL2 = (
    0, 1, 12, 14, 101, 108, 113, 228, 229, 239, 276,
)  # fmt: skip
WIRELESS = frozenset({105, 119, 127, 163})

_TAGS = frozenset({0x8100, 0x88A8, 0x9100, 0x9200})
_FAMILIES_6 = frozenset({10, 24, 28, 30})  # AF_INET6 of Linux, NetBSD, FreeBSD, macOS
_VXLAN_PORTS, _GENEVE_PORT, _GTP_PORT = frozenset({4789, 8472}), 6081, 2152
EXTENSIONS = frozenset({0, 43, 60, 135, 139, 140})
FRAGMENT, AUTHENTICATION = 44, 51


class Place(NamedTuple):
    """Where an IP header begins; -1 where there is none. `through` names what was taken off."""

    at: int
    through: tuple[str, ...] = ()


NOWHERE = Place(-1)


def ip_in(link: int, data: bytes) -> Place:
    """Find the IP header in a captured packet."""
    size = len(data)
    if link == ETHERNET:
        return _typed(data, 12, ())
    if link in (RAW, IPV4, IPV6, RAW_BSD, RAW_OPENBSD):
        return Place(0) if _is_ip(data, 0) else NOWHERE
    if link == SLL and size >= 16:
        return _typed(data, 14, ())
    if link == SLL2 and size >= 20:
        return _by_type(data, int.from_bytes(data[:2], "big"), 20, ())
    if link in (NULL, LOOP) and size >= 4:
        family = {int.from_bytes(data[:4], "big"), int.from_bytes(data[:4], "little")}
        return Place(4) if family & ({2} | _FAMILIES_6) and _is_ip(data, 4) else NOWHERE
    if link == NFLOG:
        return _nflog(data)
    return NOWHERE


def _typed(data: bytes, at: int, through: tuple[str, ...]) -> Place:
    """`at` is where an EtherType stands."""
    if len(data) < at + 2:
        return NOWHERE
    return _by_type(data, data[at] << 8 | data[at + 1], at + 2, through)


def _by_type(data: bytes, kind: int, at: int, through: tuple[str, ...]) -> Place:
    """Return the place of what an EtherType announces, which begins at `at`."""
    for _ in range(DEEPEST):
        if kind in (0x0800, 0x86DD):
            return Place(at, through) if _is_ip(data, at) else NOWHERE
        if kind in _TAGS and len(data) >= at + 4:
            tag = int.from_bytes(data[at : at + 2], "big") & 0xFFF
            kind, at, through = int.from_bytes(data[at + 2 : at + 4], "big"), at + 4, (*through, f"VLAN {tag}")
        elif kind == 0x8864 and len(data) >= at + 8:
            protocol, at, through = int.from_bytes(data[at + 6 : at + 8], "big"), at + 8, (*through, "PPPoE")
            kind = {0x21: 0x0800, 0x57: 0x86DD}.get(protocol, 0)
        elif kind == 0x8847:
            for _ in range(DEEPEST):
                if len(data) < at + 4:
                    return NOWHERE
                at += 4
                if data[at - 2] & 1:  # bottom of the stack
                    break
            return Place(at, (*through, "MPLS")) if _is_ip(data, at) else NOWHERE
        else:
            return NOWHERE
    return NOWHERE


def _nflog(data: bytes) -> Place:
    at = 4
    for _ in range(64):
        if len(data) < at + 4:
            break
        size, kind = int.from_bytes(data[at : at + 2], "little"), int.from_bytes(data[at + 2 : at + 4], "little")
        if kind == 9:  # NFULA_PAYLOAD
            return Place(at + 4) if _is_ip(data, at + 4) else NOWHERE
        at += max(size + -size % 4, 4)
    return NOWHERE


def _is_ip(data: bytes, at: int) -> bool:
    if len(data) <= at:
        return False
    version = data[at] >> 4
    return (version == 4 and len(data) >= at + 20 and data[at] & 15 >= 5) or (version == 6 and len(data) >= at + 40)


def tunnelled(data: bytes, protocol: int, at: int, through: tuple[str, ...]) -> Place:
    """Return the IP header inside what an IP packet carries; nowhere, if that is no tunnel."""
    if len(through) >= DEEPEST:
        return NOWHERE
    if protocol in (4, 41):
        return Place(at, (*through, "IP in IP")) if _is_ip(data, at) else NOWHERE
    if protocol == 47:
        return _gre(data, at, through)
    if protocol == 17 and len(data) >= at + 16:
        ports = {int.from_bytes(data[at : at + 2], "big"), int.from_bytes(data[at + 2 : at + 4], "big")}
        at += 8
        if ports & _VXLAN_PORTS and data[at] & 8:
            vni = int.from_bytes(data[at + 4 : at + 7], "big")
            return _typed(data, at + 8 + 12, (*through, f"VXLAN {vni}"))
        if _GENEVE_PORT in ports:
            inner = at + 8 + (data[at] & 0x3F) * 4
            kind = int.from_bytes(data[at + 2 : at + 4], "big")
            through = (*through, "Geneve")
            return _typed(data, inner + 12, through) if kind == 0x6558 else _by_type(data, kind, inner, through)
        if _GTP_PORT in ports and data[at] >> 4 == 3 and data[at + 1] == 255:
            inner = at + (12 if data[at] & 7 else 8)
            return Place(inner, (*through, "GTP")) if _is_ip(data, inner) else NOWHERE
    return NOWHERE


def _gre(data: bytes, at: int, through: tuple[str, ...]) -> Place:
    if len(data) < at + 4 or data[at + 1] & 7:  # version 1 is PPTP's
        return NOWHERE
    flags, kind = data[at], int.from_bytes(data[at + 2 : at + 4], "big")
    inner = at + 4 + sum(4 for bit in (0x80, 0x20, 0x10) if flags & bit)
    if kind == 0x88BE:  # ERSPAN: type I has no sequence number and no header
        return _typed(data, inner + (8 if flags & 0x10 else 0) + 12, (*through, "ERSPAN"))
    if kind == 0x22EB:
        extra = 8 if len(data) > inner + 11 and data[inner + 11] & 1 else 0
        return _typed(data, inner + 12 + extra + 12, (*through, "ERSPAN III"))
    if kind == 0x6558:
        return _typed(data, inner + 12, (*through, "GRE"))
    return _by_type(data, kind, inner, (*through, "GRE"))
