"""`wsklab history` and `wsklab compare` as their users meet them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.past import folder

from wsklab.orchestrator.commands.cli import main
from wsklab.orchestrator.errors import UsageError


def wsklab(*words: str | Path) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


def refusal(*words: str | Path) -> str:
    error = wsklab(*words).exception
    assert isinstance(error, UsageError), error
    return str(error)


@pytest.fixture
def runs(tmp_path: Path, history: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four nightly runs: `linger-zero` broke in the third, and the fourth was killed."""
    monkeypatch.setenv("WSKLAB_HISTORY", history)
    folders = tmp_path / "runs"
    for day, verdict in ((1, "pass"), (2, "pass"), (3, "fail")):
        made = {"linger-zero": [verdict], "close-graceful": ["pass", "pass"]}
        folder(folders / f"n{day}", made, started=f"2026-01-0{day}T00:00:00Z")  # type: ignore[arg-type]
    third = folders / "n3" / "results.json"
    third.write_text(third.read_text(encoding="utf-8").replace("5f" * 32, "6a" * 32), encoding="utf-8")
    killed = folder(folders / "n4", {"close-graceful": ["pass"]}, "running", "2026-01-04T00:00:00Z")
    (killed / "results.jsonl").write_text("", encoding="utf-8")
    said = wsklab("history", "import", folders)
    assert said.output.startswith("4 runs read, 9 rows are new in ")
    return folders


def test_a_second_import_counts_nothing_twice(runs: Path) -> None:
    assert wsklab("history", "import", runs / "n1", runs / "n2").output.startswith("2 runs read, 0 rows are new")


def test_runs_are_listed_with_what_is_broken(runs: Path) -> None:
    said = wsklab("history").output
    assert [line.split()[3] for line in said.splitlines()[1:5]] == ["n1", "n2", "n3", "n4"]
    assert "killed, 1 not run" in said
    assert "Broken since run 3 (n3, 2026-01-03 00:00)" in said
    assert f"driver {'5f' * 6} -> {'6a' * 6}" in said


def test_a_scenario_is_told_with_its_rate_and_why(runs: Path) -> None:
    said = wsklab("history", "linger-zero").output
    assert "✓✓✗" in said
    assert "1 of 1 (100.0%; 20.7% to 100.0%)" in said
    assert "R5: WSK_FLAG_ABORTIVE is clear" in said
    [past] = json.loads(wsklab("history", "linger-zero", "--json").output)
    assert past["broke"]["first_bad"] == 2
    assert [run["verdicts"] for run in past["runs"]] == [{"pass": 1}, {"pass": 1}, {"fail": 1}]
    assert "no run in the history" in refusal("history", "linger-zreo")


def test_two_runs_are_compared_by_number_name_or_folder(runs: Path) -> None:
    for first, second in (("1", "3"), ("n1", "n3"), (str(runs / "n1"), str(runs / "n3"))):
        result = wsklab("compare", first, second)
        assert result.exit_code == 1
        assert "verdict      linger-zero: pass -> fail" in result.output
        assert "1 scenarios changed, 1 are as before" in result.output
    assert wsklab("compare", "1", "2").exit_code == 0
    assert wsklab("compare", "3", "1").exit_code == 0, "what got better is no failure"
    assert json.loads(wsklab("compare", "1", "3", "--json").output)["scenarios"][0]["scenario"] == "linger-zero"
    assert "no run 'n9'" in refusal("compare", "n1", "n9")


def test_evidence_of_old_passes_goes_and_the_rest_stays(runs: Path) -> None:
    def there() -> list[str]:
        return sorted(str(path.relative_to(runs)) for path in runs.glob("*/evidence/*"))

    before = there()
    dry = wsklab("history", "prune", "--keep-passes", "2", "--dry-run").output
    assert dry.startswith("evidence of 4 passes would be removed")
    assert there() == before
    assert wsklab("history", "prune", "--keep-passes", "2").output.startswith("evidence of 4 passes removed")
    assert there() == [
        "n1/evidence/linger-zero",
        "n2/evidence/linger-zero",
        "n3/evidence/close-graceful",
        "n3/evidence/close-graceful-2",
        "n3/evidence/linger-zero",
        "n4/evidence/close-graceful",
    ]
    assert list(runs.glob("*/.pruned")) == []
    assert wsklab("history", "prune", "--keep-passes", "0").output.startswith("evidence of 4 passes removed")
    assert "n3/evidence/linger-zero" in there(), "what did not pass is kept"


def test_a_folder_that_holds_another_run_now_is_left_alone(runs: Path) -> None:
    import shutil

    shutil.rmtree(runs / "n1")
    folder(runs / "n1", {"linger-zero": ["pass"]}, started="2026-02-01T00:00:00Z")
    said = wsklab("history", "prune", "--keep-passes", "0").output
    assert f"left alone: {runs / 'n1'}: holds another run now" in said
    assert (runs / "n1/evidence/linger-zero").exists()


def test_evidence_that_leads_out_of_its_run_is_left_alone(runs: Path, tmp_path: Path) -> None:
    import shutil

    elsewhere = tmp_path / "precious"
    elsewhere.mkdir()
    shutil.rmtree(runs / "n1/evidence/linger-zero")
    (runs / "n1/evidence/linger-zero").symlink_to(elsewhere)
    wsklab("history", "prune", "--keep-passes", "0")
    assert elsewhere.exists()
    assert (runs / "n1/evidence/linger-zero").is_symlink()


def test_a_site_is_written_and_written_again(runs: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    assert wsklab("history", "--html", site).output == f"Site: {site / 'index.html'}\n"
    assert wsklab("history", "--html", site, "--last", "2").exit_code == 0
    assert sorted(path.name for path in site.glob("runs/*")) == ["3.html", "4.html"]
    assert sorted(path.name for path in site.glob("scenarios/*")) == ["close-graceful.html", "linger-zero.html"]
    assert "holds something else" in refusal("history", "--html", runs)
    assert {path.name for path in site.glob("*.html")} == {"index.html", "trends.html", "coverage.html"}
    text = (site / "index.html").read_text(encoding="utf-8")
    assert '<a href="trends.html">Trends</a><a href="coverage.html">Coverage</a></nav>' in text


def test_the_matrix_of_twins_is_a_page_of_the_site_as_long_as_it_is_named(runs: Path, tmp_path: Path) -> None:
    site, matrix = tmp_path / "site", tmp_path / "twins.json"
    empty = {"schema": 1, "twins": [], "correct": {"verdicts": {}}, "missed": [], "false_alarms": []}
    matrix.write_text(json.dumps(empty), encoding="utf-8")
    assert wsklab("history", "--html", site, "--twins", matrix).exit_code == 0
    assert (site / "twins.html").exists()
    assert '<a href="twins.html">' in (site / "index.html").read_text(encoding="utf-8")
    assert wsklab("history", "--html", site).exit_code == 0
    assert not (site / "twins.html").exists()
    assert "--twins is for the site" in refusal("history", "--twins", matrix)


def test_an_empty_history_says_how_to_fill_it(history: str) -> None:
    assert "wsklab history import FOLDER..." in wsklab("history", "--history", history).output
    assert "no run 'last'" in refusal("compare", "last", "last", "--history", history)


def test_what_cannot_be_used_is_said_in_a_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert "SQLite or PostgreSQL" in refusal("history", "--history", "mysql://x/y")
    assert "has no results.json" in str(wsklab("history", "import", tmp_path).stderr)
    monkeypatch.setenv("WSKLAB_HISTORY", "off")
    assert "no history is kept" in refusal("history")
