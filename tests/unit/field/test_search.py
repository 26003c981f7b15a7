"""The search around a scenario: what is varied, what is not, and when it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st
from support.trying import Played, play_with

from wsklab.orchestrator.commands.run import command
from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.field.search.search import SPOILT, Search
from wsklab.orchestrator.field.search.smaller import Document, valid
from wsklab.orchestrator.field.search.vary import varied
from wsklab.orchestrator.run.evidence import as_document
from wsklab.orchestrator.scenario import catalogue
from wsklab.orchestrator.scenario.scenario import Scenario, load

BUILT_IN = [as_document(scenario) for scenario in catalogue.built_in()]

TALK: Document = {
    "name": "talk",
    "title": "x",
    "tags": ["field"],
    "steps": [
        {"driver": {"connect": {}}},
        {"driver": {"receive": {"count": 2}}},
        {"peer": {"send": {"length": 100}}},
        {"driver": {"send": {"length": 10}}},
        {"lab": {"wait": {"seconds": 1.0}}},
        {"peer": {"close": {}}},
        {"driver": {"await": {"what": "disconnect"}}},
    ],
    "expect": {"wire": {"peer": ["fin"]}, "disconnect": [{"abortive": "clear"}]},
}


def carried(document: Document, actor: str) -> dict[int, int]:
    """Return the bytes that one side sends on each connection."""
    sent: dict[int, int] = {}
    for step in document["steps"]:
        options = step.get(actor, {})
        if "send" in options:
            conn = options.get("conn", 0)
            sent[conn] = sent.get(conn, 0) + options["send"]["length"]
    return sent


@settings(max_examples=200, deadline=None)
@given(st.integers())
def test_a_variation_is_the_same_story(seed: int) -> None:
    other, words = varied(TALK, str(seed))
    assert words, "this one can always be varied"
    assert valid(other) is not None
    assert set(carried(other, "peer").values()) == {100} and set(carried(other, "driver").values()) == {10}
    assert other["expect"] == TALK["expect"]
    assert (other, words) == varied(TALK, str(seed)), "drawn from the seed alone"
    assert len(carried(other, "peer")) == other.get("connections", 1)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(BUILT_IN), st.integers())
def test_every_scenario_can_be_varied_or_is_left_alone(document: Document, seed: int) -> None:
    before = json.dumps(document)
    other, _ = varied(document, str(seed))
    assert valid(other) is not None
    assert json.dumps(document) == before


def test_all_dimensions_are_drawn() -> None:
    words = " ".join(word for seed in range(60) for word in varied(TALK, str(seed))[1])
    for part in ("waits", "s before step", "bytes, then", "receives more", "s late", "other order", "connections"):
        assert part in words


def test_every_other_trial_is_as_it_was_written() -> None:
    search = Search([(TALK, True)], 6, 1)
    tries = [found[0] for _ in range(6) if (found := search.next()) is not None]
    assert [bool(one.varied) for one in tries] == [False, True] * 3
    assert len({one.seed for one in tries}) == 6
    assert search.next() is None


def test_a_lab_that_spoils_all_ends_the_search() -> None:
    search = Search([(TALK, False)], 100, 1)
    count = 0
    while (found := search.next()) is not None:
        search.tell(found[0], "infra")
        count += 1
    assert count == SPOILT and "10 more were spoilt" in search.proves


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(command, [str(word) for word in words])


def test_none_of_them_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    played = play_with(monkeypatch, lambda scenario: ("pass", ()))
    result = run("linger-zero", "--until-fail", "59", "--out", tmp_path / "s")
    assert result.exit_code == 0 and len(played) == 59
    assert "Does not reproduce: failed in 0 of 59 trials: at 95 % it fails in at most 4.95% of" in result.output
    assert len((tmp_path / "s" / "trials.jsonl").read_text().splitlines()) == 59
    assert not list((tmp_path / "s" / "evidence").iterdir())


def test_the_trial_that_fails_is_a_scenario(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(scenario: Scenario) -> Played:
        return ("fail", ("it hangs",)) if scenario.connections > 1 else ("pass", ())

    played = play_with(monkeypatch, fails)
    (tmp_path / "talk.yaml").write_text(json.dumps(TALK))
    result = run("--until-fail", "500", tmp_path / "talk.yaml", "--out", tmp_path / "s")
    assert result.exit_code == 1, result.output
    assert f"Trial {len(played)} failed (" in result.output and "connections" in result.output
    assert fails(load(tmp_path / "s" / "failing.yaml")) == ("fail", ("it hangs",))
    last = json.loads((tmp_path / "s" / "trials.jsonl").read_text().splitlines()[-1])
    assert last["verdict"] == "fail" and last["varied"]


def test_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    play_with(monkeypatch, lambda scenario: ("fail", ("no",)))
    document = json.loads(run("linger-zero", "--until-fail", "5", "--json", "--out", tmp_path / "s").output)
    assert document["failed"] and document["trial"]["number"] == 1 and document["reasons"] == ["no"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["linger-zero", "--vary"], "--vary goes with --until-fail N"),
        (["linger-zero", "--until-fail", "5", "--repeat", "2"], "goes with scenarios and the lab's options"),
    ],
)
def test_what_does_not_go_together_is_said(words: list[str], says: str) -> None:
    error = run(*words).exception
    assert isinstance(error, UsageError) and says in str(error)
