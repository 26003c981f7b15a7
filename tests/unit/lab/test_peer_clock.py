"""A peer that lives too fast is noticed when it has booted."""

from __future__ import annotations

import pytest

from wsklab.orchestrator.errors import LabError
from wsklab.orchestrator.lab.peer_clock import TRIAL, check_pace


@pytest.mark.parametrize(("took", "fast"), [(TRIAL, False), (TRIAL + 3.0, False), (TRIAL / 28 + 0.05, True)])
def test_time_in_the_peer_is_compared_with_the_hosts(took: float, fast: bool) -> None:
    clock = iter((100.0, 100.0 + took))

    def run(command: str) -> str:
        assert f"sleep {TRIAL}" in command
        return f"7.00 6.10\n{7.0 + TRIAL:.2f} 6.50\n"

    if fast:
        with pytest.raises(LabError, match="clock runs 7 times too fast"):
            check_pace(run, clock.__next__)
    else:
        check_pace(run, clock.__next__)
