"""`PLAN.yaml`: what is read, what is refused, what it proves."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.qualified import PLAN, loaded

from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.release.plan import Plan, parse, places, proves, short, words
from wsklab.orchestrator.release.sampling import needed


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (PLAN.replace("repeats: 3", "repeats: 0"), "PLAN.yaml:5: repeats"),
        (PLAN.replace("repeats", "repeat"), "PLAN.yaml:5: repeat: unknown key 'repeat'; did you mean 'repeats'?"),
        (PLAN.replace("C05", "C99"), "there is no number 'C99' in the reference"),
        (PLAN.replace("echo-1.4.2", "'../x'"), "PLAN.yaml:2: name"),
        (PLAN.replace("targets: [windows-11]", "targets: []"), "PLAN.yaml:3: targets"),
        (PLAN + "errata: not-there.yaml\n", "not-there.yaml: cannot be read"),
        (PLAN + "jobs: many\n", "a number of labs, or auto"),
    ],
)
def test_a_wrong_plan_is_refused_with_its_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(UsageError) as refused:
        loaded(tmp_path, text)
    assert says in str(refused.value)


def test_the_plan_in_the_documentation_is_one_and_can_prove_what_it_asks() -> None:
    page = (Path(__file__).parents[3] / "docs" / "qualify.md").read_text()
    plan = parse(page.partition("```yaml\n")[2].partition("```")[0].encode(), "docs/qualify.md")
    assert (len(places(plan)), short(plan)) == (4, None)
    assert f"For a flake rate of at most 1 % it takes {needed(0.01, 0.95)} repeats." in page


def test_the_cells_are_the_product_and_have_folders_of_their_own(tmp_path: Path) -> None:
    found = places(loaded(tmp_path, PLAN + "options: [{}, {verifier: standard}]\ndrivers: [a.yaml, 'b/a.yaml']\n").plan)
    assert [place.title for place in found] == [
        "a.yaml on windows-11",
        "a.yaml on windows-11 --verifier standard",
        "b/a.yaml on windows-11",
        "b/a.yaml on windows-11 --verifier standard",
    ]
    assert len({place.folder for place in found}) == 4


def test_options_are_typed_as_on_the_command_line() -> None:
    assert words({"strict": True, "variant": "one-cpu", "other": False, "n": 3}) == [
        *("--strict", "--variant", "one-cpu", "--n", "3")
    ]


def test_paths_are_relative_to_the_plan_and_names_are_not(tmp_path: Path) -> None:
    plan = loaded(tmp_path)
    assert plan.word("my/one.yaml") == str(tmp_path / "my/one.yaml")
    assert (plan.word("linger-zero"), plan.word("/abs/x.yaml")) == ("linger-zero", "/abs/x.yaml")


def test_the_repeats_are_spread_over_the_boots() -> None:
    assert Plan(name="x", targets=("t",), repeats=10, boots=4).per_boot == [3, 3, 2, 2]
    assert Plan(name="x", targets=("t",), repeats=2, boots=4).per_boot == [1, 1]


def test_what_the_repeats_prove_is_said(tmp_path: Path) -> None:
    said = " ".join(proves(loaded(tmp_path, PLAN.replace("repeats: 3", "repeats: 100")).plan, 2))
    assert "1 cell x 2 scenarios x 100 repeats = 200 runs" in said
    assert "100 runs without a failure prove a flake rate below 2.95 %" in said
    assert "a flake rate of at most 1 % it takes 299 repeats" in said


@pytest.mark.parametrize(("repeats", "enough"), [(298, False), (299, True)])
def test_a_rate_that_the_repeats_cannot_prove_is_refused_before_the_first_run(repeats: int, enough: bool) -> None:
    plan = Plan.model_validate({"name": "x", "targets": ["t"], "repeats": repeats, "rules": {"flake_rate": 0.01}})
    why = short(plan)
    assert (why is None) == enough
    assert enough or "set `repeats: 299`" in str(why)
