"""How long making an image will take yet."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsklab.orchestrator.results.estimate import Before, Estimate, remember, remembered


def test_the_second_time_each_note_says_how_long_it_will_take_yet() -> None:
    times = iter([100.0, 110.0, 142.0])
    first = Estimate(None, 100.0, lambda: next(times))
    assert [first.tell("unpacking"), first.tell("making the disk")] == ["unpacking", "making the disk"]
    made = first.made()
    assert made == Before((0.0, 10.0), 42.0)
    again = Estimate(made, 0.0, iter([1.0, 9.0, 50.0]).__next__)
    assert again.tell("unpacking") == "unpacking (1 of 2, about 42 s left)"
    assert again.tell("making the disk") == "making the disk (2 of 2, about 32 s left)"
    assert again.tell("more") == "more (3 of 3, about 0 s left)"


def test_what_was_not_made_is_not_remembered() -> None:
    assert Estimate(None, 0.0, lambda: 1.0).made() is None


def test_durations_are_remembered_in_the_cache(tmp_path: Path) -> None:
    assert remembered(tmp_path) == {}
    known = {"peer": Before((0.5, 3.0), 10.0)}
    remember(tmp_path, known)
    assert remembered(tmp_path) == known


@pytest.mark.parametrize("text", ["", "[]", '{"peer": 1}', '{"peer": {"notes": ["x"], "seconds": 1}}'])
def test_a_damaged_file_is_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "durations.json").write_text(text)
    assert remembered(tmp_path) == {}
    remember(tmp_path / "nowhere", {})
