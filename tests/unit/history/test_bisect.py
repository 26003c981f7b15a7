"""`wsklab bisect` from its words to its answer; the builds are run by one who knows what each would do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support import past

from wsklab.orchestrator.commands.bisect import Trial, Verdicts
from wsklab.orchestrator.commands.cli import main
from wsklab.orchestrator.errors import LabError, UsageError
from wsklab.orchestrator.history.bisection import Build
from wsklab.orchestrator.results.console import Console
from wsklab.orchestrator.run import runner

COUNT = 12


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Twelve builds; runs go into a folder that is not looked at."""
    monkeypatch.setattr(runner, "new_folder", lambda out: out)
    (tmp_path / "out").mkdir()
    for number in range(1, COUNT + 1):
        (tmp_path / f"builds/b{number}").mkdir(parents=True)
        (tmp_path / f"builds/b{number}/x.sys").write_bytes(b"MZ")
    return tmp_path


Asked = list[tuple[str, int, bool, tuple[str, ...]]]


def played(monkeypatch: pytest.MonkeyPatch, first_bad: int, rate: int = 1, unloadable: tuple[int, ...] = ()) -> Asked:
    """From build `first_bad` on, one of `rate` repeats fails; some builds do not load."""
    asked: Asked = []

    def run(self: Trial, build: Build, number: int, repeats: int, until_fail: bool) -> Verdicts:
        asked.append((build.name, repeats, until_fail, self.scenarios))
        place = int(build.name[1:])
        if place in unloadable:
            return {}
        verdicts = ["fail" if place >= first_bad and n % rate == rate - 1 else "pass" for n in range(repeats)]
        if until_fail and "fail" in verdicts:
            verdicts = verdicts[: verdicts.index("fail") + 1]
        return {"linger-zero": verdicts, "close-graceful": ["pass"] * repeats, "driver-unload": ["pass"]}

    monkeypatch.setattr(Trial, "run", run)
    return asked


def found(folder: Path, *more: str, good: str = "b1", bad: str = f"b{COUNT}") -> Result:
    words = ["bisect", "--good", good, "--bad", bad, "--driver-dir", str(folder / "builds"), "--out"]
    return CliRunner().invoke(main, [*words, str(folder / "out"), *more])


@pytest.mark.parametrize("first_bad", range(2, COUNT + 1))
def test_the_build_that_broke_it_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch, first_bad: int) -> None:
    asked = played(monkeypatch, first_bad)
    result = found(folder)
    assert f"b{first_bad} is the first bad build" in result.output
    assert f"b{first_bad - 1} is the last good one" in result.output
    assert result.exit_code == 0
    assert len(asked) <= 2 + 4, "both ends, and the logarithm of what is between"
    kept = json.loads((folder / "out/bisect.json").read_text(encoding="utf-8"))
    assert (kept["first_bad"], kept["last_good"]) == (f"b{first_bad}", f"b{first_bad - 1}")


def test_only_what_the_bad_build_did_wrong_is_run_further(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = played(monkeypatch, 7)
    assert found(folder, "linger-zero", "close-graceful").exit_code == 0
    assert asked[0] == ("b12", 5, False, ("linger-zero", "close-graceful"))
    assert {scenarios for *_, scenarios in asked[1:]} == {("linger-zero",)}


def test_a_flaky_failure_is_repeated_until_the_risk_is_small(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = played(monkeypatch, 7, rate=5)
    result = found(folder)
    assert "b7 is the first bad build" in result.output
    repeats = {repeats for _, repeats, _, _ in asked[1:]}
    assert repeats == {9}, "one of five failed: two of seven, and 0.05 is (5/7)^9"
    assert all(until_fail for _, _, until_fail, _ in asked[1:]), "a bad build is known by its first failure"
    asked.clear()
    found(folder, "--risk", "0.001")
    assert {repeats for _, repeats, _, _ in asked[1:]} == {21}
    asked.clear()
    found(folder, "--repeat", "6")
    assert {repeats for _, repeats, _, _ in asked} == {6}


def test_builds_that_cannot_be_judged_are_passed_over(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    played(monkeypatch, 7, unloadable=(3, 6, 9))
    result = found(folder, "--json")
    assert result.exit_code == 3
    document = json.loads(result.output)
    assert (document["first_bad"], document["suspects"], document["last_good"]) == (None, ["b6", "b7"], "b5")
    played(monkeypatch, 9, unloadable=(3, 6))
    assert json.loads(found(folder, "--json").output)["first_bad"] == "b9"


@pytest.mark.parametrize(
    ("first_bad", "unloadable", "said"),
    [
        (1, (), "b1 fails, too"),
        (7, (1,), "b1 cannot be judged"),
        (99, (), "b12 passed 5 times"),
        (7, (12,), "b12 cannot be judged: "),
    ],
)
def test_ends_that_are_not_as_was_said_are_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, first_bad: int, unloadable: tuple[int, ...], said: str
) -> None:
    played(monkeypatch, first_bad, unloadable=unloadable)
    error = found(folder).exception
    assert isinstance(error, LabError)
    assert said in str(error)


def test_builds_that_are_not_there_are_the_users_mistake(folder: Path) -> None:
    assert isinstance(found(folder, bad="b99").exception, UsageError)
    assert isinstance(found(folder, good="b9", bad="b8").exception, UsageError)


@pytest.mark.parametrize(
    ("rows", "found", "runs"),
    [
        ([{"linger-zero": ["pass"]}], {"linger-zero": ["pass"]}, 1),
        ([None, {"linger-zero": ["fail"]}], {"linger-zero": ["fail"]}, 2),
        ([{"linger-zero": ["infra"]}, {"linger-zero": ["pass"]}], {"linger-zero": ["pass"]}, 2),
        ([None, None], {}, 2),
    ],
)
def test_a_run_in_which_the_lab_failed_is_made_once_more(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    rows: list[dict[str, list[str]] | None],
    found: Verdicts,
    runs: int,
) -> None:
    made: list[Path] = []

    def run(self: Trial, build: Build, out: Path, repeats: int, until_fail: bool) -> tuple[int, str]:
        made.append(out)
        if (verdicts := rows[len(made) - 1]) is not None:
            past.folder(out, verdicts)  # type: ignore[arg-type]
        return 3, "the driver could not be loaded"

    monkeypatch.setattr(Trial, "_run", run)
    trial = Trial(tmp_path, (), (), Console(quiet=True))
    assert trial.run(Build("x", tmp_path / "b/x.sys"), 3, 1, until_fail=True) == found
    assert [out.name for out in made] == ["03-b-x", "03-b-x-again"][:runs]
    assert trial.why == "the driver could not be loaded"


def test_a_build_that_is_no_driver_is_passed_over_but_the_first_is_the_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "x.sys").write_bytes(b"MZ")
    trial = Trial(tmp_path, ("linger-zero",), (), Console(quiet=True))
    build = Build("x", tmp_path / "x.sys")
    with pytest.raises(UsageError, match="no driver that could be loaded"):
        trial.run(build, 1, 1, until_fail=False)
    assert trial.run(build, 2, 1, until_fail=True) == {}
