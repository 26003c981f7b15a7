"""What counts as growth in a long run."""

from __future__ import annotations

from wsklab.orchestrator.trials.endurance import Series


def series(values: list[float]) -> Series:
    made = Series()
    for number, value in enumerate(values):
        made.add(number, {"memory": value})
    return made


def test_a_leak_shows_however_small() -> None:
    assert series([100 + 0.5 * n for n in range(50)]).growth()["memory"] > 10


def test_a_cache_that_fills_and_one_busy_moment_are_no_growth() -> None:
    filling = [min(150.0, 100 + 10 * n) for n in range(50)]
    filling[40] = 900
    assert series(filling).growth() == {"memory": 0}


def test_one_look_is_no_growth() -> None:
    assert series([5]).growth() == {"memory": 0}
