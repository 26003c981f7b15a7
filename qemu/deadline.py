"""One deadline, passed down: a `time.monotonic` value in seconds, so that nested waits never add up."""

import time


def within(seconds: float) -> float:
    """Return the deadline that many seconds from now."""
    return time.monotonic() + seconds


def left(deadline: float) -> float:
    """Return the seconds until the deadline, never negative."""
    return max(0.0, deadline - time.monotonic())
