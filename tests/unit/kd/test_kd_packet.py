"""The packet codec against the vectors of docs/reference/kd.md section 6, and against any stream."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.kd_rig import vectors

from wsklab.qemu.kd.packet import BREAK_IN, Broken, Decoder, Kind, Packet, Text, encode

VECTORS = vectors()
PACKETS = sorted(VECTORS.keys() - {"V18"}, key=lambda name: int(name[1:]))
DATA_KINDS = [kind for kind in Kind if kind not in (Kind.ACKNOWLEDGE, Kind.RESEND, Kind.RESET)]
packets = st.builds(Packet, st.sampled_from(DATA_KINDS), st.sampled_from([0x80800000, 0x80800001, 0x80800800]),
                    st.binary(min_size=1, max_size=300)) | st.builds(
    Packet, st.sampled_from([Kind.ACKNOWLEDGE, Kind.RESEND, Kind.RESET]), st.integers(0, 2**32 - 1))  # fmt: skip
plain = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=20).map(str.encode)


def one(data: bytes) -> Packet:
    (packet,) = Decoder().feed(data)
    assert isinstance(packet, Packet)
    return packet


def test_all_vectors_are_there() -> None:
    assert [f"V{number}" for number in range(1, 19)] == [*PACKETS, "V18"]
    assert VECTORS["V18"] == BREAK_IN


@pytest.mark.parametrize("name", PACKETS)
def test_vector_is_one_packet_and_builds_again(name: str) -> None:
    packet = one(VECTORS[name])
    assert encode(packet) == VECTORS[name]


@pytest.mark.parametrize(
    ("name", "kind", "number", "length"),
    [
        ("V1", Kind.DEBUG_IO, 0x80800800, 22),
        ("V2", Kind.ACKNOWLEDGE, 0x80800000, 0),
        ("V4", Kind.ACKNOWLEDGE, 0x80800001, 0),
        ("V5", Kind.RESET, 0, 0),
        ("V6", Kind.RESEND, 0, 0),
        ("V7", Kind.STATE_CHANGE64, 0x80800000, 274),
        ("V8", Kind.MANIPULATE, 0x80800000, 56),
        ("V12", Kind.STATE_CHANGE64, 0x80800001, 244),
        ("V17", Kind.FILE_IO, 0x80800000, 64),
    ],
)
def test_header_fields(name: str, kind: Kind, number: int, length: int) -> None:
    packet = one(VECTORS[name])
    assert (packet.kind, packet.id, len(packet.payload)) == (kind, number, length)


def test_text_before_and_between_packets() -> None:
    before, between = b"SeaBIOS 0x00000000 0000\r\niiii 0000000", b"0x0000"
    items = Decoder().feed(before + VECTORS["V1"] + between + VECTORS["V3"])
    assert items == [Text(before), one(VECTORS["V1"]), Text(between), one(VECTORS["V3"])]


def test_text_that_may_begin_a_packet_is_kept_until_the_line_is_silent() -> None:
    decoder = Decoder()
    assert decoder.feed(b"address 0x00000000") == [Text(b"address 0x0000")]
    assert decoder.waiting
    assert decoder.expire() == [Text(b"0")]
    assert [item for _ in range(3) for item in decoder.expire()] == [Text(b"0")] * 3
    assert not decoder.waiting


def test_damaged_packet_is_announced_and_the_next_one_found() -> None:
    damaged = bytearray(VECTORS["V1"])
    damaged[34] ^= 4
    items = Decoder().feed(bytes(damaged) + VECTORS["V3"])
    assert items == [Broken(), Text(bytes(damaged)), one(VECTORS["V3"])]


@pytest.mark.parametrize("at", [4, 5, 8, 10, 11])
def test_impossible_header_is_text(at: int) -> None:
    damaged = bytearray(VECTORS["V1"])
    damaged[at] ^= 0x74
    items = Decoder().feed(bytes(damaged))
    assert b"".join(item.data for item in items if isinstance(item, Text)) == bytes(damaged)


@pytest.mark.parametrize("count", [0, 4001, 0xFFFF])
def test_impossible_count_does_not_hold_the_line(count: int) -> None:
    damaged = bytearray(VECTORS["V1"])
    damaged[6:8] = count.to_bytes(2, "little")
    assert Decoder().feed(bytes(damaged) + VECTORS["V3"])[-1] == one(VECTORS["V3"])


def test_a_count_that_is_too_great_hides_later_packets_until_silence() -> None:
    damaged = bytearray(VECTORS["V1"])
    damaged[7] = 0x0F
    decoder = Decoder()
    assert decoder.feed(bytes(damaged) + VECTORS["V3"]) == []
    assert decoder.expire() == [Broken(), Text(b"0"), Text(bytes(damaged[1:])), one(VECTORS["V3"])]


def test_payload_is_limited() -> None:
    assert one(encode(Packet(Kind.MANIPULATE, 0x80800000, bytes(4000)))).payload == bytes(4000)
    with pytest.raises(ValueError, match="at most 4000 bytes, not 4001"):
        encode(Packet(Kind.MANIPULATE, 0x80800000, bytes(4001)))


@settings(max_examples=150)
@given(st.lists(packets | plain, max_size=8), st.integers(1, 40))
def test_any_sequence_comes_out_as_it_went_in(sequence: list[Packet | bytes], chunk: int) -> None:
    stream = b"".join(encode(one) if isinstance(one, Packet) else one for one in sequence)
    decoder = Decoder()
    items = [item for at in range(0, len(stream), chunk) for item in decoder.feed(stream[at : at + chunk])]
    while decoder.waiting:
        items += decoder.expire()
    assert [item for item in items if isinstance(item, Packet)] == [one for one in sequence if isinstance(one, Packet)]
    text = b"".join(one for one in sequence if isinstance(one, bytes))
    assert b"".join(item.data for item in items if isinstance(item, Text)) == text


@settings(max_examples=150)
@given(st.lists(st.binary(max_size=60) | packets.map(encode) | st.sampled_from([b"0000", b"iiii", b"\x03\x00"])))
def test_no_byte_is_lost_and_memory_is_bounded(pieces: list[bytes]) -> None:
    decoder = Decoder()
    items = []
    for piece in pieces:
        items += decoder.feed(piece)
        assert len(decoder._buffer) <= 4017
    while decoder.waiting:
        items += decoder.expire()
    data = [item.data if isinstance(item, Text) else encode(item) for item in items if not isinstance(item, Broken)]
    assert b"".join(data) == b"".join(pieces)
