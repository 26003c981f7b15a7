"""Captures that the lab has made, one for each ending and fault: named rightly, and with logs that fit or do not."""

from __future__ import annotations

import pytest
from support.kept_captures import WRONG_ON_PURPOSE, Kept, endings, right

from wsklab.drivers.profile import load_profile
from wsklab.orchestrator.field import again, contradictions, debugtext
from wsklab.orchestrator.field.connections import read
from wsklab.orchestrator.scenario import yaml_source
from wsklab.orchestrator.scenario.scenario import Scenario

RIGHT = {kept.name: kept for kept in right()}


def said(kept: Kept) -> list[str]:
    seen = read(kept.capture).connections
    told = debugtext.read_log(kept.log, load_profile("wsklab"))
    return [text for _, text in contradictions.contradictions(told, debugtext.beside(told, seen), seen)]


def test_there_is_one_for_most_endings_of_the_table() -> None:
    rows = {row for found in endings().values() for row in found}
    assert len(endings()) >= 70 and len(rows) >= 55, sorted(rows)


@pytest.mark.parametrize("name", endings())
def test_the_ending_is_named(name: str) -> None:
    named = {n.number for one in read(RIGHT[name].capture).connections for n in (*one.ending.named, *one.ending.way)}
    assert set(endings()[name]) <= named


@pytest.mark.parametrize("name", [name for name in endings() if len(read(RIGHT[name].capture).connections) == 1])
def test_a_scenario_is_made_of_it(name: str) -> None:
    (one,) = read(RIGHT[name].capture).connections
    yaml_source.parse(again.scenario(one, name), Scenario, name)


@pytest.mark.parametrize("kept", right(), ids=lambda kept: kept.name)
def test_a_right_drivers_log_contradicts_nothing(kept: Kept) -> None:
    known = WRONG_ON_PURPOSE.get(kept.name)
    assert [text for text in said(kept) if known is None or known not in text] == []
