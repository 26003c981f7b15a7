"""How many repeats prove what."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsklab.orchestrator.release.sampling import at_most, bound, needed, shown


@pytest.mark.parametrize(
    ("rate", "confidence", "failures", "runs"),
    [
        (0.1, 0.8, 0, 16),
        (0.1, 0.95, 0, 29),
        (0.02, 0.99, 0, 228),
        (0.01, 0.95, 0, 299),
        (0.01, 0.999, 0, 688),
        (0.01, 0.95, 1, 473),
        (0.01, 0.95, 2, 628),
        (0.01, 0.99, 1, 662),
        (0.001, 0.95, 0, 2_995),
        (0.001, 0.99, 1, 6_636),
        (0.0001, 0.95, 2, 62_956),
    ],
)
def test_the_number_of_runs_is_that_of_the_tables(rate: float, confidence: float, failures: int, runs: int) -> None:
    assert needed(rate, confidence, failures) == runs


@pytest.mark.parametrize(("runs", "percent"), [(10, 25.9), (30, 9.5), (50, 5.8), (100, 2.95), (3000, 0.1)])
def test_what_clean_runs_prove(runs: int, percent: float) -> None:
    assert round(100 * bound(0, runs, 0.95), 1 if runs < 100 else 2) == pytest.approx(percent, abs=0.006)


def test_a_hundred_runs_show_a_flake_of_one_percent_two_times_in_three() -> None:
    assert round(shown(0.01, 100), 2) == 0.63


def test_nothing_was_run_so_nothing_is_proven() -> None:
    assert bound(0, 0, 0.95) == bound(7, 7, 0.95) == 1.0


RATES, SURE = st.floats(0.001, 0.5), st.floats(0.5, 0.999)


@given(RATES, SURE, st.integers(0, 5))
def test_as_many_as_needed_are_enough_and_one_less_is_not(rate: float, confidence: float, failures: int) -> None:
    runs = needed(rate, confidence, failures)
    assert at_most(failures, runs, rate) <= 1 - confidence
    assert runs == failures + 1 or at_most(failures, runs - 1, rate) > 1 - confidence


@given(st.integers(1, 500), st.integers(0, 20), SURE)
def test_the_bound_lies_above_what_was_seen_and_falls_with_more_runs(
    runs: int, failures: int, confidence: float
) -> None:
    failures = min(failures, runs)
    most = bound(failures, runs, confidence)
    assert failures / runs <= most <= 1
    assert bound(failures, runs + 1, confidence) <= most
    assert bound(failures + 1, runs + 1, confidence) >= bound(failures, runs + 1, confidence)
