"""The order of the test files: what took longest goes first, as pytest really runs it."""

from __future__ import annotations

from pathlib import Path

import pytest
from _pytest.pytester import Pytester
from support.longest_first import ordered

pytest_plugins = ["pytester"]

TESTS = Path(__file__).parents[2]


def test_what_took_longest_goes_first_and_files_stay_together() -> None:
    files = ["a", "a", "b", "c", "c", "new"]
    took = {"a": 1.0, "b": 3.0, "c": 2.0}
    assert [files[place] for place in ordered(files, took)] == ["new", "b", "c", "c", "a", "a"]
    assert ordered(files, {}) == list(range(6))


def test_a_run_with_workers_goes_by_what_the_last_one_took(pytester: Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second run has one worker, which takes the files in the order that it was given."""
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    pytester.makeconftest(
        "import pytest\nfrom support.longest_first import LongestFirst\n"
        "def pytest_configure(config):\n    config.pluginmanager.register(LongestFirst())\n"
        "@pytest.hookimpl(tryfirst=True)\n"
        "def pytest_runtest_logreport(report):\n    report.duration = float(report.nodeid[5])\n"
    )
    for name in ("test_1", "test_3", "test_2"):
        pytester.makepyfile(**{name: "def test_one(): pass\ndef test_two(): pass\n"})
    words = ("-v", "-p", "no:wsklab", "-n", "1", "--dist", "loadfile", "--no-loadscope-reorder")

    def order() -> list[str]:
        done = pytester.runpytest_subprocess(*words)
        done.assert_outcomes(passed=6)
        return [line.split()[-1] for line in done.stdout.lines if "PASSED" in line]

    both = ("test_one", "test_two")
    assert order() == [f"test_{n}.py::{name}" for n in (1, 2, 3) for name in both]
    assert order() == [f"test_{n}.py::{name}" for n in (3, 2, 1) for name in both]
