"""What numbers of verdicts and times tell, and how sure that is. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import log, sqrt
from statistics import NormalDist, median

CONFIDENCE = 0.95

CLEAR = 10.0
"""2 ln(likelihood ratio) above which a change of the rate is told: the split is searched for, so that the 3.84 of one
test at 5 % would be met by chance too often."""

DRIFT_P, DRIFT_SHIFT = 0.01, 0.2
"""A drift of times is told when it is this improbable by chance, and this large a part of what it was."""

WINDOW = 10
"""Newest runs whose times are compared with those before."""


@dataclass(frozen=True)
class Rate:
    """`bad` of `all`, with an interval that holds the true rate at `CONFIDENCE`."""

    bad: int
    all: int
    low: float
    high: float

    def __str__(self) -> str:
        share = f"{self.bad / self.all:.1%}" if self.all else "unknown"
        return f"{self.bad} of {self.all} ({share}; {self.low:.1%} to {self.high:.1%})"


def rate(bad: int, total: int, confidence: float = CONFIDENCE) -> Rate:
    """Wilson's score interval (Wilson 1927; Brown, Cai, DasGupta 2001 recommend it also where `bad` is 0 or all)."""
    if total == 0:
        return Rate(0, 0, 0.0, 1.0)
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share, extra = bad / total, z * z / total
    centre = (share + extra / 2) / (1 + extra)
    half = z * sqrt(share * (1 - share) / total + extra / (4 * total)) / (1 + extra)
    return Rate(bad, total, 0.0 if bad == 0 else centre - half, 1.0 if bad == total else centre + half)


@dataclass(frozen=True)
class Count:
    """The rows of one scenario in one run that judge the driver: what the lab did wrong (`infra`) counts nowhere."""

    run: int
    bad: int
    all: int


@dataclass(frozen=True)
class Break:
    """Where a scenario broke: places of the last run before and of the first run after. None before: it never passed.

    `steady`: all rows since then did not pass, and none before failed in the run before. Otherwise it is where its
    rate most likely changed, from `before` to `after`.
    """

    last_good: int | None
    first_bad: int
    steady: bool
    before: Rate
    after: Rate


def broke(counts: Sequence[Count]) -> Break | None:
    """Where the scenario broke, from its runs, oldest first; None while it passes, or was always as flaky as now."""
    counts = [count for count in counts if count.all]
    if not counts or not any(count.bad for count in counts[-WINDOW:]):
        return None
    streak = len(counts)
    while streak and counts[streak - 1].bad == counts[streak - 1].all:
        streak -= 1
    if streak == len(counts):
        place = _split(counts)
        if place is None or _split(counts[: place - 1 : -1]) is not None:  # it got better again since
            return None
    else:
        place = streak
        clearer = _split(counts)  # an older break of a flaky scenario explains the last streak, too
        if clearer is not None and clearer < streak and counts[streak - 1].bad:
            place = clearer
    before, after = counts[:place], counts[place:]
    steady = all(count.bad == count.all for count in after) and (not before or before[-1].bad == 0)
    return Break(
        before[-1].run if before else None,
        after[0].run,
        steady,
        rate(sum(c.bad for c in before), sum(c.all for c in before)),
        rate(sum(c.bad for c in after), sum(c.all for c in after)),
    )


def _split(counts: Sequence[Count]) -> int | None:
    """Return the place at which two rates explain the runs best, and clearly better than one.

    None if it got no worse.
    """
    bad = [0, *accumulate(count.bad for count in counts)]
    every = [0, *accumulate(count.all for count in counts)]
    whole = _likelihood(bad[-1], every[-1])
    best, place = CLEAR, None
    for at in range(1, len(counts)):
        left, right = (bad[at], every[at]), (bad[-1] - bad[at], every[-1] - every[at])
        gain = 2 * (_likelihood(*left) + _likelihood(*right) - whole)
        if gain > best and left[0] * right[1] < right[0] * left[1]:
            best, place = gain, at
    return place


def _likelihood(bad: int, total: int) -> float:
    """Return the logarithm of the likelihood of what was seen, at the rate that makes it most likely."""
    good = total - bad
    return (bad * log(bad / total) if bad else 0.0) + (good * log(good / total) if good else 0.0)


@dataclass(frozen=True)
class Drift:
    """Times (ms) that changed: medians before and after, and how improbable that is by chance."""

    before: float
    after: float
    p: float


def drift(times: Sequence[float], window: int = WINDOW) -> Drift | None:
    """Whether the newest `window` times are others than those before; None: too few, or no clear change.

    Mann and Whitney's test with the normal approximation, corrected for ties: no assumption on how times spread.
    """
    old, new = list(times[:-window]), list(times[-window:])
    if len(old) < window or len(new) < window:
        return None
    before, after, p = median(old), median(new), different(old, new)
    shift = abs(after - before) / before if before else 0.0
    return Drift(before, after, p) if p < DRIFT_P and shift > DRIFT_SHIFT else None


def different(old: Sequence[float], new: Sequence[float]) -> float:
    """Return the probability, by chance, of ranks as unlike as these, of both directions."""
    everything = sorted([(value, 0) for value in old] + [(value, 1) for value in new])
    ranks, ties, start = 0.0, 0.0, 0
    while start < len(everything):
        end = start
        while end < len(everything) and everything[end][0] == everything[start][0]:
            end += 1
        same = end - start
        ties += same**3 - same
        ranks += (start + 1 + end) / 2 * sum(which for _, which in everything[start:end])
        start = end
    a, b = len(old), len(new)
    total = a + b
    u = ranks - b * (b + 1) / 2
    variance = a * b / 12 * (total + 1 - ties / (total * (total - 1))) if total > 1 else 0.0
    if variance <= 0:
        return 1.0
    return 2 * NormalDist().cdf(-abs(u - a * b / 2) / sqrt(variance))


def repeats_for(failing: float, risk: float) -> int:
    """How many clean runs make it less likely than `risk` that a build which fails at this rate is called good."""
    if failing >= 1:
        return 1
    return max(1, -int(-log(risk) // log(1 - failing)))
