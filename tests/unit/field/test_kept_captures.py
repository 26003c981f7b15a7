"""Captures that the lab has made, one for each ending and fault: named rightly, and with logs that fit or do not."""

from __future__ import annotations

import pytest
from support.kept_captures import WRONG_ON_PURPOSE, Kept, endings, right, twins

from wsklab.drivers.profile import load_profile
from wsklab.orchestrator.field.debug_text import contradictions, debugtext
from wsklab.orchestrator.field.endings.connections import read
from wsklab.orchestrator.field.scenarios import again
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


SAYS = {
    "aborts-instead": "asks for a graceful disconnect, the wire shows RST",
    "enables-late": "but the log tells of no end",
    "fails-to-enable": "the event could not be switched on",
    "forgets-disable": "has switched that event off",
    "ignores-flag": "reports WSK_FLAG_ABORTIVE clear, but the peer sent RST",
    "leaks-socket": "no line tells that a close was called",
    "loses-without-receive": "but the log tells of no end",
    "never-enables": "but the log tells of no end",
    "races-flag": "reports WSK_FLAG_ABORTIVE clear, but the peer sent RST",
    "repeats-event": "but the peer ended the connection once",
    "repeats-late": "but the peer ended the connection once",
    "sends-short": "a send of 4000 bytes (line 14) ended in success with 3999",
    "takes-first-buffer": "bytes received, the wire carried",
    "uses-after-close": "calls WSK for a socket that",
    "wrong-context": "but no connection of the capture fits",
}
"""What is said of each wrong build, where its fault shows in the log at all."""

SHOWS_NOTHING = {
    "forgets-disable/disable-in-callback-without-irp",
    "loses-without-receive/disable-then-enable",
    "loses-without-receive/shutdown-read",
    "never-enables/static-events-fin",
    "sends-short/disconnect-with-data",
}
"""Stories in which the fault of the twin is not met, or its log could be a right driver's."""


def test_twelve_wrong_builds_and_more_are_found_by_their_captures_and_logs_alone() -> None:
    found = {kept.name.split("/")[0] for kept in twins()}
    assert set(SAYS) == found and len(found) >= 12


@pytest.mark.parametrize("kept", twins(), ids=lambda kept: kept.name)
def test_a_wrong_builds_log_contradicts_what_it_must(kept: Kept) -> None:
    texts = said(kept)
    if kept.name in SHOWS_NOTHING:
        assert texts == []
    else:
        assert any(SAYS[kept.name.split("/")[0]] in text for text in texts), texts
