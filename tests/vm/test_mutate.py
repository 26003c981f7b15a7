"""Mutants in a real lab: one that is a fault of the ending is caught by it, with evidence, and the run can go on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.command import wsklab

pytestmark = pytest.mark.vm


def mutate(folder: Path, *words: str) -> dict[str, Any]:
    done = wsklab("mutate", "linger-zero", "--file", "events.c", "--operator", "flip-flag", *words)
    assert done.code in (0, 1), done.stdout + done.stderr
    document: dict[str, Any] = json.loads((folder / "mutants.json").read_text())
    return document


def test_the_flag_read_wrongly_is_caught_and_a_run_goes_on_where_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    one = mutate(folder, "--sample", "1", "--out", str(folder))
    assert one["totals"]["all"] == 1
    two = mutate(folder, "--sample", "2", "--resume", str(folder))
    assert two["mutants"][:1] == one["mutants"]
    assert [m["operator"] for m in two["mutants"]] == ["flip-flag"] * 2
    caught = [m for m in two["mutants"] if m["result"] == "caught"]
    assert caught, "linger-zero sees the abortive flag"
    assert all((folder / "mutants" / m["id"] / "evidence").is_dir() for m in caught)
    outcomes = folder / "mutants.jsonl"
    outcomes.write_text(outcomes.read_text().replace('"result": "caught"', '"result": "survived"'))
    again = mutate(folder, "--sample", "2", "--resume", str(folder), "--again")
    assert [(m["id"], m["result"]) for m in again["mutants"]] == [(m["id"], m["result"]) for m in two["mutants"]]
