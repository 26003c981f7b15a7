"""A command that the driver refuses before any WSK call: over at once, with its status, and expected or not."""

from __future__ import annotations

import itertools
import random
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest
from support.recorded import observed

from wsklab.drivers import protocol
from wsklab.drivers.protocol import Command, Op
from wsklab.orchestrator.errors import LabError, StepError
from wsklab.orchestrator.lab.target import Target
from wsklab.orchestrator.observe.journal import Journal
from wsklab.orchestrator.play.context import PlayContext
from wsklab.orchestrator.play.driver_steps import DriverSteps
from wsklab.orchestrator.scenario import steps
from wsklab.orchestrator.scenario.scenario import Scenario
from wsklab.orchestrator.scenario.yaml_source import parse

CLOSED, GONE, PENDING = 0xC0000225, 0xC0000184, 0x103
SCENARIO = parse("name: refused\ntitle: Refused\nsteps: [driver: connect]\n", Scenario, "test")


class FakeTarget:
    """A driver of which every socket is closed: it refuses, or (`calls`) its calls fail and complete with an error."""

    def __init__(self, journal: Journal, calls: bool) -> None:
        self._journal, self._calls, self._ids = journal, calls, itertools.count(1)

    def connection(self, number: int) -> int:
        return number

    def operations(self, count: int = 1) -> range:
        first = next(self._ids)
        return range(first, first + count)

    def command(self, *commands: Command) -> list[int]:
        for command in commands:
            for number in range(command.id, command.id + (command.count or 1)):
                if self._calls:
                    self._say("call", op=command.op.name.lower(), id=number, ret=GONE)
                    self._say("done", op=command.op.name.lower(), id=number, status=GONE, length=0)
                else:
                    self._say("refused", op=command.op.name.lower(), id=number, status=CLOSED)
        return [GONE if self._calls else CLOSED for _ in commands]

    def _say(self, kind: str, **data: object) -> None:
        self._journal.add(observed(time.time_ns(), "driver", kind, 0, seq=1, **data))


def driver(calls: bool = False) -> DriverSteps:
    journal = Journal()
    lab = SimpleNamespace(journal=journal, slowness=1.0, foreign=None, target=FakeTarget(journal, calls))
    return DriverSteps(PlayContext(cast(Any, lab), SCENARIO, cast(Any, None), random.Random(1)))


def do(actor: DriverSteps, words: dict[str, object]) -> Any:
    step = steps.DriverStep.model_validate(words)
    return getattr(actor, step.verb)(step, step.arguments)


@pytest.mark.parametrize(
    "words",
    [
        {"send": 4},
        {"send": {"length": 4, "count": 3}},
        {"send": {"length": 4, "wait": False}},
        {"receive": 2},
        {"close": {}},
        {"disconnect": "abortive"},
        {"enable": ["disconnect"]},
        {"callback": {"receive": "accept"}},
        {"release": {}},
        {"silent": {}},
    ],
    ids=str,
)
def test_a_refusal_that_nobody_expects_ends_the_step_at_once_with_its_status(words: dict[str, object]) -> None:
    with pytest.raises(StepError, match="was refused with c0000225 before any call"):
        do(driver(), words)
    with pytest.raises(StepError, match="was refused with c0000225 before any call"):
        do(driver(), words | {"expect": "success"})


@pytest.mark.parametrize("expect", ["failure", "any", "c0000225"])
@pytest.mark.parametrize("words", [{"send": {"length": 4, "count": 2}}, {"receive": 1}, {"close": {}}], ids=str)
def test_a_refusal_that_is_expected_is_over_at_once(words: dict[str, object], expect: str) -> None:
    assert do(driver(), words | {"expect": expect})


def test_a_call_that_fails_is_none() -> None:
    assert list(do(driver(calls=True), {"send": 4, "expect": "success"})) == [1], "the judge says what is wrong with it"


class FakeAgent:
    def __init__(self, answer: bytes) -> None:
        self.answer = answer

    def ioctl(self, *words: object) -> bytes:
        return self.answer


@pytest.mark.parametrize(
    ("answer", "says"),
    [(b"", "gives 0 statuses for 1 commands"), (b"\x59\0\0\xc0", "another version of the protocol")],
)
def test_an_answer_that_is_none_is_refused(answer: bytes, says: str) -> None:
    target = Target.__new__(Target)
    target.journal = Journal()
    target.agent = cast(Any, FakeAgent(answer))
    with pytest.raises(LabError, match=says):
        target.command(Command(Op.CANARY))
    target.agent = cast(Any, FakeAgent(protocol.REVISION_MISMATCH.to_bytes(4, "little").replace(b"\x59", b"\x25")))
    assert target.command(Command(Op.CANARY)) == [0xC0000025]
