"""Faults of the cable, without sockets and clock."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsklab.qemu.wire.faults import MS, Delivery, Engine, Fault, Match
from wsklab.qemu.wire.flows import WrongSpec
from wsklab.qemu.wire.frames import ACK, FIN, MACS, PSH, RST, SYN, Endpoint, Frame, decode, tcp_frame

ENDS = {
    "target": Endpoint(MACS["target"], "10.77.0.10", 5000),
    "peer": Endpoint(MACS["peer"], "10.77.0.20", 6000),
}
OTHER = {"target": "peer", "peer": "target"}


def segment(sender: str, flags: int, seq: int = 1, ack: int = 1, payload: bytes = b"", window: int = 1000) -> Frame:
    data = tcp_frame(ENDS[sender], ENDS[OTHER[sender]], seq, ack, flags, window, payload)
    return decode(data, 0, sender, OTHER[sender])


def engine(*specs: dict[str, Any]) -> Engine:
    made = Engine()
    for spec in specs:
        made.add(spec)
    return made


def connected(*specs: dict[str, Any]) -> Engine:
    """After a handshake with initial sequence numbers 100 (target) and 900 (peer)."""
    made = engine(*specs)
    made.receive(0, segment("target", SYN, 100, 0))
    made.receive(0, segment("peer", SYN | ACK, 900, 101))
    made.receive(0, segment("target", ACK, 101, 901))
    return made


def passes(frame: Frame) -> tuple[str, list[Delivery]]:
    return "", [Delivery(frame.receiver, frame.data)]


def sent(deliveries: list[Delivery]) -> list[Frame]:
    return [decode(delivery.data, 0, "wire", delivery.to, delivery.comment) for delivery in deliveries]


@given(st.binary(max_size=100), st.sampled_from(["target", "peer"]))
def test_without_faults_everything_passes_unchanged(data: bytes, sender: str) -> None:
    frame = decode(data, 0, sender, OTHER[sender])
    assert engine().receive(0, frame) == passes(frame)


def test_drop_the_first_fin_of_one_side() -> None:
    cable = engine({"action": "drop", "match": {"from": "target", "flags": ["fin"]}})
    fin, peer_fin = segment("target", FIN | ACK), segment("peer", FIN | ACK)
    assert cable.receive(0, peer_fin) == passes(peer_fin)
    assert cable.receive(0, fin) == ("kept by fault 1 (drop)", [])
    assert cable.receive(0, fin) == passes(fin)
    assert cable.struck() == {1: 1}


def test_nth_every_and_count_choose_among_the_matching() -> None:
    cable = engine({"action": "drop", "nth": 2, "every": 3, "count": 2})
    frame = segment("peer", ACK)
    kept = [number for number in range(1, 13) if not cable.receive(0, frame)[1]]
    assert kept == [2, 5]


def test_blackhole_swallows_one_direction_for_ever() -> None:
    cable = engine({"action": "blackhole", "match": {"from": "peer"}})
    assert all(not cable.receive(0, segment("peer", ACK))[1] for _ in range(100))
    assert cable.receive(0, segment("target", ACK))[1]


def test_a_held_frame_waits_its_time_and_others_go_first() -> None:
    cable = engine({"action": "hold", "ms": 800, "match": {"flags": ["fin"]}})
    fin, data = segment("target", FIN | ACK), segment("target", ACK, payload=b"x")
    assert cable.receive(5 * MS, fin) == ("kept by fault 1 (hold)", [])
    assert cable.receive(6 * MS, data) == passes(data)
    assert cable.next_due == 805 * MS
    assert cable.due(804 * MS) == []
    assert cable.due(805 * MS) == [Delivery("peer", fin.data, "sent by fault 1 (hold)")]
    assert cable.next_due is None


def test_hold_until_released_and_clear_loses_what_is_held() -> None:
    cable = engine({"action": "hold", "count": 0}, {"action": "drop"})
    frames = [segment("target", ACK, seq) for seq in (1, 2)]
    assert [cable.receive(0, frame)[1] for frame in frames] == [[], []]
    assert [delivery.data for delivery in cable.release(1)] == [frame.data for frame in frames]
    with pytest.raises(WrongSpec, match="no fault 1"):
        cable.release(1)
    cable.add({"action": "hold", "ms": 1})
    cable.clear()
    assert cable.receive(0, frames[0]) == passes(frames[0])
    assert cable.due(MS * 1000) == []


def test_duplicate() -> None:
    frame = segment("peer", RST)
    comment, deliveries = engine({"action": "duplicate", "copies": 2}).receive(0, frame)
    assert comment == "fault 1 (duplicate)"
    assert [delivery.data for delivery in deliveries] == [frame.data] * 3
    assert [bool(delivery.comment) for delivery in deliveries] == [False, True, True]


def test_reorder_swaps_with_the_next_of_the_same_sender() -> None:
    cable = engine({"action": "reorder", "match": {"flags": ["fin"]}})
    fin, other, late = segment("target", FIN), segment("peer", ACK), segment("target", ACK, 2)
    assert cable.receive(0, fin)[1] == []
    assert cable.receive(0, other) == passes(other)
    assert [delivery.data for delivery in cable.receive(0, late)[1]] == [late.data, fin.data]
    assert cable.next_due is None


def test_reorder_lets_a_last_frame_go_at_last() -> None:
    cable = engine({"action": "reorder", "ms": 50})
    fin, later = segment("target", FIN), segment("target", ACK)
    cable.receive(0, fin)
    assert [delivery.data for delivery in cable.due(50 * MS)] == [fin.data]
    assert cable.receive(60 * MS, later) == passes(later)


def test_a_corrupt_segment_is_not_part_of_the_connection() -> None:
    cable = connected({"action": "corrupt", "match": {"min_payload": 1}})
    comment, [delivery] = cable.receive(0, segment("target", ACK, 101, 901, b"data"))
    assert comment.startswith("kept")
    assert decode(delivery.data).payload == 4
    assert sent(cable.forge(5000, [{"segment": "rst", "as": "target"}]))[0].seq == 101


def test_replace_answers_a_fin_by_a_reset_that_is_exactly_in_place() -> None:
    by = [{"segment": "rst", "as": "peer"}, {"segment": "rst-ack", "as": "target"}]
    cable = connected({"action": "replace", "match": {"from": "target", "flags": "fin"}, "by": by})
    comment, deliveries = cable.receive(0, segment("target", FIN | ACK, 101, 901))
    assert comment == "kept by fault 1 (replace)"
    as_peer, as_target = sent(deliveries)
    assert (as_peer.receiver, as_peer.seq, as_peer.flags) == ("target", 901, RST)
    assert (as_target.receiver, as_target.seq, as_target.ack, as_target.flags) == ("peer", 101, 901, RST | ACK)


def test_forge_begins_where_the_matched_frame_ended() -> None:
    cable = connected({"action": "forge", "match": {"min_payload": 1}, "by": [{"segment": "fin", "as": "target"}]})
    data, fin = sent(cable.receive(0, segment("target", ACK | PSH, 101, 901, b"12345"))[1])
    assert (data.payload, fin.seq, fin.flags) == (5, 106, FIN | ACK)


@pytest.mark.parametrize(
    ("where", "offset", "seq"), [("exact", 0, 901), ("in-window", 1, 1402), ("outside", 0, 1902), ("exact", -1, 900)]
)
def test_where_a_forged_reset_lands(where: str, offset: int, seq: int) -> None:
    forged = sent(connected().forge(6000, [{"segment": "rst", "as": "peer", "seq": where, "offset": offset}]))
    assert [frame.seq for frame in forged] == [seq]


def test_a_hole_moves_nothing_until_it_is_filled() -> None:
    cable = connected({"action": "drop", "match": {"min_payload": 1}})
    cable.receive(0, segment("target", ACK, 101, 901, b"lost"))
    cable.receive(0, segment("target", ACK, 105, 901, b"more"))
    assert sent(cable.forge(5000, [{"segment": "rst", "as": "target"}]))[0].seq == 101
    cable.receive(0, segment("target", ACK, 101, 901, b"lost"))
    cable.receive(0, segment("peer", ACK, 901, 109))
    assert sent(cable.forge(5000, [{"segment": "rst", "as": "target"}]))[0].seq == 109


def test_window_scaling_places_what_is_outside() -> None:
    cable = engine()
    syn = tcp_frame(ENDS["target"], ENDS["peer"], 100, 0, SYN, 1000)
    scaled = syn[:46] + b"\x60" + syn[47:54] + b"\x01\x03\x03\x07" + b"\0\0"
    scaled = scaled[:16] + (44).to_bytes(2, "big") + scaled[18:]
    cable.receive(0, decode(scaled, 0, "target", "peer"))
    cable.receive(0, segment("peer", SYN | ACK, 900, 101))
    cable.receive(0, segment("target", ACK, 101, 901, window=10))
    assert sent(cable.forge(5000, [{"segment": "rst", "as": "peer", "seq": "outside"}]))[0].seq == 901 + 1280 + 1


def test_icmp_speaks_for_the_other_end() -> None:
    cable = connected()
    [frame] = sent(cable.forge(5000, [{"segment": "icmp-port", "as": "peer"}]))
    assert (frame.receiver, frame.kind, frame.src, frame.icmp_code) == ("target", "icmp", "10.77.0.20", 3)


def test_forging_needs_a_connection() -> None:
    with pytest.raises(WrongSpec, match="port 1"):
        engine().forge(1, [{"segment": "rst", "as": "peer"}])


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"action": "explode"},
        {"action": "drop", "match": {"flag": ["fin"]}},
        {"action": "drop", "match": {"flags": ["end"]}},
        {"action": "drop", "match": {"from": "wire"}},
        {"action": "drop", "match": []},
        {"action": "drop", "nth": 0},
        {"action": "drop", "count": -1},
        {"action": "drop", "every": True},
        {"action": "drop", "by": [{"segment": "rst", "as": "peer"}]},
        {"action": "replace"},
        {"action": "forge", "by": [{"segment": "rst"}]},
        {"action": "forge", "by": [{"segment": "rst", "as": "peer", "seq": "near"}]},
        {"action": "forge", "by": [{"segment": "data", "as": "peer", "data": "xyz"}]},
        {"action": "forge", "by": ["rst"]},
        {"action": "forge", "by": 3},
    ],
)
def test_a_wrong_fault_is_refused(spec: dict[str, Any]) -> None:
    with pytest.raises(WrongSpec):
        Fault.parse(spec)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
keys = st.sampled_from(["action", "match", "nth", "count", "every", "ms", "copies", "by"])


@given(st.dictionaries(keys, json_values | st.sampled_from(["drop", "forge"]), max_size=8))
def test_any_json_is_a_fault_or_refused(spec: dict[str, Any]) -> None:
    try:
        Fault.parse(spec)
    except WrongSpec as error:
        assert str(error)


def test_a_match_on_ports_and_payload() -> None:
    match = Match.parse({"dst_port": 6000, "min_payload": 2, "without": ["fin"]})
    assert match(segment("target", ACK, payload=b"ab"))
    assert not match(segment("target", ACK, payload=b"a"))
    assert not match(segment("peer", ACK, payload=b"ab"))
    assert not match(segment("target", ACK | FIN, payload=b"ab"))


actions = st.sampled_from(["drop", "hold", "duplicate", "reorder", "corrupt"])
strikes = st.fixed_dictionaries(
    {"action": actions, "nth": st.integers(1, 3), "every": st.integers(1, 3), "ms": st.integers(0, 5)}
)


@given(
    st.lists(strikes, max_size=3),
    st.lists(st.tuples(st.sampled_from(["target", "peer"]), st.integers(0, 3)), max_size=20),
)
def test_every_frame_is_delivered_unless_dropped(specs: list[dict[str, Any]], steps: list[tuple[str, int]]) -> None:
    """No fault but drop loses a frame, whatever they do together."""
    cable = engine(*specs)
    now, dropped = 0, 0
    seqs: set[int] = set()
    out: list[Delivery] = []
    for seq, (sender, wait) in enumerate(steps):
        now += wait * MS
        out += cable.due(now)
        comment, deliveries = cable.receive(now, segment(sender, ACK, seq))
        dropped += "(drop)" in comment
        out += deliveries
    out += cable.due(now + 10**12)
    seqs = {decode(delivery.data).seq for delivery in out}
    assert len(seqs) + dropped == len(steps)


def between(sender: str, flags: int, listener: int, other: int, seq: int = 1) -> Frame:
    """Return a segment of a connection that the peer made from port `other` to a listener of the target."""
    ends = {
        "target": Endpoint(MACS["target"], "10.77.0.10", listener),
        "peer": Endpoint(MACS["peer"], "10.77.0.20", other),
    }
    data = tcp_frame(ends[sender], ends[OTHER[sender]], seq, 1, flags, 1000, b"")
    return decode(data, 0, sender, OTHER[sender])


def test_a_hold_before_the_connection_looks_at_the_listener_of_the_target() -> None:
    cable = engine({"action": "hold", "match": {"from": "target", "flags": ["rst"], "target_port": 5000}})
    answered = between("target", SYN | ACK, 5000, 41000)
    assert cable.receive(0, answered) == passes(answered)
    refused, elsewhere = between("target", RST, 5000, 41000), between("target", RST, 5001, 5000)
    assert cable.receive(0, elsewhere) == passes(elsewhere)
    assert cable.receive(0, refused) == ("kept by fault 1 (hold)", [])
    assert [delivery.data for delivery in cable.release(1)] == [refused.data]


@pytest.mark.parametrize("sender", ["target", "peer"])
def test_connections_of_one_listener_are_told_apart_by_the_port_of_the_peer(sender: str) -> None:
    cable = engine({"action": "drop", "count": 0, "match": {"target_port": 5000, "peer_port": 41001}})
    first, second = between(sender, FIN, 5000, 41000), between(sender, FIN, 5000, 41001)
    assert cable.receive(0, first) == passes(first)
    assert cable.receive(0, second) == ("kept by fault 1 (drop)", [])


def test_a_forgery_goes_to_the_connection_with_both_ports() -> None:
    cable = engine()
    for other, seq in ((41000, 100), (41001, 200)):
        cable.receive(0, between("peer", SYN, 5000, other, seq))
    forged = {"segment": "rst", "as": "peer"}
    assert [frame.seq for frame in sent(cable.forge(5000, [forged]))] == [201]
    assert [frame.seq for frame in sent(cable.forge(5000, [forged], 41000))] == [101]
    assert [frame.seq for frame in sent(cable.forge(41000, [forged], 5000))] == [101]
    with pytest.raises(WrongSpec, match="port 5000"):
        cable.forge(5000, [forged], 41002)


def test_a_frame_knows_the_port_of_either_machine_whoever_has_sent_it() -> None:
    frame = between("peer", ACK, 5000, 41000)
    for seen in (frame, frame._replace(sender="wire"), frame._replace(receiver="")):
        assert (seen.port_at("target"), seen.port_at("peer")) == (5000, 41000)
