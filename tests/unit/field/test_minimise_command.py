"""`wsklab minimise` as a user runs it, in labs that are only simulated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.trying import Played, play_with

from wsklab.orchestrator.commands.minimise import command
from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.scenario.scenario import Scenario, load

KEEP = "ABORTIVE is clear"
REASON = "WskDisconnectEvent (R5): WSK_FLAG_ABORTIVE is clear, expected set"


def fails_at_reset(scenario: Scenario) -> Played:
    if any(a.peer is not None and a.peer.close is not None for a in scenario.steps):
        return "fail", (REASON,)
    return "pass", ()


def minimise(*words: str | Path) -> Result:
    return CliRunner().invoke(command, [str(word) for word in words])


def test_the_result_is_small_and_says_how_often_it_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    play_with(monkeypatch, fails_at_reset)
    result = minimise("linger-zero", "--keep", KEEP, "--out", tmp_path / "m")
    assert result.exit_code == 0, result.output
    assert "of the last 10 trials 10 failed in the same way" in result.output
    evidence = Path(result.output.rpartition("wsklab bundle ")[2].strip())
    assert evidence.is_dir(), "what it says to bundle is there"
    text = (tmp_path / "m" / "minimal.yaml").read_text()
    assert "# It failed so in 10 of 10 last trials" in text
    small = load(tmp_path / "m" / "minimal.yaml")
    assert [str(action) for action in small.steps] == ["peer: close"]


def test_it_is_stopped_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "m"
    play_with(monkeypatch, fails_at_reset, stops_after=9)
    assert (
        "Go on with: wsklab minimise linger-zero --resume"
        in minimise("linger-zero", "--keep", KEEP, "--out", out).output
    )
    with (out / "trials.jsonl").open("a") as file:
        file.write('{"case": "cut')
    played = play_with(monkeypatch, fails_at_reset)
    again = minimise("linger-zero", "--resume", "--out", out)
    assert "9 trials are known from before" in again.output
    assert again.exit_code == 0
    whole = play_with(monkeypatch, fails_at_reset)
    minimise("linger-zero", "--keep", KEEP, "--out", tmp_path / "whole")
    assert len(played) + 9 == len(whole), "no trial is made twice"


def test_a_scenario_that_does_not_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    play_with(monkeypatch, lambda scenario: ("pass", ()))
    result = minimise("linger-zero", "--keep", KEEP, "--most", "59", "--out", tmp_path / "m")
    assert result.exit_code == 3
    assert "was not seen: failed in 0 of 59 trials: at 95 % it fails in at most 4.95% of such trials" in result.output


def test_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    play_with(monkeypatch, fails_at_reset)
    document = json.loads(minimise("linger-zero", "--keep", KEEP, "--json", "--out", tmp_path / "m").output)
    assert document["failed"] and document["steps"] == 1 and document["last"] == {"failed": 10, "trials": 10}


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["linger-zero"], "say which reason must stay"),
        (["C05", "core", "--keep", "x"], ""),
        (["linger-zero", "--resume"], "name it with --out DIR"),
        (["linger-zero", "--resume", "--out", "nothing"], "holds nothing to go on with"),
    ],
)
def test_what_cannot_be_done_is_said(words: list[str], says: str) -> None:
    error = minimise(*words)
    assert error.exit_code != 0
    if says:
        assert isinstance(error.exception, UsageError) and says in str(error.exception)


def test_another_driver_is_not_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    play_with(monkeypatch, fails_at_reset)
    minimise("linger-zero", "--keep", KEEP, "--out", tmp_path / "m")
    error = minimise("linger-zero", "--resume", "--twin", "fin-as-abort", "--out", tmp_path / "m").exception
    assert isinstance(error, UsageError) and "was begun with the driver wsklab" in str(error)
