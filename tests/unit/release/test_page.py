"""The page for the release folder."""

from __future__ import annotations

from pathlib import Path

from support.qualified import PLAN, Runs, fails, qualified

from wsklab.orchestrator.release import page

HOSTILE = "<script>x</script>"


def test_the_page_says_what_was_decided_and_why(tmp_path: Path) -> None:
    runs = Runs(fails("linger-zero", 2, reason=HOSTILE))
    text = page.render(qualified(tmp_path, runs, PLAN + f"title: {HOSTILE}\n").predicate)
    assert "NO GO" in text and "Why it is no go" in text
    assert '<td class="flaky">2/3, 1 failed</td>' in text
    assert '<td class="pass">3/3</td>' in text
    assert "<script>" not in text and "&lt;script&gt;" in text
    assert "REHEARSAL" not in text


def test_what_took_part_stands_on_it(tmp_path: Path) -> None:
    text = page.render(qualified(tmp_path).predicate)
    for digest in ("d" * 64, "a" * 64, "9" * 64, "1" * 64):
        assert digest in text
    assert "No earlier release was named" in text


def test_without_chromium_there_is_a_sentence(tmp_path: Path) -> None:
    said = page.printed(tmp_path / "qualification.html", tmp_path / "qualification.pdf", {"PATH": str(tmp_path)})
    assert (
        said
        == "There is no qualification.pdf, as Chromium is not installed; print qualification.html from any browser."
    )


def test_a_chromium_that_prints_nothing_is_told(tmp_path: Path) -> None:
    (tmp_path / "chromium").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "chromium").chmod(0o755)
    said = page.printed(tmp_path / "q.html", tmp_path / "q.pdf", {"PATH": f"{tmp_path}:/usr/bin:/bin"})
    assert said == "There is no q.pdf, as Chromium did not print it; print q.html from any browser."
