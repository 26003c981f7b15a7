"""The watchdog ends what hangs: no beat, or longer than the limit; whatever holds the interpreter."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from wsklab.orchestrator.liveness import limits
from wsklab.orchestrator.liveness.watchdog import PATIENCE, Watch
from wsklab.orchestrator.scenario.scenario import Scenario
from wsklab.orchestrator.scenario.yaml_source import parse

BEGUN = {"begin": 1, "what": "scenario kill", "limit": 100.0, "folder": "/f"}


def test_who_beats_and_keeps_to_the_limits_is_left_alone() -> None:
    watch = Watch()
    assert watch.overdue(1e9) is None  # nothing is under way
    watch.hear(BEGUN, 0.0)
    watch.hear({"beat": True}, 95.0)
    assert watch.overdue(100.0) is None
    watch.hear({"end": 1}, 101.0)
    assert watch.overdue(1e9) is None


def test_who_no_longer_beats_hangs() -> None:
    watch = Watch()
    watch.hear(BEGUN, 0.0)
    assert watch.overdue(PATIENCE) is None
    verdict = watch.overdue(PATIENCE + 1)
    assert verdict is not None
    assert verdict.why == "wsklab itself hangs in 'scenario kill': no Python code of it has run for 13 s"
    assert verdict.folder == "/f"


def test_the_limit_of_what_surrounds_it_counts_too_and_the_newest_has_the_evidence() -> None:
    watch = Watch()
    watch.hear(BEGUN | {"begin": 1, "what": "the run", "limit": 10.0}, 0.0)
    watch.hear(BEGUN | {"begin": 2, "folder": "/g"}, 5.0)
    watch.hear({"beat": True}, 11.0)
    verdict = watch.overdue(11.0)
    assert verdict is not None
    assert verdict.why.startswith("'the run' has taken longer than the 10 s allowed")
    assert verdict.folder == "/g"


def test_no_limit_counts_while_somebody_looks_at_a_lab_but_python_must_run() -> None:
    watch = Watch()
    watch.hear(BEGUN, 0.0)  # 100 s
    watch.hear({"pause": 2}, 90.0)
    watch.hear({"pause": 3}, 95.0)
    watch.hear(BEGUN | {"begin": 4, "limit": 10.0}, 1000.0)
    watch.hear({"resume": 2}, 1000.0)
    watch.hear({"beat": True}, 5000.0)
    assert watch.overdue(5000.0) is None
    assert watch.overdue(5000.0 + PATIENCE + 1) is not None
    watch.hear({"resume": 3}, 5000.0)
    assert watch.overdue(5009.0) is None
    watch.hear({"beat": True}, 5010.5)
    verdict = watch.overdue(5010.5)  # 100.5 s without the pause, for the first
    assert verdict is not None and "the 10 s allowed" in verdict.why
    watch.hear({"end": 4}, 5010.5)
    assert (late := watch.overdue(5010.5)) is not None and "the 100 s allowed" in late.why


HANGS = """
import re, sys
from pathlib import Path
from wsklab.orchestrator.liveness.watchdog_link import phase
with phase("a call into C", 0.1, Path(sys.argv[1])):
    re.match("(a+)+$", "a" * 99 + "b")  # holds the interpreter: no signal handler of Python's, no other thread runs
"""


def test_a_process_held_by_c_code_is_ended_with_a_sentence_and_its_stacks(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", HANGS, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert "wsklab: ended by its watchdog: 'a call into C' has taken longer than the 0 s" in done.stderr
    assert f"see {tmp_path / 'crash'}" in done.stderr
    notes = json.loads((tmp_path / "crash" / "watchdog.json").read_text())
    assert notes["why"].startswith("'a call into C'")
    assert any("(a+)+$" in process["command"] for process in notes["processes"])
    assert 'File "<string>", line 6' in (tmp_path / "crash" / "watchdog-stacks.txt").read_text()


def test_a_command_that_ends_by_itself_leaves_no_watchdog(tmp_path: Path) -> None:
    """Its standard error is ours: were it still there, the pipe would not end."""
    code = HANGS.replace('"a" * 99 + "b"', '"a"')
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("steps", "limit"),
    [
        ("[{driver: {connect: peer}}]", 306.0),
        ("[{driver: {await: disconnect, within: 40}}]", 426.0),
        ("[{lab: {wait: 25}}]", 331.0),
    ],
)
def test_what_a_scenario_asks_for_is_on_top(steps: str, limit: float) -> None:
    text = f"name: x\ntitle: X\nsteps: {steps}\nexpect: {{wire: {{peer: none, driver: none}}}}\n"
    assert limits.of(parse(text, Scenario, "test"), 3.0) == limit


def test_a_run_may_take_as_long_as_all_that_is_in_it() -> None:
    text = "name: x\ntitle: X\nsteps: [{lab: {wait: 25}}]\nexpect: {wire: {peer: none, driver: none}}\n"
    scenario = parse(text, Scenario, "test")
    assert limits.of_run([scenario], 5, 3.0) > 5 * limits.of(scenario, 3.0)


def test_what_has_no_limit_is_never_overdue() -> None:
    watch = Watch()
    watch.hear(json.loads(json.dumps(BEGUN | {"limit": float("inf")})), 0.0)
    watch.hear({"beat": True}, 1e9)
    assert watch.overdue(1e9) is None
