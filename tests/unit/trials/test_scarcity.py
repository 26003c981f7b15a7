"""Each allocation fails once: which trials there are, when they end, and how the driver is judged in them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.recorded import Recording
from support.rows import result

from wsklab.drivers.scarcity import parse_scarce_line
from wsklab.orchestrator.judge.judge import judge
from wsklab.orchestrator.judge.survival import FAILED
from wsklab.orchestrator.results.results import ScenarioResult
from wsklab.orchestrator.scenario import catalogue
from wsklab.orchestrator.scenario.scenario import Scenario
from wsklab.orchestrator.trials.scarcity import PROVIDERS, Shortages, loads_itself, short_of, with_provider

NAMED = {scenario.name: scenario for scenario in catalogue.built_in()}
RESET, LOAD = NAMED["linger-zero"], NAMED["driver-load"]


def came_to(scenario: Scenario, verdict: str = "pass", failed: bool = True) -> ScenarioResult:
    """Return the row of a trial in which an allocation failed, or none."""
    findings = (f"{FAILED} number 1: IoAllocateIrp",) if failed else ()
    return replace(result(scenario.name, verdict), findings=findings)


def played(trials: Shortages, allocations: int) -> list[str]:
    """Return the names of all trials of a driver that makes so many allocations."""
    names = []
    while (trial := trials.next()) is not None:
        names.append(trial.name)
        failing = trial.socket.fails or 0
        trials.tell(came_to(trial, failed=0 < failing <= allocations))
    return names


def test_the_line_of_an_allocation_that_fails() -> None:
    found = parse_scarce_line("0134:warn: WSKSCARCE n=0000000c call=IoAllocateIrp at=my.sys+0x1a20\r\n")
    assert found is not None
    assert (found.number, found.routine, found.at) == (12, "IoAllocateIrp", "my.sys+0x1a20")
    assert parse_scarce_line("WSKSCARCE n=0000000c call=IoAlloc") is None


def test_trials_go_on_until_nothing_fails_any_more() -> None:
    trials = Shortages([RESET], lambda scenario: False)
    assert played(trials, 3) == ["linger-zero", *(f"linger-zero-fails-{n}" for n in range(1, 5))]
    assert trials.summary == {"linger-zero": 3}


def test_a_driver_that_is_loaded_meets_other_providers_too() -> None:
    assert loads_itself(LOAD)
    assert not loads_itself(RESET)
    names = played(Shortages([LOAD], loads_itself), 0)
    assert names == ["driver-load", "driver-load-fails-1", *(f"driver-load-provider-{p}" for p in PROVIDERS)]


def test_the_trial_in_which_nothing_failed_is_no_row() -> None:
    trials = Shortages([RESET], lambda scenario: False)
    first, second = trials.next(), trials.next()
    assert first is not None
    assert second is not None
    assert trials.tell(came_to(first, failed=False))
    assert trials.tell(came_to(second))
    third = trials.next()
    assert third is not None
    assert not trials.tell(came_to(third, failed=False))
    assert trials.next() is None


def test_what_does_not_pass_as_it_is_is_not_tried() -> None:
    trials = Shortages([LOAD], loads_itself)
    first = trials.next()
    assert first is not None
    assert trials.tell(came_to(first, "fail", failed=False))
    assert trials.next() is None


def test_a_trial_expects_nothing_and_may_be_played_alone() -> None:
    trial = short_of(RESET, 7)
    assert trial.socket.fails == 7
    assert trial.expect.disconnect == []
    assert trial.covers == []
    assert Scenario.model_validate(trial.model_dump(mode="json", by_alias=True, exclude_unset=True)) == trial
    late = with_provider(LOAD, "late")
    assert late.expect == LOAD.expect
    assert with_provider(LOAD, "absent").expect.disconnect == []


def recording() -> Recording:
    """Return what is observed of a driver that is opened in a trial whose 3rd allocation fails."""
    made = Recording().opened()
    return made.add("driver", "scarce", None, number=3, routine="IoAllocateIrp", at="my.sys+0x10")


@pytest.mark.parametrize("leaks", [False, True])
def test_a_driver_has_to_survive_and_nothing_else(leaks: bool) -> None:
    found = judge(short_of(RESET, 3), recording().ended(allocs=int(leaks)))
    assert found.verdict == ("fail" if leaks else "pass"), found.reasons
    assert found.reasons == (("the driver leaks: 1 allocs left after everything was closed",) if leaks else ())
    assert found.remarks == (f"{FAILED} number 3: IoAllocateIrp, called at my.sys+0x10",)


def test_a_rule_that_it_breaks_is_its_fault_all_the_same() -> None:
    broken = recording().add("driver", "rule", None, rule="R54", text="WskRelease of a list that is not retained")
    found = judge(short_of(RESET, 3), broken.ended())
    assert found.verdict == "fail"
    assert found.reasons[0].startswith("the driver breaks R54")
