"""The driver's accounts of one thing agree with one another and with the wire: from hand-made recordings."""

from __future__ import annotations

import pytest
from support.recorded import PEER_PORT, PENDING, RESET, TARGET_PORT, Recording

from wsklab.orchestrator.judge.judge import judge
from wsklab.orchestrator.scenario.scenario import Scenario
from wsklab.orchestrator.scenario.yaml_source import parse

SCENARIO = parse(
    """
name: graceful
title: The peer closes
steps:
  - driver: {connect: peer}
  - driver: {receive: 1}
  - peer: close
expect:
  wire: {peer: fin}
  receive: [{status: success}]
""",
    Scenario,
    "test",
)
UNSUCCESSFUL = 0xC0000001
CANCELLED, NOT_FOUND = 0xC0000120, 0xC0000225


def told(
    returned: int = PENDING,
    answered: int = PENDING,
    op: str = "receive",
    ports: tuple[int, int] = (TARGET_PORT, PEER_PORT),
    asked: bool = True,
) -> Recording:
    """Return a connection that ends well; what the driver answers and tells of it is bent by each test."""
    recording = Recording().opened().call("socket", 1).done("socket", 1, 0).call("local", 1)
    if asked:
        recording.done("local", 1, 0)
    recording.call("connect", 1).frame("target", "S").frame("peer", "SA")
    recording.done("connect", 1, 0, lport=ports[0], rport=ports[1]).step("driver", "connect", ops=[1])
    answers = [{"op": op, "id": 2, "count": 1, "status": answered}]
    recording.call("receive", 2, returned).add("lab", "answered", answers=answers)
    recording.step("driver", "receive", ops=[2]).frame("peer", "FA").step("peer", "close")
    return recording.done("receive", 2, 0)


def verdict(recording: Recording) -> tuple[str, str]:
    judgement = judge(SCENARIO, recording.ended())
    return judgement.verdict, " ".join(judgement.reasons)


def test_accounts_that_agree_pass() -> None:
    assert verdict(told()) == ("pass", "")
    assert verdict(told(returned=0, answered=0)) == ("pass", "")


def test_a_failure_that_no_line_tells_is_one_of_the_drivers() -> None:
    answers = [{"op": "enable", "id": 77, "count": 1, "status": UNSUCCESSFUL}]
    silent = told().add("lab", "answered", answers=answers)
    assert "the command enable (operation 77) with failure (c0000001), and no line says so" in verdict(silent)[1]
    refused = told().add("lab", "answered", answers=answers).line("refused", op="enable", id=77, status=UNSUCCESSFUL)
    assert "no line says so" not in verdict(refused)[1]
    wrong = told().add("lab", "answered", answers=answers).line("refused", op="unknown", id=77, status=UNSUCCESSFUL)
    assert "no line says so" in verdict(wrong)[1], "that is a line of another command"
    completed = told().add("lab", "answered", answers=answers).done("enable", 77, UNSUCCESSFUL)
    assert "no line says so" in verdict(completed)[1], "that a call failed is told where it returns"


def test_a_failed_open_is_answered_with_the_status_of_one_of_its_parts() -> None:
    def opened(answer: int) -> Recording:
        answers = [{"op": "open", "id": 77, "count": 1, "status": answer}]
        return told().add("lab", "answered", answers=answers).line("refused", op="connect", id=77, status=UNSUCCESSFUL)

    assert "no line says so" not in verdict(opened(UNSUCCESSFUL))[1]
    assert "the command open (operation 77) with failure (c000020d), and no line says so" in verdict(opened(RESET))[1]


@pytest.mark.parametrize(
    ("returned", "ended", "closed", "said"),
    [
        (0, CANCELLED, False, False),
        (NOT_FOUND, 0, False, False),
        (NOT_FOUND, CANCELLED, False, True),
        (NOT_FOUND, CANCELLED, True, False),
    ],
)
def test_what_was_cancelled_was_there_to_cancel(returned: int, ended: int, closed: bool, said: bool) -> None:
    recording = told().call("receive", 31)
    if closed:
        recording.call("close", 32)
    recording.call("cancel", 33, returned, target=31).done("receive", 31, ended)
    assert ("there is no operation 31 to cancel (operation 33)" in verdict(recording)[1]) == said


def test_an_operation_is_one_call() -> None:
    assert "for one operation" not in verdict(told().call("callback", 31, 0).call("send", 31).call("send", 31))[1]
    both = told().call("callback", 31, 0).call("send", 31).call("disconnect", 31)
    assert "the driver calls WskSend and WskDisconnect for one operation (31)" in verdict(both)[1]


def test_a_callback_counts_itself() -> None:
    assert "counts 0 of that kind as running" in verdict(told().line("recv", length=1, took=1, depth=0))[1]
    assert "counts" not in verdict(told().line("recv", length=1, took=1, depth=1))[1]


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ({"length": 10, "took": 10, "null": 0}, ""),
        ({"length": 10, "took": 11, "null": 0}, "took 11 bytes of 10"),
        ({"length": 0, "took": 1, "null": 1}, "took 1 bytes of a list that is NULL"),
    ],
)
def test_no_more_is_taken_than_was_indicated(line: dict[str, int], wrong: str) -> None:
    got = verdict(told().line("recv", **line))[1]
    assert wrong in got if wrong else "took" not in got


def test_malformed_requests_are_refused_as_the_protocol_has_it() -> None:
    def sent(answered: str = "A", wanted_lines: str = "none") -> tuple[str, str]:
        words = {"answered": answered, "wanted": "A", "printed": "none", "wanted_lines": wanted_lines}
        return verdict(told().add("lab", "malformed", None, what="a batch", **words))

    assert sent() == ("pass", "")
    assert sent(answered="B") == ("fail", "the driver answers a batch with B, and must with A")
    lines = (
        "at a batch the driver's lines refuse none (command, operation, status, connection), and must refuse close 0"
    )
    assert lines in sent(wanted_lines="close 0")[1]


def test_a_malformed_request_that_is_carried_out_is_not_the_peers_fault() -> None:
    """What it sends then is not read, so that the peer's close is a RST (RFC 1122, 4.2.2.13)."""
    recording = told().frame("peer", "RA")
    words = {"answered": "B", "wanted": "A", "printed": "none", "wanted_lines": "none"}
    assert verdict(recording.add("lab", "malformed", None, what="a batch", **words))[0] == "fail"


def test_an_answer_other_than_the_line_of_the_call_fails() -> None:
    assert verdict(told(answered=0)) == (
        "fail",
        "the driver answers the command receive (operation 2) with success (00000000), its own line says "
        "success (00000103)",
    )


def test_a_refusal_that_the_answer_hides_fails() -> None:
    recording = told().line("refused", op="send", id=3, status=RESET)
    recording.add("lab", "answered", answers=[{"op": "send", "id": 3, "count": 1, "status": 0}])
    got, why = verdict(recording)
    assert got == "fail" and "answers the command send (operation 3) with success (00000000)" in why


def test_of_several_transfers_the_answer_is_that_of_the_last() -> None:
    recording = told().call("receive", 3).call("receive", 4, RESET).done("receive", 3, 0)
    recording.add("lab", "answered", answers=[{"op": "receive", "id": 3, "count": 2, "status": RESET}])
    assert "operation 3" not in verdict(recording)[1]


@pytest.mark.parametrize("op", ["callback", "accept_events"])
def test_a_command_that_calls_nothing_does_not_fail(op: str) -> None:
    assert verdict(told(answered=UNSUCCESSFUL, op=op)) == (
        "fail",
        f"the driver answers the command {op} (operation 2) with failure (c0000001), and no line says so",
    )
    assert verdict(told(answered=0, op=op)) == ("pass", "")


def test_the_answer_to_a_question_for_addresses_is_that_of_the_local_one() -> None:
    def asked(answered: int) -> Recording:
        recording = told().add(
            "lab", "answered", answers=[{"op": "addresses", "id": 5, "count": 1, "status": answered}]
        )
        return recording.line("addr", id=5, local="", lport=0, lst=UNSUCCESSFUL, remote="", rport=0, rst=0)

    assert "(operation 5) with success (00000000), its own line says failure (c0000001)" in verdict(asked(0))[1]
    assert "operation 5" not in verdict(asked(UNSUCCESSFUL))[1]


def test_a_return_other_than_the_completion_fails() -> None:
    got, why = verdict(told(returned=UNSUCCESSFUL, answered=UNSUCCESSFUL))
    assert got == "fail" and "says that WskReceive returned failure (c0000001), and that its IRP" in why


@pytest.mark.parametrize("ports", [(TARGET_PORT + 1, PEER_PORT), (TARGET_PORT, PEER_PORT + 1), (0, PEER_PORT)])
def test_ports_that_the_wire_does_not_show_fail(ports: tuple[int, int]) -> None:
    got, why = verdict(told(ports=ports))
    assert got == "fail"
    assert f"between its port {ports[0]} and port {ports[1]}, the wire shows no such" in why


def test_the_answer_to_an_awaited_call_is_how_its_irp_completed() -> None:
    def bound(answer: int) -> Recording:
        recording = told().call("bind", 5).done("bind", 5, 0)
        return recording.add("lab", "answered", answers=[{"op": "bind", "id": 5, "count": 1, "status": answer}])

    assert verdict(bound(0)) == ("pass", "")
    assert verdict(bound(UNSUCCESSFUL))[0] == "fail"


def test_an_address_that_is_asked_for_later_is_not_told_before() -> None:
    recording = told(ports=(0, PEER_PORT), asked=False).call("local", 9).done("local", 9, 0)
    assert verdict(recording) == ("pass", "")


def test_a_port_that_the_driver_has_not_asked_for_may_be_0() -> None:
    assert verdict(told(ports=(0, PEER_PORT), asked=False)) == ("pass", "")


def test_callbacks_that_run_when_all_is_closed_fail() -> None:
    recording = told()
    recording.ended()
    recording.add("lab", "running", callbacks=1)
    judgement = judge(SCENARIO, recording.observations)
    assert (
        judgement.verdict == "fail" and "1 callbacks that run although every socket is closed" in judgement.reasons[0]
    )
    unclean = [o for o in recording.observations if o.kind != "clean"]
    reasons = " ".join(judge(SCENARIO, unclean).reasons)
    assert "did not finish cleaning up" in reasons and "although every socket is closed" not in reasons


@pytest.mark.parametrize(
    ("bent", "said"),
    [
        ({}, ""),
        ({"seed": 0}, "the pattern from 0, the command was for 700"),
        ({"length": 699}, "a length of 699, the command was for 700"),
        ({"flags": 1}, "flags 1, the command was for 0"),
        ({"target": 5}, "the target 5, the command was for 0"),
        ({"mask": 9}, "the mask 9, the command was for 0"),
    ],
)
def test_calls_are_told_with_what_their_command_asked_for(bent: dict[str, int], said: str) -> None:
    recording = told()
    asked = {"flags": 0, "length": 700, "seed": 0, "target": 0, "mask": 0}
    recording.call("send", 3, length=700, seed=0).call("send", 4, **{"length": 700, "seed": 700, **bent})
    recording.add("lab", "answered", answers=[{"op": "send", "id": 3, "count": 2, "status": PENDING, **asked}])
    recording.done("send", 3, 0, 700).done("send", 4, 0, 700)
    assert said in verdict(recording)[1]
    assert ("the driver tells of WskSend (operation 4)" in verdict(recording)[1]) == bool(said)


def test_a_line_that_the_protocol_does_not_have_fails() -> None:
    found, why = verdict(told().line("other"))
    assert found == "fail"
    assert "the driver prints a line that the protocol does not have: WSKLAB1 seq=" in why


@pytest.mark.parametrize(
    ("number", "op", "asked"),
    [(2, "send", True), (7, "send", True), (8, "send", False), (19, "send", False), (7, "unknown", False)],
)
def test_what_is_refused_was_asked_for(number: int, op: str, asked: bool) -> None:
    answers = [{"op": "send", "id": 5, "count": 3, "status": RESET}]
    recording = told().add("lab", "answered", answers=answers).line("refused", op=op, id=number, status=RESET)
    assert (f"operation {number} ({op}), which nobody has asked for" in verdict(recording)[1]) != asked


@pytest.mark.parametrize(("number", "asked"), [(5, True), (6, True), (8, True), (9, False)])
def test_what_follows_a_connection_was_asked_for_with_it(number: int, asked: bool) -> None:
    """A receive may be refused for want of memory before anybody knows how the step ended."""
    answers = [{"op": "accept", "id": 5, "count": 1, "last": 8, "status": PENDING}]
    recording = told().add("lab", "answered", answers=answers)
    recording.line("refused", op="receive", id=number, status=UNSUCCESSFUL)
    assert (f"operation {number} (receive), which nobody has asked for" in verdict(recording)[1]) != asked


@pytest.mark.parametrize(("many", "status", "said"), [(9, 0, True), (9, UNSUCCESSFUL, False), (1, 0, False)])
def test_with_many_connections_the_parts_of_an_open_are_not_told(many: int, status: int, said: bool) -> None:
    recording = told().done("bind", 21, status)
    recording.step("driver", "connect", ops=[*range(21, 21 + many)])
    assert ("the driver tells of bind (operation 21), whose success was not to" in verdict(recording)[1]) == said


@pytest.mark.parametrize("status", [0, UNSUCCESSFUL])
def test_addresses_are_told_with_the_status_of_their_question(status: int) -> None:
    recording = told()
    recording.line("addr", id=1, lport=TARGET_PORT, lst=status)
    assert verdict(recording)[0] == ("fail" if status else "pass")
    assert ("the driver tells the local address of its socket with" in verdict(recording)[1]) == bool(status)


@pytest.mark.parametrize(("new", "took", "fits"), [(9, 1, True), (0, 0, True), (9, 0, False), (0, 1, False)])
def test_an_accept_event_takes_the_connection_that_it_tells_of(new: int, took: int, fits: bool) -> None:
    recording = told().line("accept", None, new=new, took=took, rport=PEER_PORT)
    assert ("the driver tells that WskAcceptEvent took" in verdict(recording)[1]) != fits


@pytest.mark.parametrize(
    ("local", "remote", "said"),
    [
        ("0a4d000a", "0a4d0014", ""),
        ("fd77" + "00000010".zfill(28), "fd77" + "00000020".zfill(28), ""),
        ("0a4d0014", "0a4d0014", "tells 0a4d0014 as the local address of its socket, no address of the target"),
        ("0a4d000a", 12345678, "tells 12345678 as the remote address of its socket, no address of the peer"),
    ],
)
def test_addresses_of_a_connection_are_the_machines(local: str, remote: str | int, said: str) -> None:
    recording = told().line(
        "addr", 0, id=1, lport=TARGET_PORT, rport=PEER_PORT, local=local, remote=remote, lst=0, rst=0
    )
    assert said in verdict(recording)[1]
    assert ("as the" in verdict(recording)[1]) == bool(said)


@pytest.mark.parametrize(
    ("lport", "rport", "said"),
    [
        (TARGET_PORT, PEER_PORT, None),
        (7, PEER_PORT, f"tells 7 as the local port of its socket, whose connection has {TARGET_PORT}"),
        (TARGET_PORT, 0, f"tells 0 as the remote port of its socket, whose connection has {PEER_PORT}"),
    ],
)
@pytest.mark.parametrize("status", [0, RESET])
def test_ports_of_a_connection_are_those_on_the_wire(lport: int, rport: int, said: str | None, status: int) -> None:
    """Where the question failed, what is told as its answer is nothing."""
    recording = told().line("addr", 0, id=1, lport=lport, rport=rport, lst=status, rst=status)
    assert (said is not None and said in verdict(recording)[1]) == (said is not None and status == 0)


SECOND = 10**7
"""Of the driver's clock."""


@pytest.mark.parametrize(
    ("first", "second", "says"),
    [
        (0, SECOND, ""),
        (SECOND, 0, ""),
        (0, 59 * SECOND, ""),
        (0, 61 * SECOND, "is 61 s after the one before it by the driver's clock, and came 0.0 s after it"),
        (61 * SECOND, 0, "is -61 s after the one before it"),
        ((5 << 32) | 5, (9 << 32) | 9, "is 1718 s after the one before it"),
    ],
)
def test_the_drivers_clock_goes_as_the_hosts(first: int, second: int, says: str) -> None:
    found, why = verdict(told().line("cbout", cb="recv", clock=first).line("cbout", cb="recv", clock=second))
    assert says in why
    assert found == ("fail" if says else "pass")


def test_a_machine_that_was_started_anew_has_a_new_clock() -> None:
    recording = told().line("cbout", cb="recv", clock=99 * SECOND).line("load", None, clock=1, build="correct", ver=1)
    assert "driver's clock" not in verdict(recording.line("cbout", cb="recv", clock=2))[1]
