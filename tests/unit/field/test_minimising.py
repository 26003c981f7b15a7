"""Minimising scenarios whose failure is simulated: always there, there now and then, or there for another reason."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsklab.orchestrator.field.search import chances, smaller
from wsklab.orchestrator.field.search.minimising import Minimiser, Trial, heading, plain
from wsklab.orchestrator.scenario.scenario import Scenario

REASON = "WskDisconnectEvent: ABORTIVE is clear, expected set (frame 12)"

Fails = Callable[[list[dict[str, Any]]], bool]


def document(count: int, **more: object) -> dict[str, Any]:
    """Return a scenario of many steps that do nothing, and two that matter."""
    steps: list[dict[str, Any]] = [{"driver": {"connect": {}}}]
    steps += [{"peer": {"send": {"length": 1000 + n}}} for n in range(count)]
    steps += [{"peer": {"close": {"linger": 0}}}]
    steps += [{"lab": {"wait": {"seconds": 2.0}}}, {"driver": {"await": {"what": "disconnect"}}}]
    return {"name": "x", "title": "x", "steps": steps, "expect": {"wire": {"peer": ["rst"]}}, **more}


def matters(steps: list[dict[str, Any]]) -> bool:
    return {"driver": {"connect": {}}} in steps and {"peer": {"close": {"linger": 0}}} in steps


def searched(
    whole: dict[str, Any], fails: Fails, rate: float = 1.0, seed: int = 1, reasons: tuple[str, ...] = (REASON,)
) -> tuple[Minimiser, list[Trial]]:
    minimiser, trials, drawn = Minimiser(whole, "abortive is clear", 300), list[Trial](), random.Random(seed)
    while (scenario := minimiser.next()) is not None:
        steps = scenario.model_dump(by_alias=True, exclude_unset=True)["steps"]
        failed = fails(steps) and drawn.random() < rate
        trials.append(Trial(minimiser.case, "fail" if failed else "pass", reasons if failed else ()))
        minimiser.tell(trials[-1])
    return minimiser, trials


def test_only_what_matters_is_left() -> None:
    minimiser, trials = searched(document(40), matters)
    assert minimiser.smallest["steps"] == [{"driver": {"connect": {}}}, {"peer": {"close": {"linger": 0}}}]
    assert minimiser.done and str(minimiser.last) == "10 of 10"
    assert len(trials) < 250
    Scenario.model_validate(minimiser.smallest)


def test_a_failure_that_comes_one_time_in_twenty() -> None:
    minimiser, trials = searched(document(40), matters, rate=0.05)
    assert minimiser.smallest["steps"] == [{"driver": {"connect": {}}}, {"peer": {"close": {"linger": 0}}}]
    assert len(trials) < 8000
    assert "none of them can be left out" in heading(minimiser, ())


def test_a_case_that_has_lost_its_story_is_known_by_its_reasons_after_a_few_trials() -> None:
    """One that passes must be tried until a failure of one in twenty should have shown."""
    minimiser, drawn, lost = Minimiser(document(40), "abortive is clear", 300), random.Random(1), 0
    while (scenario := minimiser.next()) is not None:
        there = matters(scenario.model_dump(by_alias=True, exclude_unset=True)["steps"])
        lost += not there
        failed = there and drawn.random() < 0.05
        reasons = ("the peer should have sent RST",) if not there else (REASON,) if failed else ()
        minimiser.tell(Trial(minimiser.case, "fail" if reasons else "pass", reasons))
    assert len(minimiser.smallest["steps"]) == 2
    assert lost <= 3 * minimiser.cases


def test_another_reason_is_another_failure() -> None:
    """Without its close the scenario fails, too: the wire is not as it must be."""
    minimiser = Minimiser(document(3), "abortive is clear", 300)
    while (scenario := minimiser.next()) is not None:
        steps = scenario.model_dump(by_alias=True, exclude_unset=True)["steps"]
        reasons = (REASON,) if matters(steps) else (REASON, "the peer ended with nothing, expected RST")
        minimiser.tell(Trial(minimiser.case, "fail", reasons))
    assert matters(minimiser.smallest["steps"])


def test_what_never_fails_is_not_minimised() -> None:
    minimiser, trials = searched(document(3), lambda steps: False)
    assert not minimiser.found and len(trials) == 300
    assert minimiser.smallest == minimiser.document


def test_what_the_lab_spoils_counts_for_nothing() -> None:
    minimiser = Minimiser(document(2), "abortive is clear", 20)
    for _ in range(3):
        minimiser.tell(Trial(minimiser.case, "infra", ("the lab failed",)))
    assert minimiser.counts == {}
    assert minimiser.next() is not None


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 400), st.integers(1, 1000))
def test_a_search_is_resumed_by_its_trials(stop: int, seed: int) -> None:
    _, trials = searched(document(6), matters, rate=0.5, seed=seed)
    first = Minimiser(document(6), "abortive is clear", 300)
    for trial in trials[:stop]:
        first.tell(trial)
    again = Minimiser(document(6), "abortive is clear", 300)
    for trial in trials[:stop]:
        again.tell(trial)
    assert (first.case, first.smallest, first.counts) == (again.case, again.smallest, again.counts)


def test_trials_of_a_case_that_is_decided_change_nothing() -> None:
    minimiser = Minimiser(document(2), "abortive is clear", 300)
    case = minimiser.case
    minimiser.tell(Trial("another", "fail", (REASON,)))
    assert minimiser.case == case and not minimiser.found


@settings(max_examples=60, deadline=None)
@given(st.sets(st.integers(0, 12), min_size=1, max_size=4))
def test_nothing_single_can_be_left_out(needed: set[int]) -> None:
    whole = document(12)
    wanted = [whole["steps"][n] for n in needed]

    def fails(steps: list[dict[str, Any]]) -> bool:
        return all(step in steps for step in wanted)

    minimiser, _ = searched(whole, fails)
    assert minimiser.smallest["steps"] == [whole["steps"][n] for n in sorted(needed)]


def test_sizes_counts_and_times_become_small() -> None:
    whole = document(0)
    whole["steps"].insert(1, {"peer": {"send": {"length": 9000, "cork": True}}})

    def fails(steps: list[dict[str, Any]]) -> bool:
        sent = [step["peer"]["send"] for step in steps if "send" in step.get("peer", {})]
        waits = [step for step in steps if "wait" in step.get("lab", {})]
        return bool(sent and sent[0]["length"] >= 3 and waits)

    minimiser, _ = searched(whole, fails)
    assert minimiser.smallest["steps"] == [{"peer": {"send": {"length": 4}}}, {"lab": {"wait": {"seconds": 0}}}]


def test_a_conversation_goes_as_a_whole() -> None:
    """A send without its receive, or a receive without its send, is another story."""
    talk = [{"driver": {"send": {"length": 10}}}, {"peer": {"receive": {"length": 10}}}, {"lab": {"settle": {}}}] * 20
    whole = {**document(0), "steps": [*document(0)["steps"][:1], *talk, *document(0)["steps"][1:]]}

    def fails(steps: list[dict[str, Any]]) -> bool:
        sends, receives = (
            sum(word in step.get(who, {}) for step in steps) for who, word in (("driver", "send"), ("peer", "receive"))
        )
        return matters(steps) and receives <= sends

    minimiser, trials = searched(whole, fails)
    assert minimiser.smallest["steps"] == [{"driver": {"connect": {}}}, {"peer": {"close": {"linger": 0}}}]
    assert len(trials) < 40


def test_connections_become_one() -> None:
    whole = document(1, connections=8)
    whole["steps"].append({"peer": {"close": {}, "conn": 5}})
    whole["expect"]["disconnect"] = [{"abortive": "set", "conn": 5}]
    minimiser, _ = searched(whole, matters)
    assert minimiser.smallest["connections"] == 1
    assert minimiser.smallest["expect"]["disconnect"] == []


def test_the_same_key_for_the_same_document() -> None:
    assert smaller.key({"a": 1, "b": 2}) == smaller.key({"b": 2, "a": 1}) != smaller.key({"a": 1})


def test_reasons_without_their_numbers() -> None:
    assert plain("connection 3: it fails") == plain("it fails"), "a single connection has no number"
    assert plain("R5: frame 12, 0xc000020d") == plain("r5: frame 13, 0xC0000001") == "r#: frame #, #"


@pytest.mark.parametrize(("trials", "percent"), [(10, 25.9), (59, 5.0), (299, 1.0), (2995, 0.1)])
def test_the_bound_of_no_failure(trials: int, percent: float) -> None:
    assert chances.at_most(trials) * 100 == pytest.approx(percent, abs=0.1)
    assert chances.at_most(0) == 1.0


@pytest.mark.parametrize(("rate", "passes"), [(0.9, 2), (0.5, 5), (0.1, 28), (0.05, 58)])
def test_the_sequential_test_ends(rate: float, passes: int) -> None:
    test = chances.Sequential(rate)
    while test.decided is None:
        test.see(False)
    assert test.decided is False and abs(test.passed - passes) <= 2
    test = chances.Sequential(rate)
    test.see(True)
    assert test.decided is True
