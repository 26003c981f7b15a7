"""The plugin as its user runs it, with a session whose verdicts are made up."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from _pytest.pytester import Pytester, RunResult

from wsklab.orchestrator.pytest_plugin import hooks, sharing
from wsklab.orchestrator.run import capacity

pytest_plugins = ["pytester"]

SCENARIO = """
name: {name}
title: x
tags: [mine]
covers: [R5]
steps:
  - lab: settle
"""

FAKE = Path(__file__).with_name("fake_session.py").read_text(encoding="utf-8")


@pytest.fixture
def folder(pytester: Pytester, monkeypatch: pytest.MonkeyPatch) -> Pytester:
    """Provide a user's folder; the session in it says of each scenario the verdict that its name begins with."""
    for module, name in ((sharing, "Session"), (hooks, "paused"), (capacity, "host")):
        monkeypatch.setattr(module, name, getattr(module, name))  # what the folder's conftest.py puts there is put back
    pytester.makeconftest(FAKE)
    pytester.makeini("[pytest]\naddopts = -p no:cacheprovider\n")
    return pytester


def scenarios(folder: Pytester, *names: str) -> None:
    (folder.path / "scenarios").mkdir(exist_ok=True)
    for name in names:
        (folder.path / "scenarios" / f"{name}.yaml").write_text(SCENARIO.format(name=name))


def run(folder: Pytester, *words: str) -> RunResult:
    return folder.runpytest_inprocess("--wsklab-target", "standin", "-p", "no:timeout", *words)


def run_apart(folder: Pytester, *words: str) -> RunResult:
    """Run the same in a process of its own."""
    return folder.runpytest_subprocess("--wsklab-target", "standin", *words)


def test_verdicts_are_outcomes(folder: Pytester) -> None:
    scenarios(folder, "pass-a", "fail-a", "inconclusive-a", "infra-a")
    done = run(folder, "-rs")
    done.assert_outcomes(passed=1, failed=1, skipped=1, errors=1)
    done.stdout.fnmatch_lines(["*inconclusive: the reason of inconclusive-a*"])
    assert done.ret == pytest.ExitCode.TESTS_FAILED


def test_what_failed_says_why_first_and_shows_none_of_our_code(folder: Pytester) -> None:
    scenarios(folder, "fail-a")
    done = run(folder)
    done.stdout.fnmatch_lines(["the reason of fail-a", "", "told (WskDisconnectEvent): none", "on the wire:*"])
    assert "orchestrator" not in done.stdout.str().partition("short test summary")[0].replace("rootdir", "")


def test_a_known_failure_is_an_expected_one(folder: Pytester) -> None:
    scenarios(folder, "fail-known")
    run(folder).assert_outcomes(xfailed=1)


def test_inconclusive_may_be_a_failure(folder: Pytester) -> None:
    scenarios(folder, "inconclusive-a")
    run(folder, "--wsklab-inconclusive", "fail").assert_outcomes(failed=1)


def test_selection_by_name_tag_and_number(folder: Pytester) -> None:
    scenarios(folder, "pass-a", "pass-b")
    run(folder, "-k", "pass-b").assert_outcomes(passed=1, deselected=1)
    run(folder, "-k", "R5").assert_outcomes(passed=2)
    run(folder, "-m", "mine").assert_outcomes(passed=2)
    run(folder, "scenarios/pass-a.yaml::pass-a").assert_outcomes(passed=1)


def test_the_first_failure_ends_it_and_is_the_one_run_again(folder: Pytester) -> None:
    folder.makeini("[pytest]\n")
    scenarios(folder, "fail-a", "fail-b", "pass-c")
    run(folder, "-x").assert_outcomes(failed=1)
    again = run(folder, "--lf", "-v")
    again.assert_outcomes(failed=1)
    again.stdout.fnmatch_lines(["scenarios/fail-a.yaml::fail-a*", "*FAILED*"])


def test_repeats_have_names_of_their_own(folder: Pytester) -> None:
    folder.makeini("[pytest]\n")
    scenarios(folder, "pass-a")
    run(folder, "--wsklab-repeat", "3").assert_outcomes(passed=3)
    run(folder, "--wsklab-repeat", "3", "-k", "pass-a-3").assert_outcomes(passed=1, deselected=2)


def test_a_broken_scenario_is_an_error_with_file_and_line(folder: Pytester) -> None:
    scenarios(folder, "pass-a")
    (folder.path / "scenarios" / "broken.yaml").write_text("name: broken\ntitle: x\nsteps:\n  - peer: {clsoe: {}}\n")
    done = run(folder)
    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines(["*broken.yaml:4: *clsoe*"])
    assert "Traceback" not in done.stdout.str()


def test_other_peoples_yaml_is_left_alone(folder: Pytester) -> None:
    (folder.path / "compose.yaml").write_text("services: {}\n")
    scenarios(folder, "pass-a")
    run(folder).assert_outcomes(passed=1)


def test_two_scenarios_of_one_name_are_told_apart_by_nobody(folder: Pytester) -> None:
    scenarios(folder, "pass-a")
    (folder.path / "other.yaml").write_text(SCENARIO.format(name="pass-a"))
    done = run(folder)
    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines(["*the scenario in *.yaml is called 'pass-a', too*"])


def test_the_evidence_of_earlier_runs_is_no_test(folder: Pytester) -> None:
    evidence = folder.path / "wsklab-runs" / "1" / "evidence" / "pass-old"
    evidence.mkdir(parents=True)
    (evidence / "scenario.yaml").write_text(SCENARIO.format(name="pass-old"))
    (folder.path / "wsklab-runs" / "1" / "results.jsonl").touch()
    scenarios(folder, "pass-a")
    run(folder).assert_outcomes(passed=1)


def test_wrong_options_are_one_sentence(folder: Pytester) -> None:
    done = folder.runpytest_inprocess("--wsklab-driver", "nobodys.yaml")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    done.stderr.fnmatch_lines(["ERROR: wsklab: There is no driver profile 'nobodys.yaml'*"])
    assert "Traceback" not in done.stderr.str()


def test_a_lab_that_cannot_be_made_is_an_error_of_every_test(folder: Pytester) -> None:
    (folder.path / "unopened").touch()
    scenarios(folder, "pass-a", "pass-b")
    done = run(folder)
    done.assert_outcomes(errors=2)
    done.stdout.fnmatch_lines(["*there is no QEMU*"])


def test_junit_has_properties_attachments_and_the_difference_of_failure_and_error(folder: Pytester) -> None:
    folder.makeini("[pytest]\njunit_logging = system-out\n")
    scenarios(folder, "fail-a", "infra-a", "pass-a")
    run(folder, "--junitxml", "j.xml")
    cases = {case.get("name"): case for case in ET.parse(folder.path / "j.xml").iter("testcase")}
    assert [case for case in cases if cases[case].find("failure") is not None] == ["fail-a"]
    assert [case for case in cases if cases[case].find("error") is not None] == ["infra-a"]
    failure = cases["fail-a"].find("failure")
    assert failure is not None
    assert (failure.get("message") or "").startswith("the reason of fail-a")
    properties = {one.get("name"): one.get("value") for one in cases["pass-a"].iter("property")}
    assert (properties["wsklab_verdict"], properties["wsklab_covers"]) == ("pass", "R5")
    lines = (cases["pass-a"].findtext("system-out") or "").splitlines()
    attached = [line[len("[[ATTACHMENT|") : -2] for line in lines if line.startswith("[[ATTACHMENT|")]
    assert [Path(one).name for one in attached] == ["pass-a.pcapng", "pass-a.observations.jsonl"]
    assert all(Path(one).is_file() for one in attached)


def test_a_driver_that_does_not_unload_makes_the_run_fail(folder: Pytester) -> None:
    (folder.path / "unload").write_text("fail")
    scenarios(folder, "pass-a")
    done = run(folder)
    done.assert_outcomes(passed=1)
    assert done.ret == pytest.ExitCode.TESTS_FAILED
    done.stdout.fnmatch_lines(["driver-unload: fail: it hangs"])


PYTHON = """
import pytest

def test_right(driver, peer):
    driver.connect()
    peer.close(linger=0)
    assert driver.await_disconnect().flags == 1

def test_wrong(driver, peer):
    driver.connect()
    peer.close(linger=0)
    assert driver.await_disconnect().flags == 0

def test_lost(peer):
    peer.kill()

def test_unjudged(driver):
    driver.connect()
    pytest.skip("not today")

@pytest.mark.shared
def test_shared(lab):
    lab.settle()

@pytest.mark.scenario(conections=2)
def test_mark(lab):
    pass

def test_word(peer):
    peer.close(lingr=0)
"""


def test_tests_in_python(folder: Pytester) -> None:
    folder.makepyfile(PYTHON)
    done = run(folder, "-v", "-o", "junit_logging=system-out", "--junitxml", "j.xml")
    done.assert_outcomes(passed=2, failed=2, skipped=1, errors=2)
    text = done.stdout.str()
    done.stdout.fnmatch_lines(["*test_lost ERROR*"])
    done.stdout.fnmatch_lines(
        ["E*assert 1 == 0*", "*what was told, and what was on the wire*", "told (Wsk*: abortive 0x1"]
    )
    assert "a test in Python has no conections" in text
    assert "TypeError: peer.close: unknown key 'lingr'; did you mean 'linger'?" in text
    assert "conversation.py" not in text, "none of our code"
    (wrong,) = (case for case in ET.parse(folder.path / "j.xml").iter("testcase") if case.get("name") == "test_wrong")
    output = (wrong.findtext("system-out") or "").splitlines()
    assert "told (WskDisconnectEvent): abortive 0x1" in output
    assert sum(line.startswith("[[ATTACHMENT|") for line in output) == 2, "each has a line of its own"
    told = (folder.path / "told.txt").read_text().splitlines()
    assert "fresh test_tests_in_python-test_right" in told
    assert "shared test_tests_in_python-test_shared" in told
    assert "row test_tests_in_python-test_wrong fail" in told
    assert not any(line.startswith("row test_tests_in_python-test_unjudged") for line in told)


def test_the_prompt_finds_the_lab_up_and_no_limit_counts(folder: Pytester) -> None:
    folder.makepyfile("def test_it(peer, lab):\n    peer.close()\n    assert lab.folder is None\n")
    (folder.path / ".pdbrc").write_text("print('UP', open('told.txt').read().splitlines()[-1])\ncontinue\n")
    done = run_apart(folder, "--pdb")
    done.stdout.fnmatch_lines(["*UP paused*"])
    told = (folder.path / "told.txt").read_text().splitlines()
    assert [line.split()[0] for line in told if line.split()[0] in ("paused", "resumed", "closed")] == [
        "paused",
        "resumed",
        "closed",
    ]


def test_workers_have_a_lab_each_and_no_more_than_the_host_carries(folder: Pytester) -> None:
    scenarios(folder, "pass-a", "pass-b", "pass-c", "fail-d")
    done = run_apart(folder, "-n", "2")
    done.assert_outcomes(passed=3, failed=1)
    done.stdout.fnmatch_lines(["driver-unload: pass", "driver-unload: pass"])
    (folder.path / "host").write_text("1")
    fewer = run_apart(folder, "-n", "2")
    fewer.assert_outcomes(passed=3, failed=1)
    fewer.stdout.fnmatch_lines(["wsklab: 1 of 2 workers, as *", "driver-unload: pass"])
    assert fewer.stdout.str().count("driver-unload") == 1
    assert run_apart(folder, "-n", "auto").stdout.str().count("driver-unload") == 1


def test_unused_it_costs_nothing_and_says_nothing(pytester: Pytester) -> None:
    pytester.makepyfile("def test_it(): pass\n")
    (pytester.path / "scenario.yaml").write_text(SCENARIO.format(name="mine"))
    code = (
        "import sys, pytest; code = pytest.main(['-q', '-p', 'no:cacheprovider']); "
        "loaded = [n for n in sys.modules if n.startswith('wsklab.') and n.count('.') > 1]; "
        "print('LOADED', loaded); sys.exit(code)"
    )
    words = [sys.executable, "-c", code]
    done = subprocess.run(words, cwd=pytester.path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout
    assert "LOADED ['wsklab.orchestrator.pytest_plugin']" in done.stdout
    assert "wsklab:" not in done.stdout
