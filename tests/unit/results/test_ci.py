"""What build servers read in a log, and what they attach."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.rows import junit, result, some

from wsklab.orchestrator.results import attachments, ci
from wsklab.orchestrator.results.ci import Failure, Name, Server
from wsklab.orchestrator.results.console import Console
from wsklab.orchestrator.results.ladder import StoryRow
from wsklab.orchestrator.results.pace import Pace, span
from wsklab.orchestrator.results.story import Proof, Story

STORY = Story("The peer's RST reached the target.", (Proof(1.0, "wire", "peer → RST", 4),), "Looks like BF55.")


@pytest.mark.parametrize(
    ("environment", "name", "workspace"),
    [
        ({"GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": "/w"}, "github", "/w"),
        ({"GITLAB_CI": "true", "CI_PROJECT_DIR": "/b"}, "gitlab", "/b"),
        ({"TF_BUILD": "True", "SYSTEM_DEFAULTWORKINGDIRECTORY": "/s"}, "azure", "/s"),
        ({"JENKINS_URL": "https://ci/", "WORKSPACE": "/j"}, "jenkins", "/j"),
    ],
)
def test_a_build_server_is_known_by_its_variables(environment: dict[str, str], name: str, workspace: str) -> None:
    found = ci.detect(environment)
    assert found is not None
    assert (found.name, found.workspace) == (name, Path(workspace))
    assert ci.detect({}) is None


@pytest.mark.parametrize(
    ("name", "begin", "end"),
    [
        ("github", "::group::drivers", "::endgroup::"),
        ("azure", "##[group]drivers", "##[endgroup]"),
        (
            "gitlab",
            "\x1b[0Ksection_start:17:wsklab_1[collapsed=true]\r\x1b[0Kdrivers",
            "\x1b[0Ksection_end:17:wsklab_1\r\x1b[0K",
        ),
        ("jenkins", "", ""),
    ],
)
def test_groups_are_written_as_each_server_documents_them(name: Name, begin: str, end: str) -> None:
    server = Server(name)
    assert (server.begin("wsklab_1", "drivers", 17.2), server.end("wsklab_1", 17.2)) == (begin, end)


def test_annotations_are_few_and_what_is_in_them_stays_text() -> None:
    failures = [Failure(f"a:b,{number}", "fail", "100%\nbad") for number in range(30)]
    github = Server("github").annotations("30 of 30 did not pass", failures)
    assert len(github) == 10, "GitHub shows ten of a kind in each step"
    assert github[0] == "::error title=wsklab::30 of 30 did not pass; 21 more are in the report"
    assert github[1] == "::error title=a%3Ab%2C0%3A fail::100%25%0Abad"
    assert (
        Server("azure").annotations("x", failures)[1] == "##vso[task.logissue type=error]a:b,0: fail: 100%AZP25%0Abad"
    )
    assert Server("gitlab").annotations("x", failures) == Server("jenkins").annotations("x", failures) == []
    assert Server("github").annotations("all passed", []) == []


OBEYED = re.compile(r"::[a-zA-Z-]+[^\n]*::|##\[|##vso\[|section_(start|end):")


@given(
    st.lists(
        st.sampled_from(
            ["::", "error", " title=x", "##", "vso[", "[", "section_start:", "section_end:1", "#", ":", "a"]
        )
    ).map("".join)
)
def test_nothing_that_a_target_says_is_obeyed(text: str) -> None:
    assert not OBEYED.search(ci.harmless(text))
    assert ci.harmless(text).replace("\u2060", "") == text


def test_what_a_driver_prints_is_no_command_on_the_console(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(server=Server("github"))
    with console.step("drivers", makes=True):
        console.progress("::error::owned")
    console.verdict(result(verdict="fail", reasons=["##vso[task.complete result=Succeeded]"]))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "::group::drivers" and "::endgroup::" in lines
    assert [line for line in lines if OBEYED.search(line)] == ["::group::drivers", "::endgroup::"]


def test_a_run_ends_with_annotations_and_a_summary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = some(result(), result("half-close", "fail", reasons=["why"], story=STORY))
    summary = tmp_path / "summary.md"
    Console(server=Server("github", summary=summary)).tell_server(results, tmp_path)
    said = capsys.readouterr().out.splitlines()
    assert said == [
        "::error title=wsklab::1 of 2 did not pass",
        f"::error title=half-close%3A fail::{STORY.text}",
    ]
    assert "| half-close | fail | The peer's RST reached the target. |" in summary.read_text()
    Console(server=Server("azure")).tell_server(results, tmp_path)
    assert capsys.readouterr().out.splitlines()[-1] == f"##vso[task.uploadsummary]{tmp_path}/summary.md"
    Console(quiet=True, server=Server("github")).tell_server(results, tmp_path)
    Console().tell_server(results, tmp_path)
    assert capsys.readouterr().out == ""


def test_what_was_observed_folds_for_the_first_failures_alone(capsys: pytest.CaptureFixture[str]) -> None:
    console, rows = Console(server=Server("gitlab")), [StoryRow(1.0, "wire", "←", "rst", "RST seq 1")]
    for number in range(30):
        if console.folds:
            console.ladder(f"s{number}", rows)
    said = capsys.readouterr().out
    assert said.count("section_start") == said.count("section_end") == said.count("RST seq 1") == ci.MOST
    assert not Console(server=Server("jenkins")).folds and not Console().folds


def test_a_summary_keeps_below_what_github_takes() -> None:
    failures = [Failure("x" * 100, "fail", "<b>|" * 500) for _ in range(1000)]
    text = ci.markdown("much", failures, {"fail": 1000, "all": 1000})
    assert len(text.encode()) < 1 << 20
    assert "more are in the report" in text and "<b>" not in text.replace("\\<b\\>", "")


# --- how far, how fast, how long ----------------------------------------------------------------------------------


def test_the_pace_of_a_run_tells_what_runs_and_what_is_left() -> None:
    pace = Pace(20, 100.0)
    pace.start("a")
    assert pace.line(101.0) == "a · 0 of 20"
    for number in range(10):
        pace.finish("a", 102.0 + 2 * number)
    pace.start("b")
    assert pace.line(120.0) == "b · 10 of 20 · 30.0 a minute · about 20 s left"
    assert pace.line(125.0).endswith("about 15 s left"), "the time goes on while nothing comes"
    endless = Pace(None, 0.0)
    endless.finish("x", 1.0)
    assert (endless.count, endless.line(2.0)) == ("1", "1 done")


@pytest.mark.parametrize(("seconds", "said"), [(0, "0 s"), (89, "89 s"), (600, "10 min"), (7300, "2 h 2 min")])
def test_a_time_is_said_as_people_say_it(seconds: float, said: str) -> None:
    assert span(seconds) == said


def test_the_console_counts_rows_and_quiet_keeps_passes_back(capsys: pytest.CaptureFixture[str]) -> None:
    failed = result("b", "fail", reasons=["first", "second"], story=STORY)
    for verbosity, says, silent in (
        (0, ["linger-zero  1/2", "b  2/2"], []),
        (-1, ["b  2/2"], ["linger-zero", "cached"]),
    ):
        console = Console(verbosity=verbosity)
        with console.step("drivers", makes=True):
            pass
        with console.pace(2):
            for row in (result(), failed):
                console.starts(row.name)
                console.verdict(row)
        said = capsys.readouterr().out
        assert all(text in said for text in [*says, STORY.text, "frame 4", STORY.hint, "second"])
        assert not any(text in said for text in [*silent, "first"])


# --- attachments --------------------------------------------------------------------------------------------------


def test_each_row_that_did_not_pass_has_one_file_of_its_own(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "r1"
    rows = [result("a", "fail"), result("a", "fail", repeat=2), result("b", "infra"), result("c")]
    for row in rows:
        (run / row.evidence / "crash").mkdir(parents=True)
        for name in ("wire.pcapng", "crash/crash.json"):
            (run / row.evidence / name).write_text(row.name)
    attached = attachments.pack(run, rows, {"GITLAB_CI": "true", "CI_PROJECT_DIR": str(tmp_path)})
    document = ET.fromstring(junit(some(*rows), attached))
    tags = [text.text or "" for text in document.iter("system-out")]
    assert all(re.fullmatch(r"\[\[ATTACHMENT\|.+\]\]\n", tag) for tag in tags)
    paths = [tmp_path / tag.strip().removeprefix("[[ATTACHMENT|").removesuffix("]]") for tag in tags]
    assert len(paths) == 3 and all(path.is_file() for path in paths), "of a pass there is none"
    by_class = [
        (case.get("classname"), path.name) for case, path in zip(document.iter("testcase"), paths, strict=False)
    ]
    assert len(set(by_class)) == 3, "Jenkins keeps one of each name in a class"
    with zipfile.ZipFile(paths[1]) as archive:
        assert sorted(archive.namelist()) == ["a-2/crash/crash.json", "a-2/wire.pcapng"]
    outside = attachments.pack(run, rows, {"JENKINS_URL": "x", "WORKSPACE": "/elsewhere"})
    assert all(Path(path).is_absolute() for path in outside.values())


def test_the_body_of_a_failure_has_the_whole_reason() -> None:
    document = ET.fromstring(junit(some(result("a", "fail", reasons=["first", "second"], story=STORY))))
    failure = document.find(".//failure")
    assert failure is not None and failure.get("message") == STORY.text
    assert (failure.text or "").splitlines() == [*STORY.lines, "first", "second"]
