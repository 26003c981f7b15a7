"""The trial of faults: what counts as a promise that does not hold, the tables, and the page in the documentation."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from wsklab.orchestrator.commands import faults as trial
from wsklab.orchestrator.commands.cli import main
from wsklab.orchestrator.errors import LabError
from wsklab.orchestrator.run.preparation import Preparation
from wsklab.orchestrator.trials import faults
from wsklab.orchestrator.trials.child import Child
from wsklab.orchestrator.trials.fault import Case, Outcome, Seen, Setup, do
from wsklab.orchestrator.trials.faults import CASES, HEAD, PARTS, Measured

PAGE = Path(__file__).parents[3] / "docs" / "reliability.md"

GOOD = Seen("infra", "the wire's process ended", 1.23, 4.0, ("target-debug.log", "target-qmp.log", "wire.stderr"))


def case_of(seen: Seen | Exception) -> Case:
    def done(_setup: Setup, _folder: Path) -> Seen:
        if isinstance(seen, Exception):
            raise seen
        return seen

    return Case("wire", "the wire is killed", "infra", "process ended", done, ("target-debug.log",))


def outcome_of(seen: Seen | Exception, folder: Path) -> Outcome:
    nothing: Setup = None  # type: ignore[assignment]
    return do(case_of(seen), nothing, folder / "fault")


@pytest.mark.parametrize(
    ("seen", "problems"),
    [
        (GOOD, ()),
        (replace(GOOD, verdict="pass"), ("the verdict is pass, where infra was due",)),
        (replace(GOOD, reason="something broke"), ("the reason does not say 'process ended'",)),
        (replace(GOOD, kept=("wire.stderr",)), ("target-debug.log is not kept",)),
        (replace(GOOD, left=("2 of its processes outlive it",)), ("2 of its processes outlive it",)),
        (LabError("no lab"), ("it could not be done: no lab",)),
    ],
)
def test_whatever_does_not_hold_is_told(seen: Seen | Exception, problems: tuple[str, ...], tmp_path: Path) -> None:
    assert outcome_of(seen, tmp_path).problems == problems


def measured(*outcomes: Outcome) -> Measured:
    return Measured("2 processors", "2026-01-02T03:04:05+00:00", "tcg", outcomes)


def test_the_exit_code_says_whether_all_promises_hold(tmp_path: Path) -> None:
    good, bad = outcome_of(GOOD, tmp_path / "1"), outcome_of(replace(GOOD, verdict="pass"), tmp_path / "2")
    assert measured(good).exit_code == 0
    assert measured(good, bad).exit_code == 3
    assert "- **the wire is killed**: the verdict is pass, where infra was due" in faults.as_page(measured(good, bad))


def test_a_row_is_one_line_of_the_table_whatever_is_said(tmp_path: Path) -> None:
    odd = replace(GOOD, reason="process ended | *b*\n/tmp/x/y/it.yaml " + "x" * 500)
    page = faults.as_page(measured(outcome_of(odd, tmp_path)))
    (row,) = [line for line in page.splitlines() if "the wire is killed" in line]
    cells = re.split(r"(?<!\\)\|", row)[1:-1]
    assert len(cells) == len(HEAD)
    assert cells[3].startswith(r" process ended \| \*b\* it.yaml xxx")
    assert cells[4:6] == [" 1.2 s ", " 4.0 s "]
    assert cells[6] == " target: debug, qmp; wire.stderr "


def test_what_is_never_named_has_no_time(tmp_path: Path) -> None:
    assert faults.row(outcome_of(replace(GOOD, named_after_s=None), tmp_path))[4] == "-"


@pytest.mark.parametrize(("seen", "code"), [(GOOD, 0), (replace(GOOD, verdict="pass"), 3)])
def test_the_command_writes_what_it_measured_and_its_exit_code_is_true(
    seen: Seen, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Prepared:
        accelerator = "tcg"

        def quietly(self) -> Prepared:
            return self

    monkeypatch.setenv("WSKLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(faults, "CASES", (case_of(seen),))
    monkeypatch.setattr(trial, "build_driver", lambda *_: None)
    monkeypatch.setattr(Preparation, "prepare", lambda *_: Prepared())
    done = CliRunner().invoke(main, ["doctor", "--faults", "--out", str(tmp_path / "out")])
    assert done.exit_code == code, done.output
    assert "the wire is killed" in done.output
    document = json.loads((tmp_path / "out" / "faults.json").read_text())
    assert (document["exit_code"], document["outcomes"][0]["seen"]["named_after_s"]) == (code, 1.23)
    assert "| wire | the wire is killed |" in (tmp_path / "out" / "faults.md").read_text()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--target", "windows-2022"], "--faults are done to the stand-in; leave out --target windows-2022."),
        (["--out", "x.json"], "--faults writes a folder; name one with --out instead of x.json."),
    ],
)
def test_words_that_do_not_go_with_faults_are_refused(words: list[str], says: str) -> None:
    assert str(CliRunner().invoke(main, ["doctor", "--faults", *words]).exception) == says


def table(page: str) -> dict[str, list[str]]:
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in page.splitlines() if "|" in line]
    return {row[1]: row for row in rows}


def test_the_page_has_a_row_for_every_fault_with_the_verdict_that_is_promised() -> None:
    rows = table(PAGE.read_text(encoding="utf-8"))
    assert tuple(rows.pop("fault")) == HEAD
    rows.pop("---")
    assert {name: (row[0], row[2]) for name, row in rows.items()} == {
        case.name: (case.part, case.verdict) for case in CASES
    }
    assert all(row[5].endswith(" s") for row in rows.values())


def test_each_part_has_a_case_and_each_case_its_own_name() -> None:
    assert {case.part for case in CASES} == set(PARTS)
    assert len({case.name for case in CASES}) == len(CASES)


def child_that(monkeypatch: pytest.MonkeyPatch, folder: Path, does: str) -> Callable[[], Child]:
    """Replace Python by a program that does this."""
    program = folder / "python"
    program.write_text(f"#!/bin/sh\n{does}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    return lambda: Child("run")


def test_who_outlives_a_command_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with child_that(monkeypatch, tmp_path, "sleep 1000 >/dev/null 2>&1 &\necho ready\nexec sleep 1000")() as child:
        child.until("ready")
        child.meet_family()
        (sleeper,) = child.family
        child.process.kill()
        child.end()
        assert child.outlived(0) == 1
        os.kill(sleeper, 9)
        assert child.outlived(10) == 0


def test_a_prelude_runs_before_the_command_and_in_its_process() -> None:
    with Child("--version", prelude="import sys; print('first', *sys.argv[1:], flush=True)") as child:
        assert child.end() == 0
    assert next(line for _, line in child.said) == "first --version"
    assert child.when("wsklab, version") is not None


def test_what_a_command_says_has_its_time_and_its_end_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    began = time.monotonic()
    with child_that(monkeypatch, tmp_path, "echo one; echo two >&2; exit 3")() as child:
        assert child.end() == 3
    found = child.when("two")
    assert found is not None and found[0] >= began
    assert (child.ended_as, child.last) == ("not proven (exit 3)", "two")
