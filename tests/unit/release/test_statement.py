"""The statements as in-toto has them, with the schema that is published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.qualified import KEY, PLAN, Runs, fails, qualified, statement_of

from wsklab.orchestrator.release import envelope
from wsklab.orchestrator.release.deviations import deviations
from wsklab.orchestrator.release.envelope import Refused
from wsklab.orchestrator.release.release import Released, names
from wsklab.orchestrator.release.statement import QUALIFICATION, REHEARSAL, TEST_RESULT, parse, payload, schema

PUBLISHED = Path(__file__).parents[3] / "docs" / "reference" / "qualification.schema.json"

ERRATUM = 'known: [{scenario: linger-zero, reason: flags 0x0, why: a known bug, until: "2026-12-31"}]\n'


def statements(released: Released) -> tuple[Any, Any]:
    """Both of them, out of their envelopes."""
    home = statement_of(released).parent
    ours, theirs = (envelope.opened((home / name).read_bytes(), [KEY.public_key]) for name in names(released.predicate))
    return json.loads(ours), json.loads(theirs)


def test_the_published_schema_is_that_of_the_code() -> None:
    assert PUBLISHED.read_text() == schema()


def test_the_subjects_are_the_drivers_that_were_run(tmp_path: Path) -> None:
    ours, theirs = statements(qualified(tmp_path))
    assert ours["_type"] == theirs["_type"] == "https://in-toto.io/Statement/v1"
    assert ours["subject"] == theirs["subject"] == [{"name": "wsklab.sys", "digest": {"sha256": "d" * 64}}]
    assert (ours["predicateType"], theirs["predicateType"]) == (QUALIFICATION, TEST_RESULT)


@pytest.mark.parametrize(
    ("runs", "errata", "rehearsal", "result", "failed"),
    [
        (Runs(), None, False, "PASSED", 0),
        (Runs(fails("linger-zero", 2)), None, False, "FAILED", 1),
        (Runs(fails("linger-zero", 1, 2, 3)), ERRATUM, False, "WARNED", 0),
        (Runs(qualifying=False), None, True, "WARNED", 0),
    ],
)
def test_nothing_but_a_clean_go_is_passed(
    tmp_path: Path, runs: Runs, errata: str | None, rehearsal: bool, result: str, failed: int
) -> None:
    plan = PLAN.replace("C01, C05", "C01")
    ours, theirs = statements(qualified(tmp_path, runs, plan, errata=errata, rehearsal=rehearsal))
    assert (theirs["predicate"]["result"], len(theirs["predicate"]["failedTests"])) == (result, failed)
    assert ours["predicateType"] == (REHEARSAL if rehearsal else QUALIFICATION)
    assert ours["predicate"]["result"].startswith("rehearsal-") == rehearsal


def test_what_took_part_is_in_it_with_its_hash(tmp_path: Path) -> None:
    ours, _ = statements(qualified(tmp_path))
    (run,) = ours["predicate"]["cells"][0]["runs"]
    assert run["driver"]["sha256"] == "d" * 64 and run["target"]["image_sha256"] == "a" * 64
    assert run["ingredients"] == {"qemu-system-x86_64": "9" * 64}
    assert ours["predicate"]["begun"]["lab"]["sha256"] == "1" * 64
    assert len(ours["predicate"]["begun"]["scenarios"]["wsklab"]["linger-zero"]) == 64
    index = (tmp_path / "release" / "evidence.sha256").read_text()
    assert "runs/01-wsklab-wsklab-on-windows-11/boot-01-1/results.jsonl" in index and "plan.yaml" in index


def test_a_statement_has_one_form_and_parts_that_agree(tmp_path: Path) -> None:
    whole = payload(qualified(tmp_path).predicate)
    assert payload(parse(whole)) == whole
    for wrong in (
        whole.replace(QUALIFICATION.encode(), REHEARSAL.encode()),
        whole.replace(b'"wsklab.sys"', b'"other.sys"'),
        whole.replace(b'"rehearsal": false', b'"rehearsal": true', 1),
        whole.replace(b'"version": 1,', b'"version": 1, "version": 1,', 1),
        whole.replace(b'"version": 1,', b'"version": 2,', 1),
        whole.replace(b'"version": 1,', b'"version": 1, "new": 1,', 1),
        whole[:-1],
        b"[]",
        b"[" * 100_000,
    ):
        with pytest.raises(Refused):
            parse(wrong)


def test_deviations_from_the_last_release_are_named(tmp_path: Path) -> None:
    before = qualified(tmp_path / "1").predicate
    runs = Runs(fails("linger-zero", 2), driver={"name": "wsklab", "sha256": "e" * 64})
    after = qualified(tmp_path / "2", runs, PLAN.replace("linger-zero, ", "linger-zero, half-close, ")).predicate
    said = list(deviations(before, after.cells, after.begun.lab))
    assert said == [
        f"wsklab on windows-11: the driver was {'d' * 16}, is {'e' * 16}",
        "wsklab on windows-11: half-close is new",
        "wsklab on windows-11: linger-zero was pass, is flaky",
    ]
    assert list(deviations(before, before.cells, before.begun.lab)) == []


def test_other_events_are_a_deviation_where_both_passed(tmp_path: Path) -> None:
    before = qualified(tmp_path).predicate
    (cell,) = before.cells
    other = [c.model_copy(update={"told": ("1x abortive 0x1",)}) for c in cell.scenarios]
    said = list(deviations(before, [cell.model_copy(update={"scenarios": tuple(other)})], before.begun.lab))
    assert "wsklab on windows-11: close-graceful was told 1x graceful 0x0, is told 1x abortive 0x1" in said
