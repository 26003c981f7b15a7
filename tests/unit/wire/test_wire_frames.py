"""Frames: built ones decode to what they were built from, and garbage never raises."""

import struct

import dpkt
from hypothesis import given
from hypothesis import strategies as st

from wsklab.qemu.wire import frames
from wsklab.qemu.wire.frames import ACK, FIN, MACS, PSH, SYN, Endpoint, decode, tcp_frame

TARGET = Endpoint(MACS["target"], "10.77.0.10", 5000)
PEER = Endpoint(MACS["peer"], "10.77.0.20", 6000)
TARGET6 = TARGET._replace(address="fd77::10")
PEER6 = PEER._replace(address="fd77::20")
pairs = st.sampled_from([(TARGET, PEER), (TARGET6, PEER6)])
u32 = st.integers(0, 2**32 - 1)


@given(pairs, u32, u32, st.integers(0, 63), st.integers(0, 65535), st.binary(max_size=1400))
def test_a_built_segment_decodes_to_itself(
    ends: tuple[Endpoint, Endpoint], seq: int, ack: int, flags: int, window: int, payload: bytes
) -> None:
    src, dst = ends
    frame = decode(tcp_frame(src, dst, seq, ack, flags, window, payload), 7, "target", "peer")
    assert (frame.time, frame.sender, frame.receiver, frame.kind) == (7, "target", "peer", "tcp")
    assert (frame.src, frame.src_port, frame.dst, frame.dst_port) == (src.address, src.port, dst.address, dst.port)
    assert (frame.seq, frame.ack, frame.flags, frame.window, frame.payload) == (seq, ack, flags, window, len(payload))


@given(pairs, st.binary(max_size=99))
def test_checksums_satisfy_another_implementation(ends: tuple[Endpoint, Endpoint], payload: bytes) -> None:
    ip = dpkt.ethernet.Ethernet(tcp_frame(*ends, 1, 2, ACK, 3, payload)).data
    segment = bytes(ip.data)
    assert dpkt.in_cksum(ip.src + ip.dst + struct.pack(">II", len(segment), 6) + segment) == 0
    if isinstance(ip, dpkt.ip.IP):
        assert dpkt.in_cksum(bytes(ip)[:20]) == 0


@given(st.binary(max_size=200))
def test_garbage_is_a_frame_too(data: bytes) -> None:
    assert decode(data).data == data


@given(pairs, st.binary(max_size=40), st.data())
def test_a_spoilt_frame_never_raises(ends: tuple[Endpoint, Endpoint], payload: bytes, data: st.DataObject) -> None:
    whole = bytearray(tcp_frame(*ends, 1, 2, SYN, 3, payload))
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(12, len(whole) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    frame = decode(cut)
    assert frame.payload >= 0
    frames.arp_reply(cut)
    frames.echo_reply_ident(frame)
    frames.with_bad_checksum(cut)
    if frame.kind == "tcp":
        frames.tcp_options(cut)


def test_padding_is_not_payload() -> None:
    data = tcp_frame(TARGET, PEER, 1, 2, ACK, 3)
    assert len(data) == 60
    assert decode(data).payload == 0


def test_syn_and_fin_take_a_sequence_number_and_it_wraps() -> None:
    assert decode(tcp_frame(TARGET, PEER, 0xFFFFFFFF, 0, SYN, 0)).end_seq == 0
    assert decode(tcp_frame(TARGET, PEER, 10, 0, FIN | PSH, 0, b"abc")).end_seq == 14


def test_a_later_fragment_has_no_ports() -> None:
    data = bytearray(tcp_frame(TARGET, PEER, 1, 2, ACK, 3, b"x" * 40))
    data[20:22] = (100).to_bytes(2, "big")
    frame = decode(bytes(data))
    assert (frame.kind, frame.src, frame.src_port) == ("ip", "10.77.0.10", 0)


def test_tcp_is_found_behind_ipv6_extension_headers() -> None:
    plain = tcp_frame(TARGET6, PEER6, 9, 2, ACK, 3, b"hi")
    hop_by_hop = bytes([6, 0, 1, 4, 0, 0, 0, 0])
    length = (int.from_bytes(plain[18:20], "big") + 8).to_bytes(2, "big")
    data = plain[:18] + length + b"\0" + plain[21:54] + hop_by_hop + plain[54:]
    assert (decode(data).kind, decode(data).seq, decode(data).payload) == ("tcp", 9, 2)


def test_the_wire_answers_arp_for_itself_alone() -> None:
    def request(wanted: str) -> bytes:
        body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + TARGET.mac + bytes([10, 77, 0, 10]) + b"\0" * 6
        return frames.ethernet(b"\xff" * 6, TARGET.mac, 0x0806, body + bytes(map(int, wanted.split("."))))

    answer = dpkt.ethernet.Ethernet(frames.arp_reply(request("10.77.0.1")))
    assert (answer.dst, answer.data.op, answer.data.sha) == (TARGET.mac, dpkt.arp.ARP_OP_REPLY, frames.WIRE_MAC)
    assert frames.arp_reply(request("10.77.0.20")) is None


def test_an_echo_request_and_its_reply() -> None:
    ping = dpkt.ethernet.Ethernet(frames.echo_request("peer", 0x1234, 7))
    assert (ping.dst, ping.data.data.type) == (MACS["peer"], dpkt.icmp.ICMP_ECHO)
    reply = frames.ip_frame(
        frames.WIRE_MAC, MACS["peer"], "10.77.0.1", "10.77.0.20", 1, b"\0" + bytes(ping.data.data)[1:]
    )
    assert frames.echo_reply_ident(decode(reply)) == (0x1234, 7)
    assert frames.echo_reply_ident(decode(bytes(ping))) is None


@given(pairs, st.sampled_from(sorted(frames.UNREACHABLE)))
def test_unreachable_quotes_the_packet_that_it_is_about(ends: tuple[Endpoint, Endpoint], code: str) -> None:
    original = tcp_frame(*ends, 77, 2, ACK, 3, b"payload")
    frame = decode(frames.unreachable_frame(MACS["peer"], MACS["target"], original, code))
    assert (frame.src, frame.dst) == (ends[1].address, ends[0].address)
    assert (frame.kind, frame.icmp_type) == (("icmp6", 1) if ":" in frame.src else ("icmp", 3))
    assert frame.icmp_code == frames.UNREACHABLE[code][frame.kind == "icmp6"]
    assert original[14:54] in frame.data


def test_a_bad_checksum_changes_nothing_else() -> None:
    for ends in ((TARGET, PEER), (TARGET6, PEER6)):
        good = tcp_frame(*ends, 1, 2, ACK, 3, b"abc")
        bad = frames.with_bad_checksum(good)
        assert sum(a != b for a, b in zip(good, bad, strict=True)) == 2
        assert decode(bad)._replace(data=good) == decode(good)
