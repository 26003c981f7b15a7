"""The judge, given recordings: the verdict and its reason, for the true run and for each way it can be bent."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.recorded import RESET, Recording, observed

from wsklab.orchestrator.judge.judge import Judgement, judge
from wsklab.orchestrator.observe import observation
from wsklab.orchestrator.observe.driver_lines import DriverLine
from wsklab.orchestrator.observe.lab_notes import CanaryNote, RingTaken
from wsklab.orchestrator.scenario.scenario import Scenario
from wsklab.orchestrator.scenario.yaml_source import parse

LINGER_ZERO = """
name: linger-zero
title: The peer closes with SO_LINGER 0
steps:
  - driver: {connect: peer}
  - peer: {close: {linger: 0}}
  - driver: {await: disconnect}
expect:
  wire: {peer: rst, driver: none}
  disconnect: [{abortive: set}]
  receive: [{status: failure}]
"""


def scenario(text: str = LINGER_ZERO, **bent: str) -> Scenario:
    for old, new in bent.items():
        text = text.replace(old, new)
    return parse(text, Scenario, "test")


def reset_by_peer(flags: int = 1, **event: object) -> Recording:
    """Connect, one receive pending, RST from the peer, the event, the failed receive."""
    recording = Recording().opened().step("driver", "connect")
    recording.call("receive", 3).step("driver", "receive", ops=[3])
    recording.frame("peer", "RA").step("peer", "close").disconnect(flags, **event)  # type: ignore[arg-type]
    return recording.done("receive", 3, RESET).step("driver", "await_")


def verdict(judgement: Judgement) -> tuple[str, str]:
    return judgement.verdict, "; ".join(judgement.reasons)


def test_the_true_run_passes_without_a_word() -> None:
    judgement = judge(scenario(), reset_by_peer().ended())
    assert verdict(judgement) == ("pass", "")
    assert judgement.observed["disconnects"][0] | {"order": 0} == {
        "conn": 0,
        "flags": 1,
        "abortive": True,
        "at_dispatch": False,
        "irql": 0,
        "context_ok": True,
        "order": 0,
    }
    assert judgement.observed["wire"] == {"peer": [["rst"]], "driver": [[]], "frames": 1}
    assert judgement.observed["receives"][0]["status"] == "c000020d"


@pytest.mark.parametrize(
    ("flags", "event", "reason"),
    [
        (0, {}, "WSK_FLAG_ABORTIVE is clear, expected set"),
        (1, {"abortive": False}, "the driver takes flags 00000001 for not abortive"),
        (1, {"cookie": 5}, "another connection's context"),
        (9, {"irql": 0}, "WSK_FLAG_AT_DISPATCH_LEVEL is set, but the IRQL is 0"),
        (1, {"irql": 3}, "above DISPATCH_LEVEL"),
        (5, {}, "0x4 is undefined"),
    ],
)
def test_a_wrong_flag_or_context_fails(flags: int, event: dict[str, object], reason: str) -> None:
    got, why = verdict(judge(scenario(), reset_by_peer(flags, **event).ended()))
    assert got == "fail"
    assert reason in why


def test_at_dispatch_set_with_dispatch_level_is_right_and_clear_says_nothing_of_the_irql() -> None:
    at_dispatch = reset_by_peer(9, irql=2).ended()
    assert judge(scenario(), at_dispatch).verdict == "pass"
    assert judge(scenario(), reset_by_peer(1, irql=2).ended()).verdict == "pass"
    wanted = scenario(**{"abortive: set": "abortive: set, at_dispatch: clear"})
    assert "WSK_FLAG_AT_DISPATCH_LEVEL is set, expected clear" in verdict(judge(wanted, at_dispatch))[1]


DRAWN = """
name: drawn
title: Ends as the lab has drawn
steps:
  - driver: {connect: peer}
  - peer: {close-all: mixed}
  - driver: {await: disconnect}
expect:
  wire: {peer: drawn, driver: none}
  disconnect: [{abortive: drawn}]
"""


@pytest.mark.parametrize(
    ("drawn", "frame", "flags", "wanted"),
    [
        ("rst", "RA", 1, "pass"),
        ("fin", "FA", 0, "pass"),
        ("rst", "FA", 1, "infra"),
        ("fin", "RA", 0, "infra"),
        ("rst", "RA", 0, "fail"),
        ("fin", "FA", 1, "fail"),
    ],
)
def test_what_was_drawn_is_what_must_be_seen(drawn: str, frame: str, flags: int, wanted: str) -> None:
    recording = Recording().opened().step("driver", "connect").frame("peer", frame)
    recording.add("lab", "drawn", 0, ending=drawn).step("peer", "close_all").disconnect(flags).step("driver", "await_")
    assert judge(scenario(DRAWN), recording.ended()).verdict == wanted


def test_no_event_and_one_too_many_both_fail() -> None:
    silent = Recording().opened().step("driver", "connect").frame("peer", "RA").step("peer", "close")
    silent.done("receive", 3, RESET).step("driver", "await_", outcome="failed", detail="no disconnect within 5 s")
    got, why = verdict(judge(scenario(), silent.ended()))
    assert got == "fail"
    assert "no disconnect within 5 s" in why
    assert "called not at all, expected once" in why
    twice = reset_by_peer().disconnect(1).ended()
    assert verdict(judge(scenario(), twice)) == ("fail", "unexpected WskDisconnectEvent (call 2) with flags 00000001")


def test_the_peer_ending_otherwise_blames_the_lab_not_the_driver() -> None:
    polite = Recording().opened().step("driver", "connect").frame("peer", "FA").step("peer", "close")
    polite.disconnect(0).done("receive", 3, 0).step("driver", "await_")
    got, why = verdict(judge(scenario(), polite.ended()))
    assert got == "infra"
    assert why.startswith("the peer should have sent RST, the wire shows FIN")


def test_a_driver_that_failed_first_is_to_blame_for_an_ending_that_never_came() -> None:
    stuck = Recording().opened().step("driver", "send", outcome="failed", detail="the IRP did not complete")
    stuck.step("peer", "receive", outcome="failed", detail="nothing came")
    got, why = verdict(judge(scenario(), stuck.ended()))
    assert got == "fail"
    assert "the IRP did not complete" in why


def test_a_rule_that_was_broken_before_the_driver_hung_is_why_it_hangs() -> None:
    left = reset_by_peer().add("driver", "rule", text="WskDeregister waits: sockets=1", rule="R80")
    left.add("lab", "hang", machine="target", detail="it does not unload")
    left.add("driver", "rule", text="it went on nevertheless", rule="R82")
    judged = judge(scenario(), left.ended())
    assert judged.reasons[:3] == (
        "the driver breaks R80: WskDeregister waits: sockets=1",
        "the driver hangs: it does not unload",
        "the driver breaks R82: it went on nevertheless",
    )


def test_the_driver_ending_otherwise_fails_the_driver() -> None:
    rude = reset_by_peer().frame("target", "RA").ended()
    assert verdict(judge(scenario(), rude)) == (
        "fail",
        "the driver should have sent neither FIN nor RST, the wire shows RST",
    )


def test_retransmissions_and_dropped_frames_do_not_count() -> None:
    graceful = scenario(**{"peer: rst": "peer: fin", "abortive: set": "abortive: clear", "failure": "success"})
    recording = Recording().opened().call("receive", 3)
    recording.step("driver", "receive", ops=[3]).frame("peer", "FA", fate="dropped")
    recording.frame("peer", "FA").frame("peer", "FA").step("peer", "close").disconnect(0).done("receive", 3, 0)
    assert verdict(judge(graceful, recording.step("driver", "await_").ended())) == ("pass", "")


@pytest.mark.parametrize("when", ["before", "after"])
def test_without_a_canary_nothing_is_proven(when: str) -> None:
    recording = reset_by_peer().ended()
    muted = [replace(o, seen=False) if isinstance(o, CanaryNote) and o.when == when else o for o in recording]
    assert verdict(judge(scenario(), muted)) == (
        "inconclusive",
        f"the canary {when} the scenario was not seen on the debug line",
    )


def test_a_lost_line_is_told_from_a_number_the_driver_never_used() -> None:
    recording = reset_by_peer().ended()
    lost = [o for o in recording if o.kind != "done"]
    assert verdict(judge(scenario(), lost))[1].endswith(
        "not on the debug line but in the driver's ring; WskReceive completed not at all, expected once"
    )
    ring = recording[-1]
    assert isinstance(ring, RingTaken)
    never = [*lost[:-1], replace(ring, records=(*ring.records[:2], *ring.records[3:]))]
    got, why = verdict(judge(scenario(), never))
    assert got == "inconclusive"
    assert "line 103 is not on the debug line nor in the driver's ring" in why


def test_a_driver_that_gives_its_lines_one_number_is_to_blame() -> None:
    recording = reset_by_peer().ended()
    same = [replace(o, seq=24) if isinstance(o, DriverLine) and o.seq is not None else o for o in recording]
    got, why = verdict(judge(scenario(), same))
    assert got == "fail"
    assert "of its lines the number 24" in why
    damaged = [replace(o, seq=101) if isinstance(o, DriverLine) and o.seq == 102 else o for o in recording]
    assert verdict(judge(scenario(), damaged))[0] == "inconclusive", "two may be damage on the way"


def test_an_unload_does_not_wait_for_long_at_once() -> None:
    def waits_after(seconds: float) -> str:
        recording = Recording().opened().step("driver", "connect")
        began = recording.observations[-1].t - round(seconds * 1e9)
        recording.step("driver", "unload", began=began).line("waiting", None, sockets=1)
        return verdict(judge(scenario(), recording.ended()))[1]

    assert "0.3 s after it was unloaded that it waits for long" in waits_after(0.3)
    assert "waits for long" not in waits_after(10)


def test_a_ring_that_ends_too_early_is_no_witness() -> None:
    recording = Recording().opened().step("driver", "connect").ended()
    ring = recording[-1]
    assert isinstance(ring, RingTaken)
    empty = [*recording[:-1], replace(ring, records=(), last=0)]
    result, why = verdict(judge(scenario(), empty))
    assert result == "inconclusive"
    assert "not in the driver's ring" in why


def test_a_damaged_line_is_found_by_the_ring() -> None:
    recording = reset_by_peer()
    recording.ring[0] = recording.ring[0] | {"text": "something else"}
    assert verdict(judge(scenario(), recording.ended())) == (
        "inconclusive",
        "line 101 is damaged on the debug line (the ring has another text)",
    )


def test_a_crash_outranks_the_silence_it_causes() -> None:
    crashed = reset_by_peer().add("machine", "crash", machine="target", detail="page fault").ended(canary=False)
    got, why = verdict(judge(scenario(), crashed))
    assert got == "fail"
    assert why.startswith("the driver's host process in the target crashed: page fault")
    peer_lost = reset_by_peer().add("machine", "died", machine="peer").ended()
    assert judge(scenario(), peer_lost).verdict == "infra"


def test_what_is_left_behind_fails() -> None:
    assert verdict(judge(scenario(), reset_by_peer().ended(sockets=1, irps=2))) == (
        "fail",
        "the driver leaks: 1 sockets, 2 irps left after everything was closed",
    )
    unclean = [o for o in reset_by_peer().ended() if o.kind != "clean"]
    assert "a close never completed" in verdict(judge(scenario(), unclean))[1]


def test_a_broken_rule_of_the_provider_fails() -> None:
    bent = reset_by_peer().add("driver", "rule", rule="R10", text="the callback returned c0000001").ended()
    assert verdict(judge(scenario(), bent)) == ("fail", "the driver breaks R10: the callback returned c0000001")


def test_what_the_standin_does_not_offer_is_said_beside_a_failure_and_decides_nothing() -> None:
    asked: dict[str, Any] = {"rule": "unsupported", "text": "WskSocket of type 2, protocol 17, flags 4"}
    fine = reset_by_peer().add("driver", "unsupported", **asked)
    assert judge(scenario(), fine.ended()).verdict == "pass"
    bent = reset_by_peer().add("driver", "unsupported", **asked).add("driver", "rule", rule="R10", text="it returned 1")
    judged = judge(scenario(), bent.ended())
    assert judged.verdict == "fail"
    assert judged.reasons == ("the driver breaks R10: it returned 1",
                              "the stand-in does not offer what the driver asked for (STATUS_NOT_SUPPORTED): "
                              "WskSocket of type 2, protocol 17, flags 4")  # fmt: skip


def test_a_self_check_passes_only_with_the_verdict_it_provokes() -> None:
    trial = scenario(LINGER_ZERO.replace("peer: rst", "peer: fin") + "  verdict: infra\n")
    assert judge(trial, reset_by_peer().ended()).verdict == "pass"
    got, why = verdict(judge(scenario(LINGER_ZERO + "  verdict: infra\n"), reset_by_peer().ended()))
    assert (got, why) == ("infra", "self-check: the verdict should have been infra, but was pass")


def test_an_event_with_nobodys_context_and_a_send_that_nobody_asked_for_fail() -> None:
    strange = reset_by_peer().line("disc", None, flags=1, irql=0, cookie=7, abortive=True)
    assert "no connection's of this scenario (R4)" in verdict(judge(scenario(), strange.ended()))[1]
    busy = reset_by_peer().done("send", 99, RESET)
    assert verdict(judge(scenario(), busy.ended())) == ("fail", "the driver did a send that no step asked for")


def test_what_comes_in_the_wrong_order_or_not_at_all_fails() -> None:
    ordered = scenario(LINGER_ZERO + "  order: [disconnect, receive]\n")
    assert judge(ordered, reset_by_peer().ended()).verdict == "pass"
    turned = scenario(LINGER_ZERO + "  order: [receive, disconnect]\n")
    assert verdict(judge(turned, reset_by_peer().ended())) == ("fail", "'disconnect' came before 'receive'")
    absent = scenario(LINGER_ZERO + "  order: [disconnect, close]\n")
    assert "'close' did not come" in verdict(judge(absent, reset_by_peer().ended()))[1]


def test_what_happens_while_cleaning_up_is_not_the_story() -> None:
    recording = reset_by_peer().ended()
    late = observed(recording[-1].t, "driver", "disc", seq=1, flags=1, cookie=1, abortive=True)
    recording.insert(-2, late)
    assert judge(scenario(), recording).verdict == "pass"


def test_the_evidence_on_disk_gives_the_same_judgement(tmp_path: Path) -> None:
    recording = reset_by_peer(0).ended()
    observation.write(tmp_path / "o.jsonl", recording)
    again = observation.read(tmp_path / "o.jsonl").observations
    assert judge(scenario(), again) == judge(scenario(), recording)


def test_a_socket_that_is_not_made_is_the_outcome_and_not_the_close_behind_it() -> None:
    refused = "name: x\ntitle: X\nsteps: [driver: {connect: no-family, expect: failure}]\n"
    recording = Recording().opened().done("socket", 3, 0xC000000D).done("close", 3, 0)
    recording.step("driver", "connect", ops=[3], expect="failure")
    assert verdict(judge(scenario(refused), recording.ended())) == ("pass", "")
    made = Recording().opened().done("socket", 3, 0).done("connect", 3, 0)
    made.step("driver", "connect", ops=[3], expect="failure")
    assert judge(scenario(refused), made.ended()).verdict == "fail"
