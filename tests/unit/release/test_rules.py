"""Go or no-go: each rule is broken once on purpose, and named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.qualified import NOW, PLAN, Runs, begin, course, fails, loaded, passes, qualified

from wsklab.orchestrator.release.plan import places
from wsklab.orchestrator.release.records import read_cell
from wsklab.orchestrator.release.rules import certain
from wsklab.orchestrator.results.results import UNLOAD

ERRATUM = """
known:
  - {scenario: linger-*, reason: flags 0x0, why: a known bug, link: "https://example.org/1", until: %s, sometimes: %s}
"""


def test_all_that_passes_is_a_go(tmp_path: Path) -> None:
    predicate = qualified(tmp_path).predicate
    assert (predicate.decision.reasons, predicate.result) == ((), "go")
    assert [(c.scenario, c.passed, c.runs) for c in predicate.cells[0].scenarios] == [
        ("close-graceful", 3, 3),
        (UNLOAD, 1, 1),
        ("linger-zero", 3, 3),
    ]


@pytest.mark.parametrize(
    ("runs", "plan", "says"),
    [
        (lambda: Runs(fails("linger-zero", 2)), PLAN, "linger-zero failed 1 of 3 times, 0 may: flags 0x0"),
        (lambda: Runs(fails(UNLOAD, 1)), PLAN, "driver-unload failed 1 of 1 times"),
        (
            lambda: Runs(fails("linger-zero", 2, verdict="inconclusive")),
            PLAN,
            "1 of 7 runs are inconclusive, 0 % may be",
        ),
        (lambda: Runs(fails("linger-zero", 2, verdict="infra")), PLAN, "1 of 7 runs are infra, 0 % may be"),
        (
            lambda: Runs(fails("linger-zero", 2, verdict="infra")),
            PLAN,
            "linger-zero was judged 2 times, 3 are asked for",
        ),
        (Runs, PLAN.replace("C05", "C05, C02"), "no scenario that passed covers C02"),
        (lambda: Runs(fails("linger-zero", 2)), PLAN.replace("rules: {", "rules: {failures: 1, "), "passed covers C05"),
        (lambda: Runs(qualifying=False), PLAN, "windows-11 is a stand-in, which qualifies nothing"),
        (lambda: Runs(driver={"name": "wsklab", "sha256": "d" * 64, "twin": "ignores-flag"}), PLAN, "wrong on purpose"),
        (
            Runs,
            PLAN.replace("rules: {", "rules: {options: {verifier: standard}, "),
            "wsklab was not run on windows-11 with --verifier standard, which the rules ask for",
        ),
        (Runs, PLAN + "options: [{verifier: standard}]\n", "Driver Verifier was not found set to standard in all runs"),
    ],
)
def test_a_broken_rule_is_a_no_go_and_named(tmp_path: Path, runs: Callable[[], Runs], plan: str, says: str) -> None:
    predicate = qualified(tmp_path, runs(), plan).predicate
    assert predicate.result == "no-go"
    assert says in " ".join(predicate.decision.reasons)


def test_the_verifier_that_the_rules_ask_for_is_a_go_when_it_was_on(tmp_path: Path) -> None:
    plan = PLAN.replace("rules: {", "rules: {options: {verifier: standard}, ") + "options: [{verifier: standard}]\n"
    assert qualified(tmp_path, Runs(verifier="standard"), plan).predicate.result == "go"


def test_a_flake_rate_is_asked_of_what_was_seen(tmp_path: Path) -> None:
    rules = "rules: {failures: 1, flake_rate: 0.4, confidence: 0.8}"
    plan = PLAN.replace("rules: {covers: [C01, C05]}", rules).replace("repeats: 3", "repeats: 8")
    assert qualified(tmp_path / "clean", Runs(), plan).predicate.result == "go"
    plan = plan.replace("0.4", "0.3")
    found = qualified(tmp_path / "flaky", Runs(fails("linger-zero", 2)), plan).predicate
    assert "linger-zero may flake at up to" in " ".join(found.decision.reasons)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"image": "b" * 64}, "the image of windows-11 is another in"),
        ({"driver": {"name": "wsklab", "sha256": "e" * 64}}, "the driver wsklab for windows is another in"),
    ],
)
def test_what_took_part_must_stay_the_same(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    runs = Runs()

    def changing(name: str, number: int) -> Any:
        for key, value in changes.items():
            setattr(runs, key, value)
        return "pass", ""

    runs.judge = changing
    predicate = qualified(tmp_path, runs, PLAN + "boots: 2\n").predicate
    assert says in " ".join(predicate.decision.reasons)


def test_a_known_failure_is_a_go_with_its_erratum_named(tmp_path: Path) -> None:
    plan = PLAN.replace("C01, C05", "C01")
    runs = Runs(fails("linger-zero", 1, 2, 3))
    predicate = qualified(tmp_path, runs, plan, errata=ERRATUM % ("2026-12-31", "false")).predicate
    assert predicate.result == "go"
    assert (
        "Open erratum on linger-*, until 2026-12-31: a known bug (https://example.org/1)" in predicate.decision.remarks
    )


@pytest.mark.parametrize(
    ("judge", "until", "says"),
    [
        (fails("linger-zero", 1, 2, 3), "2026-11-25", "was known until 2026-11-25: look at it again"),
        (fails("linger-zero", 1, 2), "2026-12-31", "linger-zero passes, but is to fail"),
        (fails("linger-zero", 1, 2, 3, reason="another"), "2026-12-31", "linger-zero failed 3 of 3 times"),
    ],
)
def test_an_erratum_excuses_nothing_but_what_it_is_about(tmp_path: Path, judge: Any, until: str, says: str) -> None:
    predicate = qualified(
        tmp_path, Runs(judge), PLAN.replace("C01, C05", "C01"), errata=ERRATUM % (until, "false")
    ).predicate
    assert says in " ".join(predicate.decision.reasons)


def test_a_rehearsal_says_so_everywhere(tmp_path: Path) -> None:
    plan = PLAN.replace("windows-11", "standin")
    released = qualified(tmp_path, Runs(qualifying=False), plan, rehearsal=True)
    assert released.predicate.result == "rehearsal-go"
    assert released.predicate.decision.remarks[0] == "This is a rehearsal: it qualifies nothing."
    page = (tmp_path / "release" / "qualification.html").read_text()
    assert "REHEARSAL – it qualifies nothing" in page  # noqa: RUF001


@pytest.mark.parametrize(
    ("judge", "rules", "says"),
    [
        (fails("linger-zero", 2), "{}", "linger-zero failed 1 of 2 times, 0 may"),
        (fails("linger-zero", 2), "{failures: 1}", None),
        (fails("linger-zero", 2), "{failures: 1, flake_rate: 0.5}", "7 runs cannot prove"),
        (fails("linger-zero", 2), "{failures: 1, flake_rate: 0.6}", None),
        (fails("linger-zero", 2, verdict="infra"), "{}", "1 of 4 runs are infra, 0 % may be"),
        (fails("linger-zero", 2, verdict="infra"), "{infra: 0.2}", None),
        (fails("linger-zero", 2, verdict="inconclusive"), "{}", "1 of 4 runs are inconclusive"),
        (passes, "{covers: [C02]}", None),
    ],
)
def test_a_no_go_is_certain_when_no_further_run_can_mend_it(
    tmp_path: Path, judge: Any, rules: str, says: str | None
) -> None:
    text = PLAN.replace("{covers: [C01, C05]}", rules).replace("repeats: 3", "repeats: 7")
    planned, folder = loaded(tmp_path, text), tmp_path / "release"
    with pytest.raises(KeyboardInterrupt):
        course(folder, planned, begin(folder, planned), Runs(judge, interrupt_at=4)).run()
    cell = read_cell(folder, places(planned.plan)[0], (), NOW.date())
    found = list(certain(planned.plan, [cell], (), NOW.date()))
    assert (says is None) == (not found), found
    assert (says or "") in " ".join(found)


def test_an_erratum_that_passes_or_is_over_cannot_be_mended(tmp_path: Path) -> None:
    for until, says in (("2026-12-31", "passes, but is to fail"), ("2026-11-25", "was known until 2026-11-25")):
        errata = ERRATUM % (until, "false")
        planned, folder = loaded(tmp_path / until, errata=errata), tmp_path / until / "release"
        course(folder, planned, begin(folder, planned), Runs()).run()
        cell = read_cell(folder, places(planned.plan)[0], planned.errata, NOW.date())
        assert says in " ".join(certain(planned.plan, [cell], planned.errata, NOW.date()))
