"""Ethernet frames, decoded and built. Pure, and lean: the wire's process decodes every frame that passes.

Formats: RFC 826 (ARP), 791 (IPv4), 8200 (IPv6), 9293 (TCP), 792 and 4443 (ICMP).
"""

import socket
import struct
from typing import NamedTuple

from wsklab.qemu import network

FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32
FLAGS = {"fin": FIN, "syn": SYN, "rst": RST, "psh": PSH, "ack": ACK, "urg": URG}

SIDES = ("target", "peer")
OTHER_SIDE = {"target": "peer", "peer": "target"}
MAX_FRAME = 65536

WIRE_MAC = bytes.fromhex(network.WIRE.mac.replace(":", ""))
WIRE_ADDRESS, WIRE_ADDRESS_6 = network.WIRE.ipv4, network.WIRE.ipv6
MACS = {side: bytes.fromhex(host.mac.replace(":", "")) for side, host in network.MACHINES.items()}
ADDRESSES = {side: host.ipv4 for side, host in network.MACHINES.items()}
ADDRESSES_6 = {side: host.ipv6 for side, host in network.MACHINES.items()}

_ETHERNET = struct.Struct("!6s6sH")
_ARP = struct.Struct("!HHBBH6s4s6s4s")
_IPV4 = struct.Struct("!BBHHHBBH4s4s")
_IPV6 = struct.Struct("!IHBB16s16s")
_TCP = struct.Struct("!HHIIBBHHH")
_UDP = struct.Struct("!HHHH")
_ICMP = struct.Struct("!BBHHH")

_TYPE_IPV4, _TYPE_ARP, _TYPE_IPV6 = 0x0800, 0x0806, 0x86DD
_ICMP_PROTOCOL, _TCP_PROTOCOL, _UDP_PROTOCOL, _ICMP6_PROTOCOL = 1, 6, 17, 58
_EXTENSIONS = {0, 43, 60}  # hop-by-hop, routing, destination options: RFC 8200 section 4
_FRAGMENT = 44


class Frame(NamedTuple):
    """One frame, as it was seen. Fields that its kind does not have are zero or empty."""

    time: int  # ns since the epoch
    sender: str  # "target", "peer", or "wire" for a frame that the wire made or sent again
    receiver: str  # who got it; "" when the wire kept it
    kind: str  # "tcp", "udp", "icmp", "icmp6", "arp", "ip" (another protocol or a fragment), "other", "mark"
    data: bytes
    comment: str = ""
    src: str = ""
    dst: str = ""
    src_port: int = 0
    dst_port: int = 0
    seq: int = 0
    ack: int = 0
    flags: int = 0
    window: int = 0
    payload: int = 0  # bytes after the transport header
    icmp_type: int = 0
    icmp_code: int = 0

    def port_at(self, side: str) -> int:
        """Return the port of this frame at one machine, whoever sent it."""
        sent = self.sender == side if self.sender in OTHER_SIDE else self.receiver != side
        return self.src_port if sent else self.dst_port

    @property
    def end_seq(self) -> int:
        """The sequence number after this TCP segment; SYN and FIN count as one byte each."""
        return (self.seq + self.payload + (self.flags & SYN != 0) + (self.flags & FIN != 0)) & 0xFFFFFFFF


def decode(data: bytes, time: int = 0, sender: str = "", receiver: str = "", comment: str = "") -> Frame:
    """Any bytes as a Frame; what cannot be understood is "other" (or "ip", if at least the addresses are readable)."""
    kind, length = "other", len(data)
    src = dst = ""
    if length >= 34 and data[12:14] == b"\x08\x00":
        version, _, total, _, fragment, _, protocol, _, raw_src, raw_dst = _IPV4.unpack_from(data, 14)
        at = 14 + (version & 15) * 4
        if version >> 4 == 4 and at >= 34:
            kind, src, dst = "ip", socket.inet_ntoa(raw_src), socket.inet_ntoa(raw_dst)
            if fragment & 0x1FFF:
                protocol = -1
            length = min(length, 14 + total) if total else length
    elif length >= 54 and data[12:14] == b"\x86\xdd":
        version, total, protocol, _, raw_src, raw_dst = _IPV6.unpack_from(data, 14)
        if version >> 28 == 6:
            kind = "ip"
            src, dst = socket.inet_ntop(socket.AF_INET6, raw_src), socket.inet_ntop(socket.AF_INET6, raw_dst)
            length = min(length, 54 + total) if total else length
            protocol, at = _skip_extensions(data, protocol, 54, length)
    elif length >= 42 and data[12:14] == b"\x08\x06":
        raw_src, raw_dst = data[28:32], data[38:42]
        return Frame(time, sender, receiver, "arp", data, comment, socket.inet_ntoa(raw_src), socket.inet_ntoa(raw_dst))
    if kind == "other":
        return Frame(time, sender, receiver, kind, data, comment)

    room = length - at
    if protocol == _TCP_PROTOCOL and room >= 20:
        sport, dport, seq, ack, offset, flags, window, _, _ = _TCP.unpack_from(data, at)
        payload = room - (offset >> 4) * 4
        if offset >= 0x50 and payload >= 0:
            return Frame(
                time, sender, receiver, "tcp", data, comment, src, dst, sport, dport, seq, ack, flags, window, payload
            )
    elif protocol == _UDP_PROTOCOL and room >= 8:
        sport, dport, _, _ = _UDP.unpack_from(data, at)
        return Frame(
            time, sender, receiver, "udp", data, comment, src, dst, sport, dport, payload=room - 8
        )  # fmt: skip
    elif protocol in (_ICMP_PROTOCOL, _ICMP6_PROTOCOL) and room >= 8:
        kind = "icmp" if protocol == _ICMP_PROTOCOL else "icmp6"
        return Frame(
            time,
            sender,
            receiver,
            kind,
            data,
            comment,
            src,
            dst,
            payload=room - 8,
            icmp_type=data[at],
            icmp_code=data[at + 1],
        )
    return Frame(time, sender, receiver, "ip", data, comment, src, dst)


def _skip_extensions(data: bytes, protocol: int, at: int, end: int) -> tuple[int, int]:
    """Return the transport protocol behind IPv6 extension headers and where it begins; -1 for a later fragment."""
    while protocol in _EXTENSIONS or protocol == _FRAGMENT:
        if at + 8 > end:
            return -1, at
        if protocol == _FRAGMENT:
            if int.from_bytes(data[at + 2 : at + 4], "big") & 0xFFF8:
                return -1, at
            protocol, at = data[at], at + 8
        else:
            protocol, at = data[at], at + 8 + data[at + 1] * 8
    return protocol, at


# -- building -------------------------------------------------------------------------------------------------------


def checksum(data: bytes) -> int:
    """Return the Internet checksum (RFC 1071): one's complement arithmetic is arithmetic modulo 0xFFFF."""
    padded = data + b"\0" if len(data) % 2 else data
    return 0xFFFF - int.from_bytes(padded, "big") % 0xFFFF


def ethernet(dst: bytes, src: bytes, ether_type: int, payload: bytes) -> bytes:
    """Return an Ethernet frame, padded to the minimum of 60 bytes."""
    return (_ETHERNET.pack(dst, src, ether_type) + payload).ljust(60, b"\0")


def ip_frame(dst_mac: bytes, src_mac: bytes, dst: str, src: str, protocol: int, payload: bytes) -> bytes:
    """Return an IPv4 or IPv6 packet, by the form of its addresses, in a frame."""
    if ":" in src:
        header = _IPV6.pack(6 << 28, len(payload), protocol, 64, _packed(src), _packed(dst))
        return ethernet(dst_mac, src_mac, _TYPE_IPV6, header + payload)
    header = _IPV4.pack(0x45, 0, 20 + len(payload), 0, 0x4000, 64, protocol, 0, _packed(src), _packed(dst))
    header = header[:10] + checksum(header).to_bytes(2, "big") + header[12:]
    return ethernet(dst_mac, src_mac, _TYPE_IPV4, header + payload)


class Endpoint(NamedTuple):
    """One end of a TCP connection, as frames name it."""

    mac: bytes
    address: str
    port: int


def tcp_frame(
    src: Endpoint,
    dst: Endpoint,
    seq: int,
    ack: int,
    flags: int,
    window: int,
    payload: bytes = b"",
    options: bytes = b"",
) -> bytes:
    """Return a TCP segment with a right checksum; the length of `options` is a multiple of four."""
    seq, ack, offset = seq & 0xFFFFFFFF, ack & 0xFFFFFFFF, 0x50 + (len(options) << 2)
    segment = _TCP.pack(src.port, dst.port, seq, ack, offset, flags, window, 0, 0) + options + payload
    total = checksum(_pseudo_header(src.address, dst.address, _TCP_PROTOCOL, len(segment)) + segment)
    segment = segment[:16] + total.to_bytes(2, "big") + segment[18:]
    return ip_frame(dst.mac, src.mac, dst.address, src.address, _TCP_PROTOCOL, segment)


def unreachable_frame(src_mac: bytes, dst_mac: bytes, original: bytes, code: str, src: str | None = None) -> bytes:
    """ICMP "destination unreachable" about the IP packet in the frame `original`, to its sender.

    `code` is a key of UNREACHABLE. It comes from `src`, or else from the packet's own destination.
    """
    frame = decode(original)
    icmp4, icmp6 = UNREACHABLE[code]
    source = src or frame.dst
    if ":" in frame.src:
        quoted = original[14 : 14 + 40 + 20]
        message = _ICMP.pack(1, icmp6, 0, 0, 0) + quoted
        total = checksum(_pseudo_header(source, frame.src, _ICMP6_PROTOCOL, len(message)) + message)
        protocol = _ICMP6_PROTOCOL
    else:
        quoted = original[14 : 14 + (original[14] & 15) * 4 + 20]
        message = _ICMP.pack(3, icmp4, 0, 0, 0) + quoted
        total, protocol = checksum(message), _ICMP_PROTOCOL
    message = message[:2] + total.to_bytes(2, "big") + message[4:]
    return ip_frame(dst_mac, src_mac, frame.src, source, protocol, message)


# RFC 792 / RFC 1812 section 5.2.7.1 and RFC 4443 section 3.1
UNREACHABLE = {"icmp-net": (0, 0), "icmp-host": (1, 3), "icmp-port": (3, 4), "icmp-admin": (13, 1)}


def arp_reply(request: bytes) -> bytes | None:
    """Return the wire's answer to an ARP request for its address; None for any other frame."""
    if len(request) < 42 or request[12:14] != b"\x08\x06":
        return None
    _, _, _, _, operation, mac, address, _, wanted = _ARP.unpack_from(request, 14)
    if operation != 1 or wanted != _packed(WIRE_ADDRESS):
        return None
    return ethernet(mac, WIRE_MAC, _TYPE_ARP, _ARP.pack(1, _TYPE_IPV4, 6, 4, 2, WIRE_MAC, wanted, mac, address))


def neighbour_reply(frame: Frame) -> bytes | None:
    """Return the wire's answer to a neighbour solicitation for its IPv6 address (RFC 4861 4.3); None for any other."""
    if frame.kind != "icmp6" or frame.icmp_type != 135 or frame.src == "::":
        return None
    if frame.data[62:78] != _packed(WIRE_ADDRESS_6):
        return None
    # Solicited and overriding; the target's link-layer address follows as option 2.
    message = struct.pack("!BBHI", 136, 0, 0, 0x60000000) + _packed(WIRE_ADDRESS_6) + b"\2\1" + WIRE_MAC
    return _icmp6(frame.data[6:12], frame.src, message, hops=255)


def _icmp6(mac: bytes, to: str, message: bytes, hops: int = 64) -> bytes:
    """Return a message of the wire itself, with its checksum."""
    total = checksum(_pseudo_header(WIRE_ADDRESS_6, to, _ICMP6_PROTOCOL, len(message)) + message)
    message = message[:2] + total.to_bytes(2, "big") + message[4:]
    header = _IPV6.pack(6 << 28, len(message), _ICMP6_PROTOCOL, hops, _packed(WIRE_ADDRESS_6), _packed(to))
    return ethernet(mac, WIRE_MAC, _TYPE_IPV6, header + message)


def echo_request(side: str, ident: int, sequence: int, ipv6: bool = False) -> bytes:
    """Return a ping from the wire itself to one of the machines."""
    if ipv6:
        message = _ICMP.pack(128, 0, 0, ident, sequence) + b"wsklab barrier"
        return _icmp6(MACS[side], ADDRESSES_6[side], message)
    message = _ICMP.pack(8, 0, 0, ident, sequence) + b"wsklab barrier"
    message = message[:2] + checksum(message).to_bytes(2, "big") + message[4:]
    return ip_frame(MACS[side], WIRE_MAC, ADDRESSES[side], WIRE_ADDRESS, _ICMP_PROTOCOL, message)


def echo_reply_ident(frame: Frame) -> tuple[int, int] | None:
    """(ident, sequence) of a machine's answer to `echo_request`."""
    if frame.kind == "icmp6" and frame.icmp_type == 129 and frame.dst == WIRE_ADDRESS_6 and len(frame.data) >= 62:
        _, _, _, ident, sequence = _ICMP.unpack_from(frame.data, 54)
        return ident, sequence
    if frame.kind != "icmp" or frame.icmp_type != 0 or frame.dst != WIRE_ADDRESS or len(frame.data) < 42:
        return None
    _, _, _, ident, sequence = _ICMP.unpack_from(frame.data, 14 + (frame.data[14] & 15) * 4)
    return ident, sequence


def for_the_wire(data: bytes) -> bool:
    """Return true for a frame that is addressed to the wire itself."""
    return data[:6] == WIRE_MAC


def with_bad_checksum(data: bytes) -> bytes:
    """Spoil the checksum of a frame's TCP segment: the receiver drops it without a word."""
    frame = decode(data)
    if frame.kind != "tcp":
        return data
    at = _transport_offset(data) + 16
    spoilt = int.from_bytes(data[at : at + 2], "big") ^ 0x5555
    return data[:at] + spoilt.to_bytes(2, "big") + data[at + 2 :]


def tcp_options(data: bytes) -> bytes:
    """Return the option bytes of a frame that `decode` called "tcp"."""
    at = _transport_offset(data)
    return data[at + 20 : at + (data[at + 12] >> 4) * 4]


def _transport_offset(data: bytes) -> int:
    if data[12:14] == b"\x08\x00":
        return 14 + (data[14] & 15) * 4
    return _skip_extensions(data, data[20], 54, len(data))[1]


def _pseudo_header(src: str, dst: str, protocol: int, length: int) -> bytes:
    return _packed(src) + _packed(dst) + length.to_bytes(4, "big") + protocol.to_bytes(4, "big")


def _packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)
