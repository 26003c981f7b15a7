"""What trials of a failure that comes now and then can prove, and when enough of them were made. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log

RISK = 0.05
"""Both errors of the sequential test, and one minus the confidence of a bound."""

NOISE = 0.0001
"""How often a case without the failure shows it: the same verdict with the same reasons hardly comes by chance."""

CERTAIN = 0.7
"""The rate that is looked for where every trial so far has failed."""


def at_most(trials: int) -> float:
    """Return the rate that is excluded at 95 % when none of so many trials has failed (0 of 59: 5 %)."""
    return 1.0 - RISK ** (1.0 / trials) if trials else 1.0


def trials_for(rate: float) -> int:
    """How many trials see a failure of this rate at least once, at 95 %."""
    return 1 if rate >= 1 else ceil(log(RISK) / log(1.0 - rate))


def stopping(failed: int, trials: int) -> str:
    """Say what so many trials prove."""
    if failed:
        return f"failed in {failed} of {trials} trials"
    return f"failed in 0 of {trials} trials: at 95 % it fails in at most {at_most(trials):.2%} of such trials"


def looked_for(failed: int, trials: int) -> float:
    """Return the rate at which a smaller case still counts as the same failure: half of the larger one's."""
    return CERTAIN if failed == trials else max(failed / trials / 2, 2 * NOISE)


@dataclass
class Sequential:
    """Wald's sequential test of "it fails at `rate`" against "it does not", which ends as soon as it can."""

    rate: float
    failed: int = 0
    passed: int = 0

    def see(self, failed: bool) -> None:
        """Count one trial."""
        self.failed += failed
        self.passed += not failed

    @property
    def decided(self) -> bool | None:
        """Whether it fails; None: not known yet."""
        seen = self.failed * log(self.rate / NOISE) + self.passed * log((1 - self.rate) / (1 - NOISE))
        if seen >= log((1 - RISK) / RISK):
            return True
        return False if seen <= log(RISK / (1 - RISK)) else None
