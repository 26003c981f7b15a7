"""Captures in every dress: the same conversation comes out, whatever is around it."""

from __future__ import annotations

import gzip
import io
import random
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.captured import SECOND, Talk, block, enhanced, ethernet, interface, pcap, section
from support.mutated import mutated, outcome

from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.field.endings import connections
from wsklab.orchestrator.field.endings.headers import headers
from wsklab.orchestrator.field.packets import captures, flows
from wsklab.orchestrator.field.packets.captures import Notes
from wsklab.orchestrator.field.packets.flows import Flows
from wsklab.qemu.wire import pcapng
from wsklab.qemu.wire.annotate import annotated
from wsklab.qemu.wire.frames import ACK, FIN, MACS, PSH, RST, Endpoint, decode, tcp_frame

Packets = list[tuple[int, bytes]]


def talk() -> Talk:
    """Return a handshake, data both ways, and the peer's abort."""
    said = Talk().handshake().exchange()
    said.p(RST | ACK)
    return said


def read(data: bytes) -> Flows:
    notes = Notes()
    return flows.read(captures.stream(io.BytesIO(data), notes), notes)


def shape(found: Flows) -> list[tuple[int, int, list[str]]]:
    """Return what must come out the same: bytes each way, and FINs and RSTs."""
    stories = [one.story for one in connections.connections(found)]
    return [(one.halves[0].payload, one.halves[1].payload, [end.word for end in one.ends]) for one in stories]


WANTED = [(10, 20, ["rst"])]


def gre(packet: bytes) -> bytes:
    return b"\0\0\x08\0" + packet


def ip(protocol: int, body: bytes) -> bytes:
    return struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 9, 0, 64, protocol, 0, b"\x01" * 4, b"\x02" * 4) + body


def udp(port: int, body: bytes) -> bytes:
    return ip(17, struct.pack("!HHHH", 1000, port, 8 + len(body), 0) + body)


DRESSES: dict[str, tuple[int, Callable[[bytes], bytes]]] = {
    "Ethernet": (1, ethernet),
    "VLAN": (1, lambda p: ethernet(b"\0\x07\x08\0" + p, 0x8100)),
    "QinQ": (1, lambda p: ethernet(b"\0\x07\x81\0\0\x08\x08\0" + p, 0x88A8)),
    "PPPoE": (1, lambda p: ethernet(b"\x11\0\0\1\0\x50\0\x21" + p, 0x8864)),
    "MPLS": (1, lambda p: ethernet(b"\0\0\x10\x40\0\0\x21\x40" + p, 0x8847)),
    "raw IP": (101, bytes),
    "IPv4": (228, bytes),
    "cooked 1": (113, lambda p: b"\0\0\0\1\0\6" + bytes(8) + b"\x08\0" + p),
    "cooked 2": (276, lambda p: b"\x08\0\0\0\0\0\0\2\0\1\0\6" + bytes(8) + p),
    "null, little": (0, lambda p: b"\2\0\0\0" + p),
    "null, big": (0, lambda p: b"\0\0\0\2" + p),
    "loop": (108, lambda p: b"\0\0\0\2" + p),
    "GRE": (1, lambda p: ethernet(ip(47, gre(p)))),
    "GRE with key": (1, lambda p: ethernet(ip(47, b"\x20\0\x08\0\0\0\0\7" + p))),
    "ERSPAN": (1, lambda p: ethernet(ip(47, b"\x10\0\x88\xbe" + bytes(12) + ethernet(p)))),
    "IP in IP": (1, lambda p: ethernet(ip(4, p))),
    "VXLAN": (1, lambda p: ethernet(udp(4789, b"\x08\0\0\0\0\0\x05\0" + ethernet(p)))),
    "Geneve": (1, lambda p: ethernet(udp(6081, b"\0\0\x65\x58\0\0\x05\0" + ethernet(p)))),
    "GTP": (1, lambda p: ethernet(udp(2152, b"\x30\xff" + len(p).to_bytes(2, "big") + bytes(4) + p))),
    "padding and FCS": (1, lambda p: ethernet(p) + b"\0" * 10),
}


@pytest.mark.parametrize("dress", DRESSES)
def test_what_lies_around_a_packet_is_taken_off(dress: str) -> None:
    link, put_on = DRESSES[dress]
    found = read(pcap([(time, put_on(packet)) for time, packet in talk().packets()], link))
    assert shape(found) == WANTED
    assert found.unread == 0


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("nano", [False, True])
def test_pcap_in_both_byte_orders_and_both_units(order: str, nano: bool) -> None:
    packets = [(time, ethernet(packet)) for time, packet in talk().packets()]
    found = read(pcap(packets, order=order, nano=nano))
    assert shape(found) == WANTED
    assert abs(found.begin - packets[0][0]) < 1000


def test_ipv6_with_extension_headers_and_fragments() -> None:
    plain = [(time, ethernet(packet)) for time, packet in talk().packets(6)]
    assert shape(read(pcap(plain))) == WANTED
    odd: Packets = []
    for number, (time, packet) in enumerate(talk().packets(6)):
        head, body = packet[:40], packet[40:]
        hop = b"\x2c\0" + bytes(6)  # hop-by-hop, then a fragment header
        cut = len(body) // 16 * 8
        pieces = ((body[:cut], 0, 1), (body[cut:], cut, 0)) if cut else ((body, 0, 0),)
        for piece, offset, more in reversed(pieces):
            rest = hop + struct.pack("!BBHI", 6, 0, offset | more, number) + piece
            odd.append((time, ethernet(head[:4] + len(rest).to_bytes(2, "big") + b"\0" + head[7:] + rest)))
    assert shape(read(pcap(odd))) == WANTED


def test_fragments_of_ipv4_come_together_in_any_order() -> None:
    odd: Packets = []
    for time, packet in talk().packets():
        head, body = packet[:20], packet[20:]
        cut = len(body) // 16 * 8
        for piece, offset, more in ((body[cut:], cut, 0), (body[:cut], 0, 0x2000)):
            total = (20 + len(piece)).to_bytes(2, "big")
            odd.append(
                (
                    time,
                    ethernet(head[:2] + total + head[4:6] + (offset // 8 | more).to_bytes(2, "big") + head[8:] + piece),
                )
            )
    assert shape(read(pcap(odd))) == WANTED


@pytest.mark.parametrize("order", "<>")
def test_pcapng_with_two_interfaces_of_different_units_and_links(order: str) -> None:
    packets = talk().packets()
    data = section(order) + interface(1, 6, order) + interface(101, 9, order, offset=100)
    for number, (time, packet) in enumerate(packets):
        if number % 2:
            data += enhanced(1, time - 100 * SECOND, packet, order)
        else:
            data += enhanced(0, time // 1000, ethernet(packet), order)
    found = read(data)
    assert shape(found) == WANTED
    assert found.end - found.begin == packets[-1][0] - packets[0][0]


def test_a_second_section_begins_anew_and_odd_blocks_are_passed_over() -> None:
    packets = talk().packets()
    data = section("<") + interface(1, 9) + block(0xBAD, b"whatever") + block(4, b"names")
    data += b"".join(enhanced(0, time, ethernet(packet)) for time, packet in packets[:4])
    data += section(">") + interface(101, 9, ">")
    data += b"".join(enhanced(0, time, packet, ">") for time, packet in packets[4:])
    assert shape(read(data)) == WANTED


def test_interfaces_that_are_out_of_order_are_put_into_it() -> None:
    data, both = section() + interface(101, 9) + interface(101, 9), list(enumerate(talk().packets()))
    senders = [segment.sender for segment in talk().segments]
    for wanted in ("peer", "driver"):  # all of one interface, then all of the other
        for number, (time, packet) in both:
            if senders[number] == wanted:
                data += enhanced(int(wanted == "peer"), time, packet)
    (one,) = connections.connections(read(data))
    assert [half.payload for half in one.story.halves] == [20, 10]
    assert [half.missing for half in one.story.halves] == [0, 0]
    assert one.story.opened == (True, True, True)
    assert not one.story.stepped


def test_a_clock_that_goes_back_is_said_to() -> None:
    packets = [(time - (SECOND if number > 4 else 0), ethernet(p)) for number, (time, p) in enumerate(talk().packets())]
    (one,) = connections.connections(read(pcap(packets)))
    assert [end.word for end in one.story.ends] == ["rst"]
    assert any("clock went back" in text for text in one.ending.unknown)


def test_simple_packets_have_no_time_and_are_said_to_have_none() -> None:
    data = section() + interface()
    for _, packet in talk().packets():
        frame = ethernet(packet)
        data += block(3, struct.pack("<I", len(frame)) + frame)
    found = read(data)
    assert shape(found) == WANTED
    assert any("no time" in text for text in found.notes.texts)


def test_gzip_and_a_gzip_that_is_cut() -> None:
    packed = gzip.compress(pcap([(time, ethernet(packet)) for time, packet in talk().packets()]))
    assert shape(read(packed)) == WANTED
    cut = read(packed[:-9])
    assert any("cut" in text for text in cut.notes.texts)


def test_a_bomb_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captures, "_RATIO_FROM", 1 << 20)
    bomb = gzip.compress(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1) + bytes(8 << 20))
    with pytest.raises(UsageError, match="unpacks to more"):
        read(bomb)


def test_packets_cut_by_the_capture_keep_their_lengths() -> None:
    said = Talk().handshake()
    said.p(ACK | PSH, 1000)
    said.p(FIN | ACK)
    found = read(pcap([(time, ethernet(packet)) for time, packet in said.packets()], cut=60))
    (one,) = connections.connections(found)
    assert one.story.halves[1].payload == 1000
    assert any("cut off" in text for text in one.ending.unknown)


@pytest.mark.parametrize(
    ("data", "suffix", "words"),
    [
        (b"", "", "is empty"),
        (b"\x28\xb5\x2f\xfd1234", "", "zstd -d"),
        (b"no capture at all", "", "neither pcap nor pcapng"),
        (b"\0\0\0\0trace", ".etl", "pktmon etl2pcap"),
    ],
)
def test_what_is_no_capture_is_refused_in_a_sentence(tmp_path: Path, data: bytes, suffix: str, words: str) -> None:
    path = tmp_path / f"given{suffix or '.pcap'}"
    path.write_bytes(data)
    with pytest.raises(UsageError, match=words):
        list(captures.packets(path, Notes()))


def test_many_flows_and_long_ones_stay_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows, "MOST_FLOWS", 3)
    packets: Packets = []
    for number in range(5):
        said = Talk(port=41000 + number).handshake()
        packets += [(time, ethernet(packet)) for time, packet in said.packets()]
    found = read(pcap(packets))
    assert len(found.flows) == 3
    assert any("more than 3 flows" in text for text in found.notes.texts)


def test_of_a_long_connection_beginning_and_end_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flows, "MOST_BYTES", 4000)
    monkeypatch.setattr(flows, "THINNED", 10)
    said = Talk().handshake()
    for _ in range(200):
        said.d(ACK | PSH, 10, after=0.001)
        said.p(ACK, after=0.001)
    said.p(RST | ACK)
    (one,) = connections.connections(read(pcap([(t, ethernet(p)) for t, p in said.packets()])))
    assert one.flow.left_out > 100
    assert [end.word for end in one.story.ends] == ["rst"]
    assert len(one.flow.records) <= 4000


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    for head in (b"", section() + interface(), pcap([])):
        assert outcome(head + data) is not None


@given(st.lists(st.binary(max_size=120), max_size=6), st.sampled_from([0, 1, 101, 108, 113, 228, 229, 239, 276]))
@settings(max_examples=200)
def test_any_packet_of_any_link_is_taken(packets: list[bytes], link: int) -> None:
    found = read(pcap([(SECOND, data) for data in packets], link))
    assert found.packets == len(packets)
    assert len(connections.connections(found)) <= len(packets)


def test_a_forged_end_behind_the_drivers_own_need_not_be_told() -> None:
    """A capture that once gave a scenario which the language refuses: what must come stood behind what may."""
    assert outcome(mutated(random.Random(5010166))) == "read"


def test_mutated_captures_give_a_result_or_a_sentence() -> None:
    outcomes = {outcome(mutated(random.Random(seed))) for seed in range(1500)}
    assert "read" in outcomes
    assert len(outcomes) > 1, "no mutation was refused: they change too little"


def test_the_headers_of_one_connection_can_be_read_again(tmp_path: Path) -> None:
    other = Talk(port=40001).handshake()
    path = tmp_path / "two.pcap"
    both = [(time, ethernet(packet)) for said in (talk(), other) for time, packet in said.packets()]
    path.write_bytes(pcap(sorted(both)))
    first = connections.read(path).connections[0]
    found = headers(path, first)
    assert set(found) == {segment.frame for segment in first.segments()}
    assert all(len(header) == (header[12] >> 4) * 4 for header in found.values())
    assert found[first.story.first_frame].startswith((40000).to_bytes(2, "big") + (7000).to_bytes(2, "big"))


def test_a_frame_that_the_wire_kept_stays_so_under_what_the_driver_said(tmp_path: Path) -> None:
    """orphan-expires: the peer's last FIN was taken to have arrived, as the driver's send stood beside it."""
    fin = Endpoint(MACS["peer"], "10.77.0.20", 6000), Endpoint(MACS["target"], "10.77.0.10", 5000)
    dropped = decode(tcp_frame(*fin, 1, 2, FIN | ACK, 3), 0, "peer", "", pcapng.KEPT + "by fault 1 (drop)")
    arrived = decode(tcp_frame(*fin, 1, 2, FIN | ACK, 3), 1, "peer", "target")
    recording = pcapng.header() + pcapng.packet(dropped) + pcapng.packet(arrived)
    path = tmp_path / "wire.pcapng"
    path.write_bytes(annotated(recording, {1: ["driver: +1.0 ms WskSend 2 B"], 2: ["driver: +1.0 ms"]}, {}))
    assert [packet.kept for packet in captures.packets(path, Notes())] == [True, False]
