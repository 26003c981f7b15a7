"""How many repeats prove which flake rate at which confidence. Pure.

Runs are taken as independent draws, which is what different seeds and fresh boots are for; the bound is that of
Clopper and Pearson ("The Use of Confidence or Fiducial Limits", 1934), one-sided.
"""

from __future__ import annotations

from math import exp, lgamma, log, log1p

PRECISION = 60
"""Halvings of an interval: as fine as a double."""


def at_most(failures: int, runs: int, rate: float) -> float:
    """Return the probability of at most `failures` in `runs` runs that each fail with probability `rate`."""
    if rate <= 0 or failures >= runs:
        return 1.0
    if rate >= 1:
        return 0.0
    whole = lgamma(runs + 1)
    terms = (
        whole - lgamma(k + 1) - lgamma(runs - k + 1) + k * log(rate) + (runs - k) * log1p(-rate)
        for k in range(failures + 1)
    )
    return min(1.0, sum(exp(term) for term in terms))


def bound(failures: int, runs: int, confidence: float) -> float:
    """Return the highest flake rate that `failures` in `runs` leave possible at this confidence; 1 without runs."""
    if failures >= runs:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(PRECISION):
        middle = (low + high) / 2
        if at_most(failures, runs, middle) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high


def needed(rate: float, confidence: float, failures: int = 0) -> int:
    """Return how many runs, of which `failures` may fail, prove that no more than `rate` of all fail."""
    few, enough = failures, failures + 1
    while at_most(failures, enough, rate) > 1 - confidence:
        few, enough = enough, enough * 2
    while enough - few > 1:
        middle = (few + enough) // 2
        if at_most(failures, middle, rate) > 1 - confidence:
            few = middle
        else:
            enough = middle
    return enough


def shown(rate: float, runs: int) -> float:
    """Return the chance that a flake of this rate shows at all in `runs` runs."""
    return 1 - at_most(0, runs, rate)


def percent(share: float) -> str:
    """Return a share for people: three digits that count, rounded up where it is a bound."""
    return f"{100 * share:.3g} %"
