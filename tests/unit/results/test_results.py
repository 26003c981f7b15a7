"""Results, JUnit and the page: what scripts and people read."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from support.recorded import RESET, Recording
from support.rows import junit, result, some

from wsklab.orchestrator.commands.cli import main
from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.judge.judge import Judgement
from wsklab.orchestrator.judge.observed import Disconnect
from wsklab.orchestrator.observe.journal import Journal
from wsklab.orchestrator.results import beside, publish, report, results, rows
from wsklab.orchestrator.results.console import Console
from wsklab.orchestrator.results.results import UNLOAD, Plan, Results, ScenarioResult, call_words, observed
from wsklab.orchestrator.run import evidence
from wsklab.orchestrator.run.runner import Done, Run, new_folder
from wsklab.orchestrator.scenario.scenario import Scenario


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        (["pass", "pass"], 0),
        (["pass", "fail", "infra"], 1),
        (["pass", "infra"], 3),
        (["inconclusive"], 3),
        ([], 3),
    ],
)
def test_the_exit_code_is_the_worst_that_was_proven(verdicts: list[str], code: int) -> None:
    assert some(*(result(str(n), v) for n, v in enumerate(verdicts))).exit_code == code


def test_a_retry_never_hides_a_failure() -> None:
    flaky = some(result(verdict="infra"), result(repeat=2))
    assert (flaky.flaky, flaky.exit_code) == (["linger-zero"], 1)


def test_the_file_is_replaced_whole_and_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    for these in ([result()], [result(), result("half-close", "fail")]):
        results.write_atomically(path, some(*these).as_text())
    document = results.read(path)
    assert document["totals"] == {
        "pass": 1,
        "fail": 1,
        "inconclusive": 0,
        "infra": 0,
        "flaky": 0,
        "all": 2,
        "not_run": 0,
    }
    assert list(tmp_path.iterdir()) == [path]
    path.write_text(json.dumps({"schema": 99}))
    with pytest.raises(ValueError, match="not a results file of schema 2"):
        results.read(path)


def test_junit_tells_failures_from_errors_and_survives_any_text() -> None:
    document = ET.fromstring(
        junit(
            some(
                result(),
                result("a", "fail", reasons=["<bad> & \x00\x1b"]),
                result("b", "infra", reasons=["x"]),
                result("b", "pass", repeat=2),
            )
        )
    )
    assert (document.get("tests"), document.get("failures"), document.get("errors")) == ("4", "1", "1")
    assert [case.get("name") for case in document.iter("testcase")] == ["linger-zero", "a", "b", "b#2"]
    assert document.find(".//failure").get("message") == r"<bad> & \x00\x1b"  # type: ignore[union-attr]


def test_the_page_says_it_is_not_windows_and_escapes_what_guests_say() -> None:
    recording = Recording().opened().frame("peer", "RA").disconnect(1).done("receive", 3, RESET)
    recording.add("peer", "reply", 0, do="<script>alert(1)</script>")
    rows = report.story(recording.ended())
    page = report.render(some(result(verdict="fail", reasons=["<img src=x>"])).as_dict(), [rows])
    assert "not Windows" in page
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "<img" not in page
    assert "RST, ACK seq 1" in page
    qualifying: dict[str, Any] = some(result()).as_dict()
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
    shown = [
        capsys.readouterr().out,
        junit(some(failed)),
        report.render(some(failed).as_dict(), [report.story(recording.ended())]),
    ]
    for text in shown:
        assert not set(HOSTILE) - set("[2J31mcod") & set(text)
        assert r"\x1b[2J\x9b31m\u202ecod\u2066\u200f\u2028\x85" in text


def test_a_long_story_is_cut_in_the_middle() -> None:
    recording = Recording()
    for seq in range(1000):
        recording.frame("peer", "PA", seq)
    rows = report.story(recording.observations)
    assert len(rows) == report.MAX_ROWS + 1
    assert any("700 rows left out" in row.text for row in rows)


def test_a_story_is_told_once_for_all_repetitions_with_the_same_outcome() -> None:
    rows = report.story(Recording().opened().frame("peer", "RA").ended())
    scenarios = [result(repeat=number) for number in range(1, 11)]
    scenarios.append(result(repeat=11, verdict="fail", reasons=["why"]))
    page = report.render(some(*scenarios).as_dict(), [rows] * 11)
    assert page.count(">← #1 RST, ACK seq 1") == 2, "of the pass and of the fail"
    assert page.count('<a href="#linger-zero-1">') == 9
    assert page.count(">flaky<") == 11


def test_of_very_many_rows_the_page_lists_the_first_of_each_kind_and_what_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(report, "LISTED", 6)
    rows = [result(repeat=number) for number in range(1, 20)]
    rows += [result("half-close", repeat=number, verdict="fail" if number > 18 else "pass") for number in range(1, 20)]
    listed = [rows[place] for place in report.listed(rows)]
    names = [(row.name, row.repeat) for row in listed]
    assert names == [("linger-zero", number) for number in (1, 2, 3, 4)] + [("half-close", 1), ("half-close", 19)]
    assert list(report.listed(rows[:6])) == list(range(6))
    page = report.render(some(*listed).as_dict(), [[]] * 6, left_out=len(rows) - 6)
    assert "32 further rows are not listed here: results.json has all." in page
    assert page.count('class="row"') == 6
    assert "not listed" not in report.render(some(*rows[:6]).as_dict(), [[]] * 6)


@pytest.mark.parametrize(
    ("verdicts", "says"),
    [
        (["pass", "pass"], "All 2 passed"),
        (["pass", "fail", "infra"], "1 of 3 failed"),
        (["pass", "infra"], "1 of 2 not proven"),
        ([], "Nothing was run"),
    ],
)
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


def test_a_scenario_from_a_capture_shows_both_on_one_axis(tmp_path: Path) -> None:
    recording = Recording().opened().frame("target", "S").frame("peer", "SA").frame("peer", "RA")
    scenario = Scenario.model_validate(
        {
            "name": "again",
            "title": "Again",
            "steps": [{"lab": "settle"}],
            "capture": ["0.000000 driver SYN 0", "1.500000 peer FIN+ACK 3"],
        }
    )
    evidence.save(tmp_path, scenario, recording.ended(), Judgement("pass", (), observed()), {})
    page = report.render(some(result()).as_dict(), [[]], None, None, [report.drawn(tmp_path, "")])
    assert "<h2>Capture and run</h2>" in page
    for said in ("peer FIN+ACK, 3 bytes", "peer RST+ACK, 0 bytes (frame 3)", "1.500 s"):
        assert said in page
    assert beside.FILE in report.files(tmp_path, "")
    assert "<h2>Capture and run</h2>" not in report.render(some(result()).as_dict(), [[]], None, None, [""])


@pytest.mark.parametrize(
    ("abortive", "flags", "words"),
    [(True, 1, "abortive 0x1"), (False, 0, "graceful 0x0"), (True, None, "abortive"), (None, None, "not told")],
)
def test_a_call_is_named_as_far_as_it_was_told(abortive: bool | None, flags: int | None, words: str) -> None:
    call: Disconnect = {
        "conn": 0,
        "flags": flags,
        "abortive": abortive,
        "at_dispatch": None,
        "irql": None,
        "context_ok": None,
        "order": None,
    }
    assert call_words(call) == words


def test_whatever_is_not_a_pass_is_told_of_damage_beside_it(tmp_path: Path) -> None:
    run = Run(
        tmp_path,
        some(),
        Console(quiet=True),
        damage=lambda: ["the image was damaged"],
    )
    for repeat, verdict in enumerate(("pass", "fail", "infra", "inconclusive"), 1):
        run.add(Done(result(repeat=repeat, verdict=verdict)))
    assert [list(row.findings) for row in run.results.scenarios] == [[], *[["the image was damaged"]] * 3]


def test_a_repetition_that_passed_is_whole_on_disk_and_let_go_in_memory(tmp_path: Path) -> None:
    run = Run(tmp_path, some(), Console(quiet=True))
    for repeat, verdict in ((1, "pass"), (2, "pass"), (3, "fail")):
        row = result(repeat=repeat, verdict=verdict)
        (tmp_path / row.evidence).mkdir(parents=True)
        run.add(Done(row))
    assert [row.observed["wire"]["frames"] for row in run.results.scenarios] == [9, 0, 9]
    run.finish()
    on_disk = json.loads((tmp_path / "results.json").read_text())["scenarios"]
    assert [row["observed"] for row in on_disk] == [result().observed] * 3
    assert (tmp_path / "report.html").read_text().count("peer RST") == 3


def test_a_row_costs_the_same_however_many_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(tmp_path, some(), Console(quiet=True))
    run.begin()
    monkeypatch.setattr(publish, "write_atomically", lambda *_: pytest.fail("a whole file was written for a row"))
    sizes = []
    for repeat in range(100, 300):
        run.add(Done(result(repeat=repeat)))
        sizes.append((tmp_path / "results.jsonl").stat().st_size)
    assert len({after - before for before, after in pairwise(sizes)}) == 1


@given(st.lists(st.sampled_from(["pass", "fail", "infra"]), max_size=5), st.integers(0, 400))
def test_rows_survive_a_kill_in_the_middle_of_one(
    tmp_path_factory: pytest.TempPathFactory, verdicts: list[str], cut: int
) -> None:
    folder = tmp_path_factory.mktemp("run")
    file, written = rows.Rows(folder), [result(f"s{n}", verdict) for n, verdict in enumerate(verdicts)]
    for row in written:
        file.append(row)
    assert [row.name for row in rows.read(folder)] == [row.name for row in written]
    whole = (folder / "results.jsonl").read_bytes()
    (folder / "results.jsonl").write_bytes(whole[: max(0, len(whole) - cut)])
    left = rows.read(folder)
    assert [row.name for row in left] == [row.name for row in written[: len(left)]]
    assert len(left) == whole[: max(0, len(whole) - cut)].count(b"\n")


def test_a_row_for_which_there_is_no_room_leaves_nothing_of_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = rows.Rows(tmp_path)
    file.append(result("first"))
    limit = (tmp_path / "results.jsonl").stat().st_size + 100
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            file.append(result("second"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    file.append(result("third"))
    assert [row.name for row in rows.read(tmp_path)] == ["first", "third"]


def test_a_damaged_row_is_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "results.jsonl").write_text('{"name": "a"}\n')
    with pytest.raises(ValueError, match="line 1 is not a row"):
        rows.read(tmp_path)


PLAN = Plan(("linger-zero", "half-close"), repeat=2)


def cut_short(state: results.State, *scenarios: ScenarioResult) -> Results:
    made = some(*scenarios)
    made.plan = PLAN
    made.conclude(state, {"interrupted": "interrupted", "aborted": "the disk is full"}.get(state))
    return made


@pytest.mark.parametrize(
    ("state", "code", "says"),
    [
        ("interrupted", 130, "1 of 4 run; 3 not run: interrupted"),
        ("aborted", 3, "1 of 4 run; 3 not run: aborted: the disk is full"),
        ("complete", 3, "1 of 4 run; 3 not run: aborted: nobody reported them, which is a mistake in wsklab"),
        ("running", 3, "1 of 4 run; 3 not run: running"),
    ],
)
@pytest.mark.parametrize("verdict", ["pass", "fail"])
def test_a_run_that_lacks_rows_says_so_everywhere(
    state: results.State, code: int, says: str, verdict: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cut = cut_short(state, result(verdict=verdict))
    assert (cut.exit_code, cut.shortfall) == (code, says)
    document = cut.as_dict()
    assert (document["asked"], document["not_run"]) == (4, {"linger-zero": 1, "half-close": 2, UNLOAD: 1})
    suite = ET.fromstring(junit(cut))
    assert (suite.get("tests"), suite.get("errors")) == ("4", "3")
    assert [case.get("name") for case in suite.iter("testcase")][1:] == ["linger-zero", "half-close (2 times)", UNLOAD]
    assert {error.get("message") for error in suite.iter("error")} == {f"not run; {says}"}
    page = report.render(document, [[]], None, cut.shortfall)
    assert f"{'1 failed; ' if verdict == 'fail' else ''}{says}</h1>" in page
    assert "half-close (2 times)" in page
    Console().totals(cut)
    assert capsys.readouterr().out.splitlines()[-1] == says


def test_a_run_without_end_that_is_interrupted_is_no_success() -> None:
    cut = some(result(), result(UNLOAD))
    cut.plan = Plan(("linger-zero",), None, until_fail=True)
    cut.conclude("interrupted", "interrupted")
    assert (cut.exit_code, cut.shortfall) == (130, "1 run, no number asked for: interrupted")
    assert ET.fromstring(junit(cut)).get("errors") == "1"


def test_every_row_has_the_same_keys(tmp_path: Path) -> None:
    lab = SimpleNamespace(journal=Journal())  # the unload fails at once: such a lab has no target
    run = Run(tmp_path, some(), Console(quiet=True))
    row = run.unload(lab)  # type: ignore[arg-type]
    assert (row.verdict, row.observed) == ("infra", observed())
    assert set(row.observed) == {"disconnects", "receives", "sends", "wire"}
    assert "a mistake in wsklab, AttributeError" in row.reasons[0]


# --- wsklab report, wsklab results --------------------------------------------------------------------------------


def killed(folder: Path, *scenarios: ScenarioResult) -> None:
    """Make a run's folder as SIGKILL leaves it."""
    begun = some()
    begun.plan, begun.state = PLAN, "running"
    run = Run(folder, begun, Console(quiet=True))
    run.begin()
    for row in scenarios:
        run.add(Done(row))


def test_a_killed_run_is_not_green_before_and_after_its_report(tmp_path: Path) -> None:
    killed(tmp_path, result(), result("half-close"))
    before = json.loads((tmp_path / "results.json").read_text())
    assert (before["state"], before["exit_code"]) == ("running", 3)
    assert ET.parse(tmp_path / "junit.xml").getroot().get("errors") == "3"
    assert "wsklab report" in (tmp_path / "report.html").read_text()
    told = CliRunner().invoke(main, ["report", str(tmp_path)])
    assert told.exit_code == 3
    assert told.stdout.splitlines()[0] == "2 of 4 run; 2 not run: aborted: the run was killed"
    after = json.loads((tmp_path / "results.json").read_text())
    assert (after["state"], [row["name"] for row in after["scenarios"]]) == ("aborted", ["linger-zero", "half-close"])
    assert "2 of 4 run; 2 not run: aborted: the run was killed</h1>" in (tmp_path / "report.html").read_text()
    assert ET.parse(tmp_path / "junit.xml").getroot().get("errors") == "3"
    assert CliRunner().invoke(main, ["results", "check", str(tmp_path / "results.json")]).exit_code == 0


def test_a_run_that_goes_on_is_not_taken_for_dead(tmp_path: Path) -> None:
    folder = new_folder(tmp_path / "run")
    killed(folder, result())
    told = CliRunner().invoke(main, ["report", str(folder)])
    assert told.stdout.splitlines()[0] == "1 of 4 run; 3 not run: running"
    assert json.loads((folder / "results.json").read_text())["state"] == "running"


def test_a_report_of_something_else_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "results.json").write_text("{}")
    for folder, says in ((tmp_path, "is not the folder of a run"), (tmp_path / "damaged", "wsklab results check")):
        refused = CliRunner().invoke(main, ["report", str(folder)])
        assert isinstance(refused.exception, UsageError) and says in str(refused.exception)


def test_a_results_file_is_checked_in_form_and_in_its_sums(tmp_path: Path) -> None:
    good = cut_short("interrupted", result()).as_dict()
    file = tmp_path / "results.json"
    for wrong, says in (
        ({}, "ok"),
        ({"exit_code": 0}, "exit_code is 0, of these rows it must be 130"),
        ({"not_run": {}}, "not_run is {}"),
        ({"state": "fine"}, "state: Input should be"),
        ({"schema": 1}, "schema: Input should be 2"),
        ({"scenarios": [{}]}, "scenarios.0.name"),
    ):
        file.write_text(json.dumps(good | wrong))
        checked = CliRunner().invoke(main, ["results", "check", str(file)])
        assert says in checked.output
        assert checked.exit_code == (1 if wrong else 0)
    schema = json.loads(CliRunner().invoke(main, ["results", "schema"]).stdout)
    assert set(schema["required"]) == set(good)


# --- the console --------------------------------------------------------------------------------------------------


def test_a_console_whose_reader_left_says_nothing_more_and_nothing_fails() -> None:
    code = """
from wsklab.orchestrator.results.console import Console
console = Console()
with console.step("one"):
    for number in range(100_000):
        console.line("a line")
console.document("{}")
import sys
print("done", file=sys.stderr)
"""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdout=pipe, stderr=pipe, text=True) as it:
        assert it.stdout is not None and it.stderr is not None
        it.stdout.readline()
        it.stdout.close()
        assert it.stderr.read() == "done\n"
    assert it.returncode == 0
