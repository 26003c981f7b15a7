"""Which method of which actor a step calls: the one of its verb, with its arguments."""

from __future__ import annotations

from typing import Any, cast

import pytest

from wsklab.orchestrator.errors import StepError
from wsklab.orchestrator.play.actors import Actors, act
from wsklab.orchestrator.scenario.steps import DriverStep, LabStep, PeerStep, Step, WireStep


class Anybody:
    """An actor that notes what it is told."""

    def __init__(self, name: str, told: list[tuple[str, str, object]]) -> None:
        self._name = name
        self._told = told

    def __getattr__(self, verb: str) -> Any:
        def note(step: Step, args: object) -> list[int]:
            self._told.append((self._name, verb, args))
            return [7]

        return note


def actors(told: list[tuple[str, str, object]], steered: bool = True) -> Actors:
    driver, peer, wire, lab = (cast(Any, Anybody(name, told)) for name in ("driver", "peer", "wire", "lab"))
    return Actors(driver, driver if steered else None, peer, wire, lab)


VERBS = [
    (kind, name, verb)
    for kind, name in ((DriverStep, "driver"), (PeerStep, "peer"), (WireStep, "wire"), (LabStep, "lab"))
    for verb in kind.model_fields
    if verb not in kind.options
]


@pytest.mark.parametrize(("kind", "name", "verb"), VERBS)
def test_every_verb_is_carried_out_by_the_method_of_its_name(kind: type[Step], name: str, verb: str) -> None:
    told: list[tuple[str, str, object]] = []
    args = object()
    fields: dict[str, Any] = {verb: args}
    act(actors(told), kind.model_construct(**fields))
    assert told == [(name, verb, args)]


def test_the_operations_of_the_driver_are_handed_on() -> None:
    assert act(actors([]), DriverStep.model_validate({"send": 4})) == [7]


def test_a_driver_that_cannot_be_steered_connects_and_waits_and_nothing_else() -> None:
    told: list[tuple[str, str, object]] = []
    act(actors(told, steered=False), DriverStep.model_validate("connect"))
    act(actors(told, steered=False), DriverStep.model_validate({"await": "disconnect"}))
    assert [verb for _, verb, _ in told] == ["connect", "await_"]
    with pytest.raises(StepError, match="cannot be steered"):
        act(actors(told, steered=False), DriverStep.model_validate("close"))
