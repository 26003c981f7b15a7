"""`wsklab bench history`: what it measures, with and without a browser."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from wsklab.orchestrator.commands.cli import main
from wsklab.orchestrator.errors import LabError, UsageError
from wsklab.orchestrator.history import bench
from wsklab.orchestrator.results import chromium


def test_rows_questions_and_the_site_are_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chromium, "program", lambda: None)
    words = ["bench", "history", "--rows", "2000", "--history", str(tmp_path / "h.sqlite")]
    result = CliRunner().invoke(main, [*words, "--json"])
    told = json.loads(result.output)
    assert (told["rows"], told["opened_ms"]) == (2000, None)
    assert all(told[f"{what}_ms"] > 0 for what in ("row", "scenario", "grid", "runs", "site"))
    again = CliRunner().invoke(main, words)
    assert isinstance(again.exception, UsageError)
    assert "holds runs already" in str(again.exception)


def test_a_browser_that_is_not_there_is_said_to_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chromium, "program", lambda: None)
    assert (
        "opening it in Chromium     (not installed)"
        in CliRunner().invoke(main, ["bench", "history", "--rows", "1000"]).output
    )


def test_the_page_says_when_its_grid_was_drawn() -> None:
    assert bench.drawn('<!DOCTYPE html><html lang="en" data-drawn="248"><head>') == 248.0
    with pytest.raises(LabError, match="did not draw the site"):
        bench.drawn('<html lang="en"><head>')
