"""The bytes of a connection: corrupted, missing, invented or merely refused, from hand-made recordings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.recorded import RESET, Recording

from wsklab.drivers.protocol import FNV1A_START, fnv1a, pattern
from wsklab.orchestrator.judge.judge import Judgement, judge
from wsklab.orchestrator.judge.payload import Stream
from wsklab.orchestrator.scenario.scenario import Scenario
from wsklab.orchestrator.scenario.yaml_source import parse

TALK = """
name: talk
title: Both sides say something
steps:
  - driver: {connect: peer}
  - driver: {enable: [disconnect, receive]}
"""


def talk(text: str = TALK) -> Scenario:
    return parse(text, Scenario, "test")


def opened() -> Recording:
    return Recording().opened().step("driver", "connect").step("driver", "enable")


def peer_sends(recording: Recording, length: int, said: bytes | None = None) -> Recording:
    recording.step("peer", "send", length=length)
    return reply(recording, "send", said if said is not None else pattern(0, length))


def reply(recording: Recording, do: str, said: bytes, **more: object) -> Recording:
    return recording.add("peer", "reply", 0, do=do, ok=True, bytes=len(said), sum=f"{fnv1a(said):08x}", **more)


def received(recording: Recording, number: int, said: bytes, status: int = 0) -> Recording:
    recording.call("receive", number, length=64)
    recording.step("driver", "receive", ops=[number])
    return recording.done("receive", number, status, len(said), sum=fnv1a(said))


def indicated(recording: Recording, said: bytes, took: int) -> Recording:
    return recording.line("recv", length=len(said), took=took, sum=fnv1a(said), irql=0)


def sent(recording: Recording, number: int, length: int, seed: int = 0) -> Recording:
    recording.call("send", number, length=length, seed=seed)
    return recording.done("send", number, 0, length).step(
        "driver", "send", ops=[number], expect="success", length=length
    )


def why(recording: Recording, scenario: Scenario | None = None) -> tuple[str, ...]:
    judgement: Judgement = judge(scenario or talk(), recording.ended())
    assert (judgement.verdict == "pass") == (not judgement.reasons)
    return judgement.reasons


def test_what_the_peer_sent_came_in_pieces() -> None:
    recording = peer_sends(opened(), 10)
    received(recording, 3, pattern(0, 6))
    received(recording, 4, pattern(6, 4))
    assert why(received(recording, 5, b"")) == ()


def test_threads_may_print_their_lines_in_another_order_than_the_bytes_have() -> None:
    def overtaken(pieces: tuple[bytes, bytes]) -> Recording:
        recording = peer_sends(opened(), 10)
        indicated(recording, pieces[0], 4)
        received(recording, 3, pieces[1])
        return received(recording, 4, b"")

    threads = talk(TALK.replace("steps:", "socket: {concurrent: true}\nsteps:"))
    assert why(overtaken((pattern(6, 4), pattern(0, 6))), threads) == ()
    assert "other bytes than the peer sent" in why(overtaken((pattern(6, 4), pattern(0, 6))))[0]
    assert "other bytes than the peer sent" in why(overtaken((pattern(6, 4), pattern(1, 6))), threads)[0]


def test_a_byte_that_changed_on_its_way_in_fails() -> None:
    recording = peer_sends(opened(), 10)
    received(recording, 3, pattern(0, 6))
    assert why(received(recording, 4, b"\x06\x07\x28\x09")) == (
        "WskReceive brought other bytes than the peer sent (bytes 6 to 9 of the stream)",
    )


def test_a_byte_that_changed_on_its_way_out_fails() -> None:
    recording = sent(sent(opened(), 3, 4), 4, 4)
    assert why(reply(recording, "receive", pattern(0, 4) + b"\x00\x01\x02\xff")) == (
        "the peer received other bytes than the driver was to send (bytes 0 to 7 of the stream)",
    )


def test_sends_of_one_step_go_on_with_the_pattern_and_another_begins_it_again() -> None:
    recording = sent(sent(sent(opened(), 3, 4), 4, 4, seed=4), 5, 2)
    assert why(reply(recording, "receive", pattern(0, 8) + pattern(0, 2))) == ()


@pytest.mark.parametrize("end", [{"eof": True}, {}])
def test_bytes_that_never_came_are_missed_at_the_end_of_the_stream_only(end: dict[str, object]) -> None:
    recording = reply(sent(opened(), 3, 8), "receive", pattern(0, 5), **end)
    assert why(recording) == (("the end of the stream came after 5 bytes, the driver had sent 8",) if end else ())


def test_the_end_of_the_stream_comes_after_all_that_the_peer_sent() -> None:
    recording = received(received(peer_sends(opened(), 9), 3, pattern(0, 4)), 4, b"")
    assert why(recording) == ("the end of the stream came after 4 bytes, the peer had sent 9",)


def test_more_than_was_sent_fails() -> None:
    assert why(received(peer_sends(opened(), 4), 3, pattern(0, 6))) == (
        "WskReceive brought more than the 4 bytes that the peer sent",
    )


def test_what_was_refused_or_taken_in_part_comes_again() -> None:
    recording = indicated(peer_sends(opened(), 10), pattern(0, 10), 0)  # R52
    recording = indicated(recording, pattern(0, 10), 3)  # R53
    assert why(received(recording, 3, pattern(3, 7))) == ()


def test_a_receive_that_drains_or_fails_ends_the_comparison() -> None:
    recording = peer_sends(opened(), 10).call("receive", 3, length=0, flags=4)
    recording.step("driver", "receive", ops=[3]).done("receive", 3, 0, 6, sum=FNV1A_START)
    assert why(received(recording, 4, pattern(6, 4))) == ()
    recording = received(peer_sends(opened(), 10), 3, b"", RESET)
    assert why(received(recording, 4, b"")) == ()


def test_a_peer_that_sends_something_else_is_the_labs_fault() -> None:
    judgement = judge(talk(), peer_sends(opened(), 4, b"abcd").ended())
    assert (judgement.verdict, judgement.reasons) == ("infra", ("the peer program sent other bytes than the pattern",))


def test_a_send_that_was_never_answered_leaves_the_stream_open() -> None:
    recording = opened().step("peer", "send", length=100)  # killed in the middle of it
    assert why(received(recording, 3, pattern(0, 6))) == ()


def test_what_anothers_driver_sends_is_not_known() -> None:
    recording = opened().add("lab", "foreign", name="pinger").add("driver", "open", 0)
    assert why(reply(recording, "receive", b"ping\n")) == ()


def test_a_short_send_is_named() -> None:
    recording = opened().call("send", 3, length=8, seed=0).done("send", 3, 0, 7)
    recording.step("driver", "send", ops=[3], expect="success", length=8)
    assert why(recording) == ("step 3 (driver: send): WskSend sent 7 of 8 bytes",)


@given(st.lists(st.tuples(st.integers(0, 600), st.integers(0, 600)), max_size=5), st.data())
def test_a_streams_sum_is_that_of_its_bytes(pieces: list[tuple[int, int]], data: st.DataObject) -> None:
    whole = b"".join(pattern(first, length) for first, length in pieces)
    start = data.draw(st.integers(0, len(whole) + 2))
    length = data.draw(st.integers(0, len(whole) + 2))
    wanted = fnv1a(whole[start : start + length]) if start + length <= len(whole) else None
    assert Stream(tuple(pieces), whole=True).sum(start, length) == wanted
