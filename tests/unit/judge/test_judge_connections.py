"""The judge on several connections, on long indications, and on a driver that is unloaded in the middle of its work."""

from __future__ import annotations

import pytest
from support.recorded import RESET, Recording

from wsklab.orchestrator.judge.judge import judge
from wsklab.orchestrator.observe.observation import Observation
from wsklab.orchestrator.scenario.scenario import Scenario
from wsklab.orchestrator.scenario.yaml_source import parse

LISTENER, PORTS, COOKIES = 49200, (40001, 40002), (0xC0010001, 0xC0010002)

TWO = """
name: two
title: Two accepted connections, each with its own ending
socket: {create: accept-event}
connections: 2
steps:
  - driver: listen
  - peer: {connect: {}, conn: all}
expect:
  wire: {driver: none, each: [{conn: 0, peer: fin}, {conn: 1, peer: rst}]}
  disconnect: [{conn: 0, abortive: clear}, {conn: 1, abortive: set}]
  receive: [{conn: 0, status: success, length: 0}, {conn: 1, status: failure}]
"""


def judged(text: str, observations: list[Observation]) -> tuple[str, str]:
    judgement = judge(parse(text, Scenario, "test"), observations)
    return judgement.verdict, "; ".join(judgement.reasons)


class Accepted(Recording):
    """Two connections of one listener: the target's port is the same, the peer's ports tell them apart."""

    def opened(self) -> Accepted:
        self.add("lab", "canary", when="before", seen=True)
        for conn, port in enumerate(PORTS):
            self.add("lab", "opened", conn, id=7 + conn, cookie=COOKIES[conn])
            self.add("lab", "flow", conn, target_port=LISTENER, peer_port=port)
        return self

    def end(self, conn: int, flags: str, told: int | None = None, context: int | None = None) -> Accepted:
        """Return the peer's segment, and what the driver is told: flags, and the number of the context's connection."""
        self.add(
            "wire",
            "frame",
            proto="tcp",
            sender="peer",
            flags=flags,
            seq=1,
            ack=1,
            length=0,
            sport=PORTS[conn],
            dport=LISTENER,
            fate="",
        )
        context = conn if context is None else context
        told = int("R" in flags) if told is None else told
        self.line("disc", context, flags=told, irql=0, cookie=COOKIES[context], abortive=bool(told))
        self.line("done", conn, op="receive", id=3 + conn, status=RESET if "R" in flags else 0, length=0)
        return self


def two() -> Accepted:
    recording = Accepted().opened()
    recording.step("driver", "listen").step("peer", "connect", ops=[3, 4])
    return recording


def test_each_connection_is_judged_by_its_own_ending() -> None:
    assert judged(TWO, two().end(1, "RA").end(0, "FA").ended()) == ("pass", "")


@pytest.mark.parametrize(
    ("bent", "verdict", "reason"),
    [
        (
            lambda r: r.end(0, "FA").end(1, "RA", told=0),
            "fail",
            "connection 1: WSK_FLAG_ABORTIVE is clear, expected set",
        ),
        (lambda r: r.end(0, "RA").end(1, "FA"), "infra", "connection 0: the peer should have sent FIN"),
        (
            lambda r: r.end(0, "FA").end(1, "RA", context=0),
            "fail",
            "connection 1: WskDisconnectEvent was called not at all, expected once",
        ),
        (
            lambda r: r.end(0, "FA", context=1).end(1, "RA", context=0),
            "fail",
            "connection 0: WSK_FLAG_ABORTIVE is set, expected clear",
        ),
    ],
)
def test_endings_and_contexts_that_are_mixed_up_are_noticed(bent: object, verdict: str, reason: str) -> None:
    got, why = judged(TWO, bent(two()).ended())  # type: ignore[operator]
    assert (got, reason in why) == (verdict, True), why


OPTIONAL = """
name: optional
title: FIN, then RST
steps:
  - peer: {shutdown: write}
expect:
  disconnect: [{abortive: clear}, {abortive: set, optional: true}]
"""


@pytest.mark.parametrize(
    ("calls", "verdict"),
    [
        ([0], "pass"),
        ([0, 1], "pass"),
        ([], "fail"),
        ([1], "fail"),
        ([0, 0], "fail"),
        ([0, 1, 1], "fail"),
    ],
)
def test_a_call_that_may_come_is_judged_if_it_comes(calls: list[int], verdict: str) -> None:
    recording = Recording().opened().step("peer", "shutdown")
    for flags in calls:
        recording.disconnect(flags)
    assert judged(OPTIONAL, (recording if calls else recording.line("addr")).ended())[0] == verdict


INDICATED = """
name: indicated
title: Indications
steps:
  - driver: {enable: [receive]}
  - peer: {send: 5000}
expect:
  indication: [{length: 5000, took: 2000}, {length: 10}]
"""


@pytest.mark.parametrize(
    ("calls", "reason"),
    [
        ([(5000, 2000), (10, 10)], ""),
        ([(5000, 2000)], "WskReceiveEvent was called once, expected twice"),
        ([(5000, 1460), (10, 10)], "WskReceiveEvent 1 saw the driver take 1460 bytes, expected 2000"),
        ([(5000, 2000), (11, 11)], "WskReceiveEvent 2 indicated 11 bytes, expected 10"),
    ],
)
def test_indications_are_counted_and_measured(calls: list[tuple[int, int]], reason: str) -> None:
    recording = Recording().opened().step("driver", "enable").step("peer", "send")
    for length, took in calls:
        recording.line("recv", length=length, took=took)
    assert judged(INDICATED, recording.ended()) == ("fail" if reason else "pass", reason)


UNLOADED = """
name: unloaded
title: Unloaded with a receive pending
steps:
  - driver: {receive: 1}
  - driver: unload
expect:
  receive: [{status: failure}]
  order: [receive, close]
"""


def unloaded(lost: int = 0, **left: int) -> list[Observation]:
    """Return a driver that closes by itself when it is unloaded, and counts from 1 when it is loaded again."""
    recording = Recording().opened().step("driver", "receive", ops=[3]).line("call", op="receive", id=3, ret=0x103)
    first = recording.ring[0]["seq"]
    recording.add("lab", "ring", first=first, last=recording.ring[-1]["seq"], records=list(recording.ring))
    began = recording.observations[-1].t
    recording.done("receive", 3, 0xC0000120).done("close", 0, 0)
    recording._seq += lost
    recording.line("clean", None).line("unload", None, **{"sockets": 0, "irps": 0, "indications": 0, **left})
    recording.ring, recording._seq = [], 0
    recording.line("load", None).step("driver", "unload", began=began).line("canary", None)
    return recording.ended()


def test_a_driver_that_is_unloaded_cleans_up_by_itself() -> None:
    assert judged(UNLOADED, unloaded()) == ("pass", "")


def test_what_is_left_at_the_unload_is_a_leak() -> None:
    assert judged(UNLOADED, unloaded(irps=1)) == ("fail", "the driver leaks at unload: 1 irps")


def test_lines_lost_before_the_unload_are_noticed() -> None:
    got, why = judged(UNLOADED, unloaded(lost=2))
    assert (got, "lines 104, 105 are not on the debug line" in why) == ("inconclusive", True), why
