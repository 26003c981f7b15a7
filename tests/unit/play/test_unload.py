"""The unload: what the provider and the driver have said meanwhile names why it does not end."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from wsklab.orchestrator.guest.agent import AgentError, AgentSilent
from wsklab.orchestrator.observe.driver_lines import BrokenRule, Unload, Waiting
from wsklab.orchestrator.observe.journal import Journal
from wsklab.orchestrator.observe.observation import Observation
from wsklab.orchestrator.play.player import unload

RULE = BrokenRule(t=1, rule="R80", text="WskDeregister waits: sockets=1")
WAITING = Waiting(t=2, seq=1, text="", sockets=2, irps=1, indications=0)
LAST = Unload(t=4, seq=2, text="", sockets=0, irps=0, indications=0)


def lab(*said: Observation, error: Exception | None = None) -> Any:
    journal = Journal()

    def stop(timeout: float) -> Observation:
        for observation in said:
            journal.add(observation)
        if error is not None:
            raise error
        return LAST

    return cast(Any, SimpleNamespace(journal=journal, slowness=1.0, foreign=None, target=SimpleNamespace(unload=stop)))


def test_a_clean_unload_passes() -> None:
    assert unload(lab()) == ("pass", [])


@pytest.mark.parametrize(
    ("error", "then"),
    [
        (
            AgentError("stop wsklab: it does not end (Win32 error 1053)", 1053),
            "the driver does not unload: stop wsklab",
        ),
        (AgentSilent("no answer"), "the driver does not unload: its service was told to stop"),
        (TimeoutError(), "the driver does not unload: its service was told to stop"),
    ],
)
def test_the_rule_that_is_broken_comes_before_the_time_that_is_over(error: Exception, then: str) -> None:
    verdict, reasons = unload(lab(RULE, RULE, WAITING, error=error))
    assert verdict == "fail"
    assert reasons[:2] == [
        "the driver breaks R80 at unload: WskDeregister waits: sockets=1",
        "the driver waits in its unload for 2 sockets, 1 irps (R80)",
    ]
    assert reasons[2].startswith(then)


def test_a_driver_that_goes_without_deregistration_fails() -> None:
    said = "the driver was unloaded without WskDeregister"
    rule = BrokenRule(t=5, rule="R82", text=said)
    assert unload(lab(rule)) == ("fail", [f"the driver breaks R82 at unload: {said}"])
