"""Results, JUnit and the page: what scripts and people read."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from recorded import RESET, Recording

from wsklab.orchestrator import report, results
from wsklab.orchestrator.console import Console
from wsklab.orchestrator.junit import junit
from wsklab.orchestrator.results import Results, ScenarioResult, call_words
from wsklab.orchestrator.runner import Done, Run


def result(name: str = "linger-zero", verdict: str = "pass", repeat: int = 1, **more: Any) -> ScenarioResult:
    fields: dict[str, Any] = {
        "name": name, "title": "A title", "repeat": repeat, "verdict": verdict, "reasons": [], "covers": ["C05"],
        "expected": {}, "observed": {"disconnects": [], "wire": {"peer": [["rst"]], "driver": [[]], "frames": 9}},
        "timing": {"total_s": 0.5}, "evidence": f"evidence/{name}-{repeat}", **more}
    return ScenarioResult(**fields)


def some(*scenarios: ScenarioResult) -> Results:
    return Results(
        run={"id": "r1", "started": "2026-01-01T00:00:00Z", "seed": 1, "command": "wsklab run", "host": "h",
             "accelerator": "tcg", "versions": {}},
        target={"name": "standin", "kind": "standin", "qualifying": False, "version": "Wine 8.0", "image_sha256": "0"},
        driver={"name": "wsklab", "sha256": "0" * 64, "twin": None}, scenarios=list(scenarios))


@pytest.mark.parametrize(("verdicts", "code"), [
    (["pass", "pass"], 0), (["pass", "fail", "infra"], 1), (["pass", "infra"], 3), (["inconclusive"], 3), ([], 3),
])
def test_the_exit_code_is_the_worst_that_was_proven(verdicts: list[str], code: int) -> None:
    assert some(*(result(str(n), v) for n, v in enumerate(verdicts))).exit_code == code


def test_a_retry_never_hides_a_failure() -> None:
    flaky = some(result(verdict="infra"), result(repeat=2))
    assert (flaky.flaky, flaky.exit_code) == (["linger-zero"], 1)


def test_the_file_is_replaced_whole_and_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    some(result()).write(path)
    some(result(), result("half-close", "fail")).write(path)
    document = results.read(path)
    assert document["totals"] == {"pass": 1, "fail": 1, "inconclusive": 0, "infra": 0, "flaky": 0, "all": 2}
    assert list(tmp_path.iterdir()) == [path]
    path.write_text(json.dumps({"schema": 99}))
    with pytest.raises(ValueError, match="not a results file of schema 1"):
        results.read(path)


def test_junit_tells_failures_from_errors_and_survives_any_text() -> None:
    document = ET.fromstring(junit(some(
        result(), result("a", "fail", reasons=["<bad> & \x00\x1b"]), result("b", "infra", reasons=["x"]),
        result("b", "pass", repeat=2))))
    assert (document.get("tests"), document.get("failures"), document.get("errors")) == ("4", "1", "1")
    assert [case.get("name") for case in document.iter("testcase")] == ["linger-zero", "a", "b", "b#2"]
    assert document.find(".//failure").get("message") == r"<bad> & \x00\x1b"  # type: ignore[union-attr]
    assert "[[ATTACHMENT|evidence/a-1]]" in junit(some(result("a")))


def test_the_page_says_it_is_not_windows_and_escapes_what_guests_say() -> None:
    recording = Recording().opened().frame("peer", "RA").disconnect(1).done("receive", 3, RESET)
    recording.add("peer", "reply", 0, do="<script>alert(1)</script>")
    rows = report.story(recording.ended())
    page = report.render(some(result(verdict="fail", reasons=["<img src=x>"])).as_dict(), [rows])
    assert "not Windows" in page
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "<img" not in page
    assert "RA seq 1" in page
    qualifying = some(result()).as_dict()
    qualifying["target"]["qualifying"] = True
    assert "not Windows" not in report.render(qualifying, [[]])


HOSTILE = "\x1b[2J\x9b31m\u202ecod\u2066\u200f\u2028\x85"
"""Clears a terminal, colours it, reorders what follows, and ends lines."""


def test_no_text_of_a_target_steers_the_console_the_page_or_the_junit(capsys: pytest.CaptureFixture[str]) -> None:
    failed = result(verdict="fail", reasons=[f"said {HOSTILE}"], findings=[HOSTILE], title=HOSTILE)
    recording = Recording().opened()
    recording.add("driver", "note", 0, text=f"my driver {HOSTILE}")
    console = Console()
    console.verdict(failed)
    console.line(HOSTILE)
    console.progress(HOSTILE)
    shown = [capsys.readouterr().out, junit(some(failed)),
             report.render(some(failed).as_dict(), [report.story(recording.ended())])]
    for text in shown:
        assert not set(HOSTILE) - set("[2J31mcod") & set(text)
        assert r"\x1b[2J\x9b31m\u202ecod\u2066\u200f\u2028\x85" in text


def test_a_long_story_is_cut_in_the_middle() -> None:
    recording = Recording()
    for seq in range(1000):
        recording.frame("peer", "PA", seq)
    rows = report.story(recording.observations)
    assert len(rows) == report.MAX_ROWS + 1
    assert any("700 rows left out" in row["text"] for row in rows)


def test_a_story_is_told_once_for_all_repetitions_with_the_same_outcome() -> None:
    rows = report.story(Recording().opened().frame("peer", "RA").ended())
    scenarios = [result(repeat=number) for number in range(1, 11)]
    scenarios.append(result(repeat=11, verdict="fail", reasons=["why"]))
    page = report.render(some(*scenarios).as_dict(), [rows] * 11)
    assert page.count("RA seq 1") == 2, "of the pass and of the fail"
    assert page.count('<a href="#linger-zero-1">') == 9
    assert page.count(">flaky<") == 11


@pytest.mark.parametrize(("verdicts", "says"), [
    (["pass", "pass"], "All 2 passed"), (["pass", "fail", "infra"], "1 of 3 failed"),
    (["pass", "infra"], "1 of 2 not proven"), ([], "Nothing was run"),
])
def test_the_page_begins_with_what_came_of_the_run(verdicts: list[str], says: str) -> None:
    scenarios = [result(str(n), verdict) for n, verdict in enumerate(verdicts)]
    assert f">{says}</h1>" in report.render(some(*scenarios).as_dict(), [[]] * len(scenarios))


def test_links_lead_to_the_files_that_are_there_what_matters_first(tmp_path: Path) -> None:
    for name in ("debug.txt", "crash/crash.json", "qmp.log", "crash/target-screen.png", "wire.pcapng"):
        path = tmp_path / "evidence" / "linger-zero-1" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    there = report.files(tmp_path, "evidence/linger-zero-1")
    assert there == ["crash/target-screen.png", "crash/crash.json", "wire.pcapng", "debug.txt"]
    page = report.render(some(result()).as_dict(), [[]], [there])
    assert '<a href="evidence/linger-zero-1/crash/target-screen.png">' in page
    assert report.files(tmp_path, "evidence/nothing") == []


@pytest.mark.parametrize(("abortive", "flags", "words"), [
    (True, 1, "abortive 0x1"), (False, 0, "graceful 0x0"), (True, None, "abortive"), (None, None, "not told")])
def test_a_call_is_named_as_far_as_it_was_told(abortive: bool | None, flags: int | None, words: str) -> None:
    assert call_words({"abortive": abortive, "flags": flags}) == words


def test_whatever_is_not_a_pass_is_told_of_damage_beside_it(tmp_path: Path) -> None:
    run = Run(tmp_path, some(), Console(quiet=True), boot=lambda: None,  # type: ignore[arg-type, return-value]
              damage=lambda: ["the image was damaged"])
    for repeat, verdict in enumerate(("pass", "fail", "infra", "inconclusive"), 1):
        run.add(Done(result(repeat=repeat, verdict=verdict), []), repeat)
    assert [row.findings for row in run.results.scenarios] == [[], *[["the image was damaged"]] * 3]


def test_a_repetition_that_passed_is_whole_on_disk_and_let_go_in_memory(tmp_path: Path) -> None:
    run = Run(tmp_path, some(), Console(quiet=True), boot=lambda: None)  # type: ignore[arg-type, return-value]
    for repeat, verdict in ((1, "pass"), (2, "pass"), (3, "fail")):
        run.add(Done(result(repeat=repeat, verdict=verdict), []), repeat)
    run.write()
    on_disk = json.loads((tmp_path / "results.json").read_text())["scenarios"]
    assert [row["observed"] for row in on_disk] == [result().observed] * 3
    assert [bool(row.observed) for row in run.results.scenarios] == [True, False, True]
    page = (tmp_path / "report.html").read_text()
    assert page.count("as the first time") == 1 and page.count("peer RST") == 2
