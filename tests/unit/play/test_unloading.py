"""A driver that is unloaded in the middle of a scenario, without a lab."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from wsklab.orchestrator.guest.agent import AgentError, AgentSilent
from wsklab.orchestrator.liveness.crash import TIMED_OUT
from wsklab.orchestrator.observe.base import data_of
from wsklab.orchestrator.observe.lab_notes import LabNote, RingRecord
from wsklab.orchestrator.play import unloading
from wsklab.orchestrator.play.context import PlayContext


def context(unload: Exception | None, done: list[str]) -> PlayContext:
    def stop(timeout: float) -> None:
        done.append("unload")
        if unload is not None:
            raise unload

    def ring(first: int) -> tuple[list[RingRecord], int]:
        return [RingRecord(first, "x")], first

    lab = SimpleNamespace(
        slowness=1.0, target=SimpleNamespace(ring=ring, unload=stop), reload=lambda: done.append("load")
    )

    def note(note: LabNote) -> None:
        done.append(f"{note.kind} {data_of(note)}")

    return cast(PlayContext, SimpleNamespace(lab=lab, first_line=17, note=note))


def test_the_ring_is_taken_before_and_the_lines_begin_anew_after() -> None:
    done: list[str] = []
    made = context(None, done)
    unloading.in_story(made)
    assert done == ["ring {'first': 17, 'last': 17, 'records': (RingRecord(seq=17, text='x'),)}", "unload", "load"]
    assert made.first_line == 1


@pytest.mark.parametrize("error", [AgentSilent("no answer"), TimeoutError(), AgentError("Win32 error 1053", 1053)])
def test_a_driver_that_stays_is_said_to_hang_in_its_unload(error: Exception) -> None:
    done: list[str] = []
    with pytest.raises(AgentError, match="the driver does not unload: its service was told to stop") as raised:
        unloading.in_story(context(error, done))
    assert raised.value.code in TIMED_OUT
    assert "load" not in done


def test_a_refusal_to_stop_keeps_its_own_words_and_code() -> None:
    with pytest.raises(AgentError, match="the driver does not unload: 1052") as raised:
        unloading.in_story(context(AgentError("1052", 1052), []))
    assert raised.value.code == 1052
