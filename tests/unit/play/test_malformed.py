"""Malformed requests to the lab's own driver: what is asked of it, and what is noted of its answers."""

from __future__ import annotations

import itertools
import math
import random
import re
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from support.recorded import observed

from wsklab.drivers import malformed, protocol
from wsklab.drivers.malformed import Malformed
from wsklab.orchestrator.errors import StepError
from wsklab.orchestrator.guest.agent import AgentError, AgentSilent
from wsklab.orchestrator.observe.journal import Journal
from wsklab.orchestrator.observe.lab_notes import MalformedSent
from wsklab.orchestrator.play.context import PlayContext
from wsklab.orchestrator.play.driver_steps import DriverSteps
from wsklab.orchestrator.scenario import steps
from wsklab.orchestrator.scenario.scenario import Scenario
from wsklab.orchestrator.scenario.yaml_source import parse

SCENARIO = parse("name: malformed\ntitle: Malformed\nsteps: [driver: connect]\n", Scenario, "test")
FIRST, CONNECTION = 9, 5


class PlayedDriver:
    """A target whose driver answers each request as `answers` has it; by its number in `wrong`, otherwise."""

    def __init__(self, journal: Journal, wrong: dict[int, Any], silent: bool = False) -> None:
        self._journal, self._wrong, self._silent = journal, wrong, silent
        self._requests = iter(enumerate(malformed.requests(CONNECTION, FIRST)))
        self.agent = self

    def connection(self, number: int) -> int:
        return CONNECTION

    def operations(self, count: int) -> range:
        return range(FIRST, FIRST + count)

    def ioctl(self, device: str, code: int, data: bytes, out: int) -> bytes:
        number, request = next(self._requests)
        assert (device, code, data, out) == (protocol.DEVICE, request.code, request.data, request.room)
        answer = self._wrong.get(number, request)
        if isinstance(answer, Exception):
            raise answer
        for line in answer.refused:
            text = f"WSKLAB1 seq=00000001 t=0000000000000001 conn={line.conn} ev=refused"
            words = {"op": line.op, "id": line.id, "status": line.status, "text": text}
            self._journal.add(observed(time.time_ns(), "driver", "refused", None, seq=1, **words))
        if answer.error:
            raise AgentError("refused", answer.error)
        return b"".join(status.to_bytes(4, "little") for status in answer.statuses)

    def canary(self, deadline: float) -> int | None:
        return None if self._silent else 1


def sent(wrong: dict[int, Any], silent: bool = False) -> list[MalformedSent]:
    journal = Journal()
    target = PlayedDriver(journal, wrong, silent)
    lab = SimpleNamespace(journal=journal, slowness=1.0, foreign=None, target=target)
    context = PlayContext(cast(Any, lab), SCENARIO, cast(Any, None), random.Random(1))
    step = steps.DriverStep.model_validate({"malformed": {}})
    assert step.malformed is not None
    DriverSteps(context).malformed(step, step.malformed)
    return [note for note in journal.since(0) if isinstance(note, MalformedSent)]


def test_a_driver_that_keeps_to_its_protocol_has_answered_as_it_must() -> None:
    notes = sent({})
    assert len(notes) == len(list(malformed.requests(CONNECTION, FIRST)))
    assert all(note.answered == note.wanted and note.printed == note.wanted_lines for note in notes)


def test_each_answer_and_each_line_is_noted() -> None:
    done = Malformed("", 0, b"", 0)
    everything = {number: done for number, _ in enumerate(malformed.requests(CONNECTION, FIRST))}
    notes = sent(everything)
    assert all((note.answered, note.printed) == ("no status", "none") for note in notes)
    assert all((note.wanted, note.wanted_lines) != ("no status", "none") for note in notes)


def test_a_refusal_on_another_connection_is_not_the_right_one() -> None:
    moved = {
        number: replace(request, refused=tuple(replace(line, conn=77) for line in request.refused))
        for number, request in enumerate(malformed.requests(CONNECTION, FIRST))
    }
    notes = [note for note in sent(moved) if note.wanted_lines != "none"]
    assert notes and all("of another connection" in note.printed for note in notes)


def test_a_driver_that_falls_silent_is_not_one_that_answers_wrongly() -> None:
    with pytest.raises(AgentSilent):
        sent({0: AgentSilent("no answer")})
    with pytest.raises(StepError, match="a code that there is not did not come"):
        sent({}, silent=True)


def test_no_request_is_one_that_a_right_program_sends() -> None:
    for request, other in itertools.combinations(malformed.requests(CONNECTION, FIRST), 2):
        assert request != other
    commands = [r for r in malformed.requests(CONNECTION, FIRST) if r.code == protocol.IOCTL_COMMAND and not r.error]
    assert all(r.statuses or r.refused for r in commands), "what is taken is at least refused"


def test_the_longest_transfer_is_the_drivers() -> None:
    header = (Path(malformed.__file__).parent / "wsklab" / "wsklab.h").read_text(encoding="utf-8")
    (factors,) = re.findall(r"^#define MAX_LENGTH \((.*)\)$", header, re.MULTILINE)
    assert math.prod(int(factor.rstrip("u")) for factor in factors.split(" * ")) == malformed.MAX_LENGTH
