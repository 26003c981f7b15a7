"""What the provider saw of every WSK call: the rules that it is held against, without a word of the driver's own."""

from __future__ import annotations

from typing import Any

import pytest
from support.recorded import Recording

from wsklab.orchestrator.judge import integrity, witness
from wsklab.orchestrator.judge.judge import judge
from wsklab.orchestrator.judge.reading import Facts
from wsklab.orchestrator.scenario.scenario import Scenario
from wsklab.orchestrator.scenario.yaml_source import parse

RESET = parse(
    "name: mine\ntitle: Mine\nsteps: [driver: connect, driver: {await: disconnect}]\n"
    "expect: {wire: {peer: rst}, disconnect: [{abortive: set}]}\n",
    Scenario,
    "mine.yaml",
)
MADE, ABORTED, CLOSED, SOCKET = 0x7F00, 0x7F10, 0x7F20, 3
PENDING = 0x103


class Seen(Recording):
    """The provider's lines of a driver that connects, is told of a reset, and closes."""

    def __init__(self) -> None:
        super().__init__()
        self.number = 0

    def see(self, kind: str, function: str, **data: Any) -> Seen:
        self.number += 1
        common = {"number": self.number, "function": function, "driver": "my.sys", "irql": 0, "thread": 7}
        self.add("driver", f"wsk-{kind}", None, **common | data)
        return self

    def connected(self, context: int = 0xC0DE) -> Seen:
        self.see("call", "WskSocketConnect", irp=MADE, context=context, returned=PENDING)
        return self.see("done", "WskSocketConnect", irp=MADE, socket=SOCKET, status=0)

    def told(self, flags: int, context: int = 0xC0DE) -> Seen:
        self.see("event", "WskDisconnectEvent", socket=SOCKET, flags=flags, context=context)
        return self.see("back", "WskDisconnectEvent", socket=SOCKET, returned=0)

    def closed(self) -> Seen:
        self.see("call", "WskCloseSocket", irp=CLOSED, socket=SOCKET, returned=PENDING)
        return self.see("done", "WskCloseSocket", irp=CLOSED, socket=SOCKET, status=0)

    def found(self) -> list[str]:
        facts = Facts(RESET, self.observations)
        checks = (
            *(witness.complete, witness.contexts, witness.contradictions, witness.left_behind),
            *(witness.returns, witness.running),
        )
        return [f"{verdict}: {text}" for check in checks for verdict, text in check(facts)]

    def own(self, kind: str, function: str, **data: Any) -> Seen:
        """See the lab's own driver instead."""
        return self.see(kind, function, socket=SOCKET, driver="wsklab.sys", **data)

    def foreign(self) -> Seen:
        self.add("lab", "foreign", name="my")
        return self


def test_a_driver_that_does_right_is_not_blamed() -> None:
    assert Seen().foreign().connected().told(1).closed().found() == []


def test_another_context_than_the_sockets_own_is_found() -> None:
    (found,) = Seen().connected(0x1000).told(1, 0x2000).closed().found()
    assert found == "fail: WskDisconnectEvent got the context 2000, socket 3 was given 1000 (R4)"


def test_the_context_of_an_accepted_socket_is_what_the_callback_gave() -> None:
    seen = Seen().see("back", "WskAcceptEvent", socket=1, returned=0, context=0x5000, made=SOCKET)
    (found,) = seen.told(0, 0x6000).closed().found()
    assert "socket 3 was given 5000 (R4)" in found


def test_an_irp_that_never_comes_back_is_found() -> None:
    seen = Seen().connected().see("call", "WskReceive", irp=ABORTED, socket=SOCKET, returned=PENDING).closed()
    (found,) = seen.found()
    assert found.startswith("fail: this IRP was never completed: my.sys: WskReceive on socket 3, ")
    assert "IRP 7f10" in found


def test_a_socket_that_is_never_closed_is_found() -> None:
    (found,) = Seen().connected().told(1).found()
    assert found == "fail: socket 3 of my.sys, made by WskSocketConnect, was never closed"
    accepted = Seen().see("back", "WskAcceptEvent", socket=1, returned=0, made=4)
    assert accepted.found() == ["fail: socket 4 of my.sys, made by WskAcceptEvent, was never closed"]


THREE = RESET.model_copy(update={"connections": 3})
PORTS = {0: (50001, 7007), 1: (50002, 7007), 2: (50003, 7007)}


class Several(Seen):
    """Three connections of one driver; the sockets of the provider count from 5, in another order."""

    def __init__(self) -> None:
        super().__init__()
        for conn, (target_port, peer_port) in PORTS.items():
            self.add("lab", "flow", conn, target_port=target_port, peer_port=peer_port)
        for socket, conn in ((5, 2), (6, 0), (7, 1)):
            local, remote = PORTS[conn]
            self.see("open", "WskSocketConnect", socket=socket, local_port=local, remote_port=remote)
            self.see("call", "WskSocketConnect", irp=MADE + socket, context=0x1000 * socket, returned=PENDING)
            self.see("done", "WskSocketConnect", irp=MADE + socket, socket=socket, status=0)

    def closed_all(self, *left: int) -> Several:
        for socket in {5, 6, 7}.difference(left):
            self.see("done", "WskCloseSocket", irp=CLOSED, socket=socket, status=0)
        return self

    def found(self) -> list[str]:
        facts = Facts(THREE, self.observations)
        checks = (integrity.crashes, witness.contexts, witness.left_behind)
        return [text for check in checks for _, text in check(facts)]


def test_several_connections_are_told_apart_by_their_ports() -> None:
    several = Several().closed_all(7)
    several.see("event", "WskDisconnectEvent", socket=5, flags=1, context=0x6000)
    several.add("driver", "rule", None, rule="R10", text="WskDisconnectEvent returned c0000001 (socket 6)")
    assert several.found() == [
        "connection 0: the driver breaks R10: WskDisconnectEvent returned c0000001",
        "connection 2: WskDisconnectEvent got the context 6000, socket 5 was given 5000 (R4)",
        "connection 1: socket 7 of my.sys, made by WskSocketConnect, was never closed",
    ]


def test_a_rule_is_told_without_the_providers_number_where_there_is_one_connection() -> None:
    seen = Seen().add("driver", "rule", None, rule="R72", text="WskSend on a socket that is closed (socket 3)")
    assert [text for _, text in integrity.crashes(Facts(RESET, seen.observations))] == [
        "the driver breaks R72: WskSend on a socket that is closed"
    ]


def test_a_call_that_failed_leaves_nothing() -> None:
    seen = Seen().see("call", "WskSocket", irp=MADE, returned=PENDING)
    assert seen.see("done", "WskSocket", irp=MADE, status=0xC000009A).found() == []


REFUSED = 0xC000000D


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ([("control", REFUSED)], 0),
        ([("enable", REFUSED), ("send", 0)], 0),
        ([("control", 0)], 1),
        ([("send", REFUSED)], 1),
    ],
)
def test_a_call_that_wsk_refused_is_told_as_that(told: list[tuple[str, int]], found: int) -> None:
    seen = Seen().own("call", "WskControlSocket", returned=REFUSED).own("call", "WskSend", returned=0)
    for number, (op, ret) in enumerate(told):
        seen.line("call", op=op, id=number, ret=ret)
    says = "fail: WskControlSocket returned failure (c000000d) to the driver, which does not tell of such a call"
    other = "fail: the driver tells of 1 calls of WskControlSocket that returned success (00000000), WSK had 0"
    surplus = [f"{other} return that"] if told == [("control", 0)] else []
    assert seen.found() == [says] * found + surplus


@pytest.mark.parametrize(
    ("told", "found"),
    [
        ([0, 0], []),
        ([0], []),
        ([PENDING, 0], [(1, "success (00000103)", 0)]),
        ([0, 0, 0], [(3, "success (00000000)", 2)]),
    ],
)
def test_the_driver_tells_of_no_success_that_wsk_did_not_return(
    told: list[int], found: list[tuple[int, str, int]]
) -> None:
    seen = Seen().own("call", "WskAccept", returned=0).own("call", "WskAccept", returned=0)
    for number, ret in enumerate(told):
        seen.line("call", op="accept", id=number, ret=ret)
    assert seen.found() == [
        f"fail: the driver tells of {times} calls of WskAccept that returned {status}, WSK had {had} return that"
        for times, status, had in found
    ]
    seen.number += 1  # a line is lost, so that nobody knows
    seen.own("call", "WskSend", returned=0)
    assert not any(text.startswith("fail") for text in seen.found())


@pytest.mark.parametrize(("overlaps", "receives", "found"), [(False, 1, 0), (False, 2, 1), (True, 2, 0), (True, 3, 1)])
def test_no_more_callbacks_are_counted_as_running_than_wsk_had_called(
    overlaps: bool, receives: int, found: int
) -> None:
    seen = Seen()
    for _ in range(2):
        seen.own("event", "WskReceiveEvent")
        if not overlaps:
            seen.own("back", "WskReceiveEvent", returned=0)
    seen.line("recv", length=1, took=1, depth=1, ddepth=0)
    seen.line("disc", flags=1, abortive=True, irql=0, cookie=1, depth=0, rdepth=receives)
    says = f"fail: the driver counts {receives} calls of WskReceiveEvent as running, WSK had {1 + overlaps} at the most"
    assert seen.found() == [says] * found


def test_many_of_a_kind_are_counted() -> None:
    seen = Seen()
    for number in range(5):
        seen.see("call", "WskReceive", irp=0x100 + number, socket=SOCKET, returned=PENDING)
    assert seen.found()[-1] == "fail: and 2 more of that kind"


def test_a_target_that_stopped_had_no_time_to_give_anything_back() -> None:
    seen = Seen().connected()
    seen.add("machine", "stop", machine="target", detail="0x000000c4")
    assert seen.found() == []


def test_a_line_that_is_missing_makes_the_witness_no_witness() -> None:
    seen = Seen().connected()
    seen.number += 2
    seen.closed()
    assert seen.found() == ["inconclusive: 2 lines in which the provider tells WSK calls are not on the debug line"]


@pytest.mark.parametrize(
    ("flags", "says", "found"),
    [
        (1, {"abortive": True}, []),
        (0, {"abortive": False}, []),
        (9, {"abortive": True}, []),
        (1, {}, []),
        (1, {"abortive": False}, ["WSK told the driver abortive, the driver says graceful: "]),
        (0, {"abortive": True}, ["WSK told the driver graceful, the driver says abortive: "]),
        (1, {"flags": 0}, ["WSK told the driver abortive, the driver says graceful: "]),
        (1, {"flags": 1, "abortive": False}, ["WSK told the driver abortive, the driver says graceful: "]),
    ],
)
def test_what_the_driver_says_is_held_against_what_it_was_told(
    flags: int, says: dict[str, Any], found: list[str]
) -> None:
    seen = Seen().foreign().connected().told(flags)
    seen.add("driver", "disc", 0, text="so long", **says)
    told = seen.closed().found()
    assert len(told) == len(found)
    for line, begins in zip(told, found, strict=True):
        assert line.startswith(f"fail: {begins}'my.sys: WskDisconnectEvent on socket 3 called, flags 0000000{flags}")
        assert line.endswith("then 'so long'")


def test_a_verdict_names_both_lines() -> None:
    seen = Seen()
    seen.opened()
    seen.foreign().connected().step("driver", "connect").frame("peer", "RA")
    seen.told(1).add("driver", "disc", 0, text="peer hung up", abortive=False)
    judgement = judge(RESET, seen.closed().step("driver", "await_").ended())
    assert judgement.verdict == "fail"
    assert judgement.reasons[0].startswith("WSK told the driver abortive, the driver says graceful: 'my.sys: ")
