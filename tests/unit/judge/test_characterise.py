"""Characterisation: behaviour is recorded and compared, never judged."""

from __future__ import annotations

import yaml
from support.recorded import RESET, Recording

from wsklab.orchestrator.judge import characterise
from wsklab.orchestrator.judge.judge import judge
from wsklab.orchestrator.observe.lab_notes import Behaviour, KnownBehaviour
from wsklab.orchestrator.scenario.catalogue import built_in
from wsklab.orchestrator.scenario.scenario import Scenario
from wsklab.orchestrator.scenario.yaml_source import parse

STORY = """
name: reset-before-enable
title: X
steps: [{driver: {connect: peer}}]
expect: {wire: {peer: rst}, characterise: true}
"""


def seen(*flags: int) -> Behaviour:
    recording = Recording().opened().step("driver", "receive", ops=[3]).frame("peer", "RA")
    for flag in flags:
        recording.disconnect(flag)
    judgement = judge(parse(STORY, Scenario, "x"), recording.done("receive", 3, RESET).ended())
    assert judgement.verdict == "pass", judgement.reasons
    return characterise.behaviour(judgement.observed)


def test_whatever_number_of_events_passes_and_is_recorded() -> None:
    assert seen() == {"disconnects": [], "receives": ["c000020d 0"], "sends": [], "driver": [""]}
    assert seen(0, 1)["disconnects"] == ["00000000", "00000001"]


def test_a_change_is_a_finding_that_names_both() -> None:
    known = yaml.safe_load(characterise.document({"x": seen(1)}))["x"]
    assert characterise.compare("x", seen(1), known) == []
    assert characterise.compare("x", seen(), known) == ["x: disconnects none, recorded before 00000001"]
    assert characterise.compare("x", seen(), None)[0].startswith("x has not been characterised on this target before")


def test_what_races_may_have_more_than_one_record() -> None:
    known: KnownBehaviour = {**seen(1), "or": [{"disconnects": []}]}
    assert characterise.compare("x", seen(1), known) == characterise.compare("x", seen(), known) == []
    assert characterise.compare("x", seen(0), known) == ["x: disconnects 00000000, recorded before 00000001"]


def test_the_stand_in_is_characterised_for_every_scenario_that_asks_for_it() -> None:
    asked = {s.name for s in built_in() if s.expect.characterise}
    assert set(characterise.recorded("standin")) == asked
    assert characterise.recorded("windows-none") == {}
