"""What the host knows of a process: state and waiting, and a clock that leaves out time without a processor."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsklab.qemu.pulse import FairClock, Pulse, feel, stolen

NS = 1_000_000_000


def a_process(proc: Path, stat: str, **waited: str) -> Path:
    (proc / "7" / "task").mkdir(parents=True)
    (proc / "7" / "stat").write_text(stat)
    for thread, line in waited.items():
        (proc / "7" / "task" / thread.removeprefix("t")).mkdir()
        (proc / "7" / "task" / thread.removeprefix("t") / "schedstat").write_text(line)
    return proc


def test_state_and_waiting_are_read_whatever_the_name(tmp_path: Path) -> None:
    pulse = feel(7, a_process(tmp_path, "7 (a) R (b) T 1 1", t7="5 100 3", t8="5 900 3", t9="torn"))
    assert pulse == Pulse("T", {7: 100, 8: 900})
    assert pulse.stopped


@pytest.mark.parametrize("stat", ["", "7", "7 (x", "7 (x) "])
def test_what_is_not_as_it_should_be_is_no_process(tmp_path: Path, stat: str) -> None:
    assert feel(7, a_process(tmp_path, stat)) is None
    assert feel(8, tmp_path) is None


def test_a_stopped_process_of_this_host_is_known() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        process.send_signal(signal.SIGSTOP)
        os.waitpid(process.pid, os.WUNTRACED)
        pulse = feel(process.pid)
        process.kill()
    assert pulse is not None and pulse.stopped
    assert stolen() >= 0


def test_time_without_a_processor_does_not_count() -> None:
    clock = FairClock(longest=2.0)
    assert clock.advance(10.0, Pulse("S", {1: 0, 2: 0})) == 0
    assert clock.advance(11.0, Pulse("R", {1: NS // 4, 2: NS // 2})) == pytest.approx(0.5)  # the slowest thread
    assert clock.advance(12.0, Pulse("R", {1: NS // 4, 3: 9 * NS})) == pytest.approx(1.5)  # a new one has no past
    assert clock.advance(13.0, None, stolen=0.25) == pytest.approx(2.25)
    assert clock.advance(99.0, None, stolen=0.25) == pytest.approx(4.25)  # we ourselves did not run


@given(st.lists(st.tuples(st.floats(0, 1e6), st.integers(0, 10**15), st.floats(0, 1e6)), max_size=20))
def test_it_never_goes_back_and_never_outruns_the_clock(readings: list[tuple[float, int, float]]) -> None:
    clock, now, before = FairClock(1.0), 0.0, 0.0
    for passed, waited, lost in readings:
        now += passed
        seconds = clock.advance(now, Pulse("R", {1: waited}), lost)
        assert before <= seconds <= now + 1e-6
        before = seconds
