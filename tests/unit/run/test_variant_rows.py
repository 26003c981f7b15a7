"""A run over variants of the machine: labs change with them, and every row, file and sum knows which it was."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from support.rows import junit

from wsklab.orchestrator.commands.results import problems
from wsklab.orchestrator.results.console import Console
from wsklab.orchestrator.results.results import UNLOAD, Plan, Results, ScenarioResult, observed
from wsklab.orchestrator.run.order import Item, evidence_name, order, plan
from wsklab.orchestrator.run.runner import Done, Run
from wsklab.orchestrator.run.workers import Work, Workers
from wsklab.orchestrator.scenario.scenario import Scenario
from wsklab.orchestrator.scenario.yaml_source import parse


def scenario(name: str) -> Scenario:
    return parse(f"name: {name}\ntitle: t\nsteps:\n  - lab: settle\n", Scenario, "f")


TWO = [scenario("a"), scenario("b")]
VARIANTS = {"": TWO, "cpus-2": TWO, "ipv6-only": TWO[:1]}


class OneLab:
    """A lab that can be stopped, and knows its variant."""

    trusted, slowness = True, 1.0

    def __init__(self, variant: str) -> None:
        self.variant, self.stopped = variant, False

    def stop(self) -> None:
        self.stopped = True


class Played(Run):
    """A run whose labs are not there; what is played on which is written down."""

    def __init__(self, folder: Path, fails: str = "") -> None:
        results = Results(
            {"seed": 1, "id": "r", "started": "", "command": "", "host": "", "accelerator": ""},
            {"name": "standin", "version": "", "qualifying": False},
            {"name": "wsklab", "sha256": "", "twin": None},
        )
        super().__init__(folder, results, Console(quiet=True))
        self.fails = fails
        self.did: list[tuple[str, str]] = []
        self.labs: list[OneLab] = []

    def supply(self, variant: str) -> OneSupply:
        return OneSupply(self, variant)

    def perform(self, lab: Any, item: Item, attempt: str = "") -> Done:
        assert lab.variant == item.variant and not lab.stopped
        self.did.append((item.scenario.name, item.variant))
        verdict = "fail" if item.variant == self.fails and item.scenario.name == "b" else "pass"
        return Done(self.row(item.scenario.name, item.number, item.variant, verdict))

    def unload(self, lab: Any, number: int = 1, variant: str = "") -> ScenarioResult:
        assert lab.variant == variant
        self.did.append((UNLOAD, variant))
        row = self.row(UNLOAD, number, variant, "pass")
        self.add(Done(row))
        return row

    def row(self, name: str, number: int, variant: str, verdict: Any) -> ScenarioResult:
        evidence = f"evidence/{evidence_name(name, number, variant)}"
        (self.folder / evidence).mkdir(parents=True)
        reasons = [] if verdict == "pass" else ["it is so"]
        times = {"total_s": 0.0}
        return ScenarioResult(
            name, name, number, verdict, reasons, [], {}, observed(), times, evidence, variant=variant
        )


class OneSupply:
    """Labs of one variant."""

    def __init__(self, run: Played, variant: str) -> None:
        self._run, self._variant = run, variant
        self._lab: OneLab | None = None

    def next(self, suspect: bool = False) -> Any:
        if self._lab is None:
            self._lab = OneLab(self._variant)
            self._run.labs.append(self._lab)
        return self._lab

    def retire(self) -> None:
        if self._lab is not None:
            self._lab.stop()
        self._lab = None


def play(run: Played, workers: int = 1) -> None:
    run.results.plan = plan(TWO, 1, False, VARIANTS)
    run.begin()
    Workers(run, run.supply, Work(order(TWO, 1, False, VARIANTS), run.stop)).play(workers)


def test_one_variant_after_another_each_on_a_lab_of_its_own(tmp_path: Path) -> None:
    run = Played(tmp_path)
    play(run)
    assert run.did == [
        ("a", ""), ("b", ""), (UNLOAD, ""),
        ("a", "cpus-2"), ("b", "cpus-2"), (UNLOAD, "cpus-2"),
        ("a", "ipv6-only"), (UNLOAD, "ipv6-only"),
    ]  # fmt: skip
    assert [lab.variant for lab in run.labs] == list(VARIANTS) and all(lab.stopped for lab in run.labs)
    document = json.loads((tmp_path / "results.json").read_text())
    assert (document["state"], document["asked"], document["not_run"]) == ("complete", 5, {})
    assert document["plan"]["variants"] == list(VARIANTS) and document["plan"]["left_out"] == ["b [ipv6-only]"]
    assert [row["variant"] for row in document["scenarios"]] == [
        "", "", "cpus-2", "cpus-2", "ipv6-only", "", "cpus-2", "ipv6-only",
    ]  # fmt: skip
    assert document["scenarios"][2]["evidence"] == "evidence/a@cpus-2"
    assert problems(tmp_path / "results.json") == []


def test_labs_side_by_side_judge_every_unload(tmp_path: Path) -> None:
    run = Played(tmp_path)
    play(run, workers=2)
    assert run.results.state == "complete" and run.results.missing == {}
    assert {variant for name, variant in run.did if name == UNLOAD} == set(VARIANTS)


def test_a_verdict_that_depends_on_the_variant_is_not_flaky(tmp_path: Path) -> None:
    run = Played(tmp_path, fails="cpus-2")
    play(run)
    assert run.results.flaky == [] and run.results.exit_code == 1
    assert 'name="b [cpus-2]"' in junit(run.results) and 'name="b"' in junit(run.results)
    page = (tmp_path / "report.html").read_text()
    assert 'id="b-cpus-2-1"' in page and "[cpus-2]" in page
    twice = replace(run.results, scenarios=[*run.results.scenarios, run.row("b", 2, "cpus-2", "pass")])
    assert twice.flaky == ["b [cpus-2]"]


def test_what_a_variant_lacks_is_missed_by_name() -> None:
    wanted = Plan(("a",), 1, False, ("", "cpus-2"))
    row = ScenarioResult("a", "a", 1, "pass", [], [], {}, observed(), {}, "e")
    assert wanted.missing([row]) == {UNLOAD: 1, "a [cpus-2]": 1, f"{UNLOAD} [cpus-2]": 1}
    assert replace(wanted, until_fail=True).missing([replace(row, verdict="fail")]) == {UNLOAD: 1}


def test_a_run_without_variants_is_as_it_was() -> None:
    assert plan(TWO, 2, False) == Plan(("a", "b"), 2, False)
    assert [(i.scenario.name, i.number, i.variant) for i in order(TWO, 2, False)] == [
        ("a", 1, ""), ("b", 1, ""), ("a", 2, ""), ("b", 2, ""),
    ]  # fmt: skip
    assert [evidence_name("a", number, "") for number in (1, 2)] == ["a", "a-2"]
