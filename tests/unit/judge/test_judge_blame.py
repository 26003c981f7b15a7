"""What is seen is judged, and the first reason names who did what: from hand-made recordings."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.recorded import COOKIE, PENDING, RESET, Recording

from wsklab.orchestrator.judge.judge import judge
from wsklab.orchestrator.observe.driver_lines import DisconnectEvent
from wsklab.orchestrator.observe.observation import Observation
from wsklab.orchestrator.scenario.scenario import Scenario
from wsklab.orchestrator.scenario.yaml_source import parse

CLOSED = 0xC0000225
GRACEFUL = """
name: graceful
title: The peer closes
steps:
  - driver: {connect: peer}
  - driver: {enable: [disconnect]}
  - peer: close
expect:
  wire: {peer: fin, driver: none}
  disconnect: [{abortive: clear}]
"""


def scenario(text: str = GRACEFUL, **bent: str) -> Scenario:
    for old, new in bent.items():
        text = text.replace(old, new)
    return parse(text, Scenario, "test")


def opened() -> Recording:
    recording = Recording().opened().step("driver", "connect").call("enable", 2, 0, mask=0x80)
    return recording.step("driver", "enable", ops=[2], expect="success", synchronous=True)


def closed() -> Recording:
    return opened().frame("peer", "FA").step("peer", "close").disconnect(0)


def verdict(observations: list[Observation], wanted: Scenario | None = None) -> tuple[str, tuple[str, ...]]:
    judgement = judge(wanted or scenario(), observations)
    return judgement.verdict, judgement.reasons


def after_the_end(recording: Recording, ms: int, flags: int = 0) -> list[Observation]:
    """Return the end of the story, then the event once more, while the sockets are closed."""
    ended = recording.ended()
    at = next(i for i, o in enumerate(ended) if o.kind == "end")
    late = DisconnectEvent(
        t=ended[at].t + ms * 1_000_000,
        conn=0,
        seq=900,
        text="",
        flags=flags,
        irql=0,
        cookie=COOKIE,
        abortive=bool(flags),
    )
    return [*ended[: at + 1], late, *ended[at + 1 :]]


# --- after the story --------------------------------------------------------------------------------------------------


def test_a_second_event_after_the_end_fails() -> None:
    assert verdict(after_the_end(closed(), 200)) == (
        "fail",
        ("unexpected WskDisconnectEvent (call 2) with flags 00000000, 200 ms after the end of the story",),
    )


def test_an_event_after_the_end_that_an_ending_of_the_peer_accounts_for_is_none_of_the_story() -> None:
    open_still = scenario(**{"  disconnect: [{abortive: clear}]\n": "", "peer: fin": "peer: none"})
    recording = opened().step("peer", "close")
    observations = after_the_end(recording, 1, flags=1)
    reset = Recording().frame("peer", "RA").observations[0]
    end = next(i for i, o in enumerate(observations) if o.kind == "end")
    assert verdict([*observations[: end + 1], reset, *observations[end + 1 :]], open_still)[0] == "pass"
    assert verdict(observations, open_still)[0] == "fail"


def test_the_rules_of_the_flags_hold_after_the_end_too() -> None:
    assert "0x4 is undefined (R9)" in verdict(after_the_end(closed(), 1, flags=4))[1][0]


def test_a_callback_after_the_close_and_an_irp_that_completes_twice_fail() -> None:
    late = closed().line("late", None, cb="disc", magic=1).ended()
    assert verdict(late) == (
        "fail",
        (
            "WskDisconnectEvent was called with the context of a socket whose close had "
            "completed, or with none (R42, R73)",
        ),
    )
    unheld = closed().line("unheld", None, refs=1).ended()
    (reason,) = verdict(unheld)[1]
    assert reason.startswith("the driver drops a reference to a connection that nobody holds")
    again = closed().line("again", op="close", id=9).ended()
    assert verdict(again) == ("fail", ("the IRP of WskCloseSocket (operation 9) completed twice (R83)",))


# --- unasked ----------------------------------------------------------------------------------------------------------


def test_receive_events_that_were_never_enabled_fail() -> None:
    recording = closed().line("recv", length=4, took=4, irql=0)
    assert verdict(recording.ended()) == (
        "fail",
        ("WskReceiveEvent was called once, and receive events were never enabled (R23)",),
    )
    enabled = scenario(**{"enable: [disconnect]": "enable: [disconnect, receive]"})
    assert verdict(recording.observations, enabled)[0] == "pass"


# --- steps ------------------------------------------------------------------------------------------------------------


def test_success_is_what_a_step_expects_unless_it_says_otherwise() -> None:
    wanted = [
        action.step.wanted  # type: ignore[attr-defined]  # of the driver's steps
        for action in scenario(
            GRACEFUL.replace(
                "  - peer: close",
                """\
  - driver: {send: 4}
  - driver: {send: {length: 4, wait: false}}
  - driver: {receive: 1}
  - driver: {disable: [disconnect], expect: failure}
  - driver: close""",
            )
        ).steps
    ]
    assert wanted == [None, "success", "success", None, None, "failure", "success"]


def test_an_enable_that_fails_is_the_first_reason() -> None:
    recording = Recording().opened().step("driver", "connect").call("enable", 2, 0xC000000D, mask=0x80)
    recording.step("driver", "enable", ops=[2], expect="success", synchronous=True)
    got, reasons = verdict(recording.frame("peer", "FA").step("peer", "close").ended())
    assert (got, reasons[0]) == ("fail", "step 2 (driver: enable): should end in success, ended in failure (c000000d)")


@pytest.mark.parametrize(
    ("expect", "wanted"),
    [
        ("failure", "pass"),
        ("any", "pass"),
        ("c0000225", "pass"),
        ("success", "fail"),
        (None, "fail"),
        ("pending", "fail"),
        ("c000020d", "fail"),
    ],
)
def test_a_refusal_meets_the_expectation_or_is_told_with_its_status(expect: str | None, wanted: str) -> None:
    recording = closed().line("refused", op="send", id=7, status=CLOSED).step("driver", "send", ops=[7], expect=expect)
    got, reasons = verdict(recording.ended())
    assert got == wanted
    assert wanted == "pass" or "was refused with c0000225 before any WSK call" in reasons[0]


def test_a_step_without_any_call_fails() -> None:
    recording = closed().step("driver", "receive", ops=[7])
    assert verdict(recording.ended()) == ("fail", ("step 4 (driver: receive): the driver made no such call",))


def test_what_is_outstanding_is_named_with_its_function_and_since_when() -> None:
    recording = closed().call("socket", 6).done("socket", 6, 0).call("receive", 7).call("close", 8)
    waiting = [o for o in recording.ended() if o.kind != "clean"]
    waiting[-1] = replace(waiting[-1], t=waiting[-1].t + 15_000_000_000)
    _, reasons = verdict(waiting)
    assert any(
        "a close never completed; outstanding: the IRP of WskReceive (operation 7) for 15.0 s, the IRP of "
        "WskCloseSocket (operation 8) for 15.0 s" in reason
        for reason in reasons
    )


def test_what_is_kept_is_named_when_the_driver_does_not_finish_cleaning_up() -> None:
    observations = [
        o for o in closed().add("lab", "left", sockets=0, irps=0, indications=2).ended() if o.kind != "clean"
    ]
    assert any("did not finish cleaning up: 2 indications left" in reason for reason in verdict(observations)[1])


# --- blame ------------------------------------------------------------------------------------------------------------


def test_the_drivers_own_reset_is_the_drivers_fault_and_said_first() -> None:
    recording = opened().call("disconnect", 9, flags=1, length=0).frame("target", "RA")
    recording.step("peer", "close").done("disconnect", 9, 0)
    got, reasons = verdict(recording.ended())
    assert got == "fail"
    assert reasons[:3] == (
        "the driver ended the connection by WskDisconnect with WSK_FLAG_ABORTIVE, which no step asked for",
        "the driver ended the connection with RST before the peer ended anything",
        "the peer should have sent FIN, the wire shows neither FIN nor RST",
    )


def test_a_reset_without_any_call_before_the_peer_is_the_drivers_fault_too() -> None:
    recording = opened().frame("target", "RA").step("peer", "close")
    got, reasons = verdict(recording.ended())
    assert (got, reasons[0]) == ("fail", "the driver ended the connection with RST before the peer ended anything")


def test_an_ending_of_its_own_is_named_where_only_the_drivers_side_deviates() -> None:
    recording = closed().call("disconnect", 0, flags=1, length=0).frame("target", "RA").done("disconnect", 0, 0)
    got, reasons = verdict(recording.ended())
    assert (got, reasons[0]) == (
        "fail",
        "the driver ended the connection by WskDisconnect with WSK_FLAG_ABORTIVE, which no step asked for",
    )
    short = closed().call("send", 5, length=8, seed=0).done("send", 5, 0, 7)
    short.step("driver", "send", ops=[5], expect="success", length=8)
    wanted = scenario(**{"driver: none": "driver: fin"})
    assert verdict(short.ended(), wanted)[1][0] == "step 4 (driver: send): WskSend sent 7 of 8 bytes"


def test_a_reset_in_its_name_that_the_wire_has_invented_is_not_the_drivers() -> None:
    recording = opened().frame("target", "R", fate="forged").step("peer", "close").disconnect(0)
    assert verdict(recording.ended())[0] == "infra"


def test_a_short_send_for_which_the_peer_waited_is_the_drivers_fault_and_said_first() -> None:
    recording = opened().call("send", 5, length=8, seed=0).done("send", 5, 0, 7)
    recording.step("driver", "send", ops=[5], expect="success", length=8)
    recording.step("peer", "receive", outcome="failed", detail="not all the data came in time")
    got, reasons = verdict(recording.ended())
    assert (got, reasons[0]) == ("fail", "step 3 (driver: send): WskSend sent 7 of 8 bytes")


def test_a_receive_that_was_never_posted_is_the_drivers_fault() -> None:
    recording = opened().step("driver", "receive", ops=[5])
    recording.step("peer", "send", outcome="failed", detail="the other side did not take all the data in time")
    got, reasons = verdict(recording.ended())
    assert (got, reasons[0]) == ("fail", "step 3 (driver: receive): the driver made no such call")


def test_a_peer_that_deviates_all_by_itself_stays_the_labs_fault() -> None:
    assert verdict(opened().frame("peer", "RA").step("peer", "close").disconnect(1).ended())[0] == "infra"
    later = opened().frame("peer", "RA").frame("target", "FA").step("peer", "close").disconnect(1)
    assert verdict(later.ended())[0] == "infra", "what the driver does after the peer's ending is no cause of it"


# --- a socket that is being closed ------------------------------------------------------------------------------------


def test_a_driver_that_closes_before_its_event_is_told_so_and_does_not_fail() -> None:
    recording = opened().frame("peer", "FA").step("peer", "close").add("driver", "close", 0, text="closed: status 0")
    judgement = judge(scenario(), recording.ended())
    assert (judgement.verdict, judgement.reasons) == ("pass", ())
    assert judgement.remarks == (
        "WskDisconnectEvent was called not at all: the driver was closing its socket already, and a socket that is "
        "being closed need not be told (R70, R73)",
    )
    silent = opened().frame("peer", "FA").step("peer", "close")
    assert verdict(silent.ended())[0] == "fail"


# --- the record -------------------------------------------------------------------------------------------------------


RECORDED = {"disconnects": ["00000000"], "receives": [], "sends": [], "driver": [""]}


@pytest.mark.parametrize(
    ("flags", "judged", "known", "wanted"),
    [(0, True, RECORDED, "pass"), (1, True, RECORDED, "fail"), (1, False, RECORDED, "pass"), (1, True, None, "pass")],
)
def test_what_is_characterised_is_judged_by_the_record_where_the_target_is_ours(
    flags: int, judged: bool, known: object, wanted: str
) -> None:
    recording = opened().add("lab", "recorded", None, target="standin", judged=judged, behaviour=known)
    recording.frame("peer", "FA").step("peer", "close").disconnect(flags)
    characterised = scenario(**{"disconnect: [{abortive: clear}]": "characterise: true"})
    got, reasons = verdict(recording.ended(), characterised)
    assert got == wanted
    assert wanted == "pass" or reasons == ("graceful: disconnects 00000001, recorded before 00000000",)


def test_a_pending_call_is_no_failed_one() -> None:
    recording = closed().call("receive", 7, PENDING).step("driver", "receive", ops=[7]).done("receive", 7, RESET)
    assert verdict(recording.ended())[0] == "pass"
