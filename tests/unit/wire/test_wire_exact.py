"""A peer that the wire plays, against a target that is told what to send."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsklab.qemu.wire.exact import PATIENCE, Exact, parts
from wsklab.qemu.wire.faults import Engine
from wsklab.qemu.wire.flows import WrongSpec
from wsklab.qemu.wire.frames import ACK, FIN, MACS, PSH, RST, SYN, Endpoint, Frame, decode, tcp_frame, tcp_options

TARGET = Endpoint(MACS["target"], "10.77.0.10", 5000)
PEER = Endpoint(MACS["peer"], "10.77.0.20", 6000)
ISN = 0xFFFFFFF0
STAMPS = bytes([1, 1, 8, 10, 0, 0, 0, 77, 0, 0, 0, 0])
STORY: list[dict[str, Any]] = [
    {"flags": "SA", "seq": 0, "ack": 1, "window": 60000, "options": "020405b4", "sent": 1},
    {"flags": "A", "seq": 1, "ack": 11, "window": 500, "sent": 11, "heard": 1},
    {"flags": "PA", "seq": 1, "ack": 11, "window": 500, "length": 20, "sent": 11, "heard": 1},
    {"flags": "RA", "seq": 21, "ack": 11, "sent": 11, "heard": 21},
]


def sends(flags: int, seq: int, ack: int = 0, payload: int = 0, isn: int = 0, options: bytes = b"") -> Frame:
    """Return a segment of the target; `seq` and `ack` are positions."""
    data = tcp_frame(TARGET, PEER, ISN + seq, isn + ack, flags, 1000, bytes(payload), options)
    return decode(data, 0, "target", "peer")


def heard(frames: list[bytes]) -> list[tuple[int, int, int]]:
    """Return flags, acknowledged position of the target, and payload of what it hears."""
    seen = [decode(data) for data in frames]
    return [(frame.flags, (frame.ack - ISN) & 0xFFFFFFFF, frame.payload) for frame in seen]


def opened(**spec: object) -> tuple[Exact, int]:
    exact = Exact({"port": 6000, "segments": STORY, "fill": bytes(range(256)).hex(), **spec})
    answer = exact.receive(0, sends(SYN, 0))
    assert heard(answer) == [(SYN | ACK, 1, 0)]
    return exact, decode(answer[0]).seq


def test_each_segment_leaves_when_the_target_has_come_so_far() -> None:
    exact, isn = opened()
    assert exact.receive(1, sends(ACK, 1, 1, isn=isn)) == []
    answer = exact.receive(2, sends(PSH | ACK, 1, 1, 10, isn))
    assert heard(answer) == [(ACK, 11, 0), (PSH | ACK, 11, 20)]
    assert decode(answer[1]).data[-20:] == bytes(range(20)), "the pattern, from the stream's first byte on"
    answer = exact.receive(3, sends(ACK, 11, 21, isn=isn))
    assert heard(answer) == [(RST | ACK, 11, 0)]
    assert decode(answer[0]).seq == (isn + 21) & 0xFFFFFFFF


def test_a_delayed_acknowledgement_is_not_waited_for_without_end() -> None:
    exact, isn = opened()
    exact.receive(2, sends(PSH | ACK, 1, 1, 10, isn))
    assert exact.due == 2 + PATIENCE
    assert exact.on_time(exact.due - 1) == []
    assert heard(exact.on_time(2 + PATIENCE)) == [(RST | ACK, 11, 0)]


def test_a_gap_that_matters_is_kept() -> None:
    story = [STORY[0], {**STORY[1], "gap_ns": 10**9}]
    exact, isn = opened(segments=story)
    assert exact.receive(5, sends(PSH | ACK, 1, 1, 10, isn)) == []
    assert exact.due == 5 + 10**9
    assert heard(exact.on_time(exact.due)) == [(ACK, 11, 0)]


def test_other_segments_of_the_live_stack_are_the_same_bytes() -> None:
    exact, isn = opened()
    assert exact.receive(2, sends(ACK, 1, 1, 4, isn)) == []
    assert heard(exact.receive(3, sends(PSH | ACK, 5, 1, 6, isn)))[0] == (ACK, 11, 0)


def test_what_is_sent_again_is_acknowledged_again() -> None:
    exact, isn = opened()
    exact.receive(2, sends(PSH | ACK, 1, 1, 10, isn))
    assert heard(exact.receive(3, sends(PSH | ACK, 1, 1, 10, isn))) == [(ACK, 11, 0)]


def test_what_the_peer_never_acknowledged_is_left_alone() -> None:
    exact, isn = opened(segments=STORY[:1])
    assert exact.receive(2, sends(PSH | ACK, 1, 1, 10, isn)) == []
    assert exact.receive(3, sends(PSH | ACK, 1, 1, 10, isn)) == []


def test_an_answer_to_a_reset_waits_for_the_reset() -> None:
    exact, isn = opened(segments=[STORY[0], {"flags": "R", "seq": 1, "resets": 1}])
    assert exact.receive(2, sends(ACK, 1, 1, isn=isn)) == []
    assert [flags for flags, _, _ in heard(exact.receive(3, sends(RST | ACK, 1, 1, isn=isn)))] == [RST]


def test_timestamps_answer_the_live_ones_or_are_left_out() -> None:
    story = [{**STORY[0], "options": (b"\2\4\5\xb4" + STAMPS[2:]).hex()}]
    for offered, stamps in ((STAMPS, 77), (b"", None)):
        exact = Exact({"port": 6000, "segments": story})
        options = dict(parts(tcp_options(exact.receive(0, sends(SYN, 0, options=offered))[0])))
        assert options[2] == b"\5\xb4"
        assert (int.from_bytes(options[8][4:], "big") if 8 in options else None) == stamps


def test_sack_blocks_are_of_the_live_numbers() -> None:
    edges = (5).to_bytes(4, "big") + (9).to_bytes(4, "big")
    story = [STORY[0], {**STORY[1], "ack": 1, "options": (b"\5\x0a" + edges).hex()}]
    exact, isn = opened(segments=story)
    answer = exact.receive(2, sends(PSH | ACK, 1, 1, 10, isn))
    assert dict(parts(tcp_options(answer[0])))[5] == b"".join(
        ((ISN + edge) & 0xFFFFFFFF).to_bytes(4, "big") for edge in (5, 9)
    )


def test_nothing_is_acknowledged_that_was_not_sent() -> None:
    exact, isn = opened(segments=[STORY[0], {**STORY[1], "sent": 2}])
    assert heard(exact.receive(2, sends(PSH | ACK, 1, 1, 3, isn))) == [(ACK, 4, 0)]


def test_the_peers_own_stack_is_left_out() -> None:
    engine = Engine()
    engine.play({"port": 6000, "segments": STORY})
    comment, out = engine.receive(0, sends(SYN, 0))
    assert (comment, [delivery.sender for delivery in out]) == ("", ["peer"])
    reset = decode(tcp_frame(PEER, TARGET, 1, ISN + 1, RST | ACK, 0), 0, "peer", "target")
    comment, out = engine.receive(1, reset)
    assert "as the wire plays the peer" in comment and out == []
    other = decode(tcp_frame(PEER._replace(port=22), TARGET, 1, 1, FIN | ACK, 0), 0, "peer", "target")
    assert engine.receive(1, other)[1], "other connections pass"
    engine.clear()
    assert engine.receive(2, reset)[1]


def test_its_time_is_the_engines() -> None:
    engine = Engine()
    engine.play({"port": 6000, "segments": STORY})
    isn = decode(engine.receive(0, sends(SYN, 0))[1][0].data).seq
    engine.receive(2, sends(PSH | ACK, 1, 1, 10, isn))
    assert engine.next_due == 2 + PATIENCE
    assert [delivery.to for delivery in engine.due(2 + PATIENCE)] == ["target"]
    assert engine.next_due is None


@pytest.mark.parametrize(
    "spec",
    [
        {"port": 0, "segments": STORY},
        {"port": 1, "segments": []},
        {"port": 1, "segments": [{"flags": "X", "seq": 1}]},
        {"port": 1, "segments": [{"flags": "A"}]},
        {"port": 1, "segments": [{"flags": "A", "seq": 1, "options": "0"}]},
        {"port": 1, "segments": [{"flags": "A", "seq": 1, "length": 9000}]},
    ],
)
def test_what_cannot_be_played_is_refused(spec: dict[str, object]) -> None:
    with pytest.raises(WrongSpec):
        Exact(spec)


@given(st.binary(max_size=44))
def test_any_options_are_read(data: bytes) -> None:
    assert sum(2 + len(value) for _, value in parts(data)) <= len(data)
