"""What is told of the past: rates, breaks, drifts, behaviour, comparisons, the search among builds. Pure."""

from __future__ import annotations

from dataclasses import replace
from math import comb
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.past import RESET, row, run

from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.history import behaviour, bisection
from wsklab.orchestrator.history.bisection import Build, between, builds, judged, search
from wsklab.orchestrator.history.comparison import compare
from wsklab.orchestrator.history.past import changed, pasts, sentence
from wsklab.orchestrator.history.queries import Cell, Kept
from wsklab.orchestrator.history.records import Environment
from wsklab.orchestrator.history.retention import Pass, superfluous
from wsklab.orchestrator.history.statistics import Count, broke, different, drift, rate, repeats_for


@pytest.mark.parametrize(
    ("bad", "total", "low", "high"),
    [(0, 100, 0.0, 0.037), (1, 100, 0.002, 0.054), (3, 100, 0.010, 0.085), (1, 30, 0.006, 0.167), (100, 100, 0.963, 1)],
)
def test_the_interval_is_wilsons(bad: int, total: int, low: float, high: float) -> None:
    found = rate(bad, total)
    assert (round(found.low, 3), round(found.high, 3)) == (low, high)


@given(st.integers(0, 60), st.integers(1, 60))
def test_the_interval_holds_the_share_and_is_symmetric(bad: int, good: int) -> None:
    found, mirrored = rate(bad, bad + good), rate(good, bad + good)
    assert 0 <= found.low <= bad / (bad + good) <= found.high <= 1
    assert mirrored.low == pytest.approx(1 - found.high)


def test_nothing_seen_proves_nothing() -> None:
    assert (rate(0, 0).low, rate(0, 0).high) == (0.0, 1.0)
    assert "unknown" in str(rate(0, 0))


def series(text: str) -> list[Count]:
    """Return a run per sign: `p` passes, `f` fails, `2` fails in two of ten rows, `x` says nothing."""
    return [Count(n, *{"p": (0, 10), "f": (10, 10), "2": (2, 10), "x": (0, 0)}[sign]) for n, sign in enumerate(text)]


@pytest.mark.parametrize(
    ("text", "good", "bad", "steady"),
    [
        ("pppff", 2, 3, True),
        ("ppf", 1, 2, True),
        ("ppxxf", 1, 4, True),
        ("fff", None, 0, True),
        ("pfpppff", 4, 5, True),
        ("pppppppppp2222222222", 9, 10, False),
        ("pppp2222222222ff", 13, 14, False),
    ],
)
def test_where_it_broke_is_found(text: str, good: int | None, bad: int, steady: bool) -> None:
    found = broke(series(text))
    assert found is not None
    assert (found.last_good, found.first_bad, found.steady) == (good, bad, steady)


@pytest.mark.parametrize("text", ["", "ppp", "xx", "ffppp", "2222222222", "ffffffppppppppppppp", "p2ppp2pppp2ppp"])
def test_what_passes_or_was_always_flaky_has_not_broken(text: str) -> None:
    assert broke(series(text)) is None


@given(st.integers(1, 40), st.integers(1, 40))
def test_a_clean_break_is_found_wherever_it_is(before: int, after: int) -> None:
    found = broke(series("p" * before + "f" * after))
    assert found is not None
    assert (found.last_good, found.first_bad, found.after.bad) == (before - 1, before, 10 * after)


def test_drift_of_times_is_told_and_noise_is_not() -> None:
    noise = [500 + place * 37 % 50 for place in range(40)]
    assert drift(noise) is None
    found = drift([*noise, *(time * 1.5 for time in noise[:10])])
    assert found is not None
    assert found.after / found.before == pytest.approx(1.5, rel=0.1)
    assert drift([500.0] * 12) is None, "too few"
    assert drift([500.0] * 40) is None, "all alike"


@given(st.lists(st.integers(0, 9), min_size=1, max_size=30), st.lists(st.integers(0, 9), min_size=1, max_size=30))
def test_two_samples_are_as_unlike_either_way(one: list[int], other: list[int]) -> None:
    assert different(one, other) == pytest.approx(different(other, one))
    assert 0 <= different(one, other) <= 1.0000001


@given(st.floats(0.01, 0.99), st.floats(0.001, 0.5))
def test_so_many_clean_repeats_keep_the_risk_and_one_less_would_not(failing: float, risk: float) -> None:
    needed = repeats_for(failing, risk)
    assert (1 - failing) ** needed <= risk * 1.000001
    assert needed == 1 or (1 - failing) ** (needed - 1) >= risk * 0.999999


def event(order: int, **more: Any) -> dict[str, Any]:
    fields = {"conn": 0, "flags": 1, "abortive": True, "at_dispatch": None, "irql": 2, "context_ok": True}
    return {**fields, "order": order, **more}


def receive(order: int, status: str = "00000000", length: int = 10) -> dict[str, Any]:
    return {"conn": 0, "status": status, "length": length, "order": order}


def seen(
    *, disconnects: list[Any] | None = None, receives: list[Any] | None = None, **wire: Any
) -> behaviour.Behaviour:
    ends = {"peer": [["rst"]], "driver": [[]], "frames": 9, **wire}
    return behaviour.of({"disconnects": disconnects or [], "receives": receives or [], "sends": [], "wire": ends})


def test_how_tcp_cut_the_data_is_no_behaviour() -> None:
    one = seen(disconnects=[event(3)], receives=[receive(1, length=20)], frames=9)
    other = seen(disconnects=[event(5)], receives=[receive(1, length=5), receive(2, length=15)], frames=12)
    assert one == other


@pytest.mark.parametrize(
    ("after", "said"),
    [
        (
            seen(disconnects=[event(3, flags=0, abortive=False)], receives=[receive(1)]),
            "now receive 00000000, disconnect graceful 0x0",
        ),
        (seen(disconnects=[event(0)], receives=[receive(1)]), "in another order"),
        (seen(disconnects=[event(3)], receives=[receive(1, "c000020d")]), "receive c000020d"),
        (seen(disconnects=[event(3, irql=0)], receives=[receive(1)]), "at IRQL 0"),
        (seen(disconnects=[event(3, context_ok=False)], receives=[receive(1)]), "context of another connection"),
        (seen(disconnects=[event(3)], receives=[receive(1)], peer=[["fin"]]), "the peer ended with: rst; now fin"),
        (
            seen(disconnects=[event(3)], receives=[receive(1)], driver=[["rst"]]),
            "the driver ended with: nothing; now rst",
        ),
        (seen(disconnects=[event(3)], receives=[receive(1)], peer=[["rst"], ["rst"]]), "1 connections before, 2 after"),
    ],
)
def test_another_behaviour_is_named(after: behaviour.Behaviour, said: str) -> None:
    before = seen(disconnects=[event(3)], receives=[receive(1)])
    assert any(said in sentence_ for sentence_ in behaviour.differences(before, after))


WORDS = st.lists(st.text("abc ", max_size=5), max_size=4).map(tuple)


@given(st.lists(st.builds(behaviour.Connection, WORDS, WORDS, WORDS), max_size=4).map(tuple))
def test_a_behaviour_comes_back_from_json(made: behaviour.Behaviour) -> None:
    assert behaviour.from_document(behaviour.document(made)) == made
    assert list(behaviour.differences(made, made)) == []


OTHER = {**RESET, "disconnects": [event(2, flags=1)], "receives": [receive(1, "c000020d", 0)]}


def test_runs_that_are_alike_have_no_changes() -> None:
    rows = [row("a"), row("a", repeat=2), row("b", "fail", reasons=["R5"])]
    assert compare(rows, rows) == []


def test_what_got_worse_comes_first_and_says_why() -> None:
    before = [row("a", "fail", reasons=["R5"]), row("b"), row("c"), row("d")]
    after = [row("a"), row("b", "fail", reasons=["R5: clear"]), row("c", seen=OTHER), row("e")]
    changes = compare(before, after)
    assert [(c.kind, c.scenario, c.worse) for c in changes] == [
        ("verdict", "b", True),
        ("verdict", "a", False),
        ("behaviour", "c", False),
        ("only", "d", False),
        ("only", "e", False),
    ]
    assert changes[0].details == ("R5: clear",)
    assert "in another order" in changes[2].details[0]


def test_a_flake_is_a_change_of_verdict() -> None:
    [change] = compare([row(), row(repeat=2)], [row(), row(repeat=2, verdict="fail", reasons=["R5"])])
    assert (change.kind, change.before, change.after, change.worse) == ("verdict", "pass", "1 pass, 1 fail", True)


def test_times_of_another_class_and_other_expectations_are_told() -> None:
    [slow] = compare([row(total_ms=500)], [row(total_ms=1200)])
    assert (slow.kind, slow.details) == ("timing", ("took 0.50 s, now 1.20 s",))
    assert compare([row(total_ms=500)], [row(total_ms=800)]) == []
    assert compare([row(total_ms=10)], [row(total_ms=100)]) == [], "ten times nothing is nothing"
    [other] = compare([row()], [row(expects="1" * 16)])
    assert other.kind == "expectation"


def test_a_break_says_what_changed_between() -> None:
    kept = [Kept(n, run(n, driver="d1" if n < 3 else "d2")) for n in range(1, 5)]
    cells = {n: Cell({"pass" if n < 3 else "fail": 2}, {"pass": 500.0}) for n in range(1, 5)}
    [past] = pasts("a", kept, cells)
    said = sentence(past)
    assert said.startswith("Broken since run 3 (run-3, ")
    assert said.endswith("What changed since run 2 (run-2): driver d1 -> d2.")
    assert (past.marks, past.rate.bad, past.rate.all) == ("ppff", 4, 4), "another build is another driver"


def test_environments_are_never_counted_together() -> None:
    from wsklab.orchestrator.history.records import Environment

    kept = [Kept(1, run(1)), Kept(2, run(2, environment=Environment("windows-2022", "wsklab", "kvm")))]
    found = pasts("a", kept, {1: Cell({"pass": 1}), 2: Cell({"fail": 1})})
    assert [(past.environment.target, past.marks) for past in found] == [("windows-2022", "f"), ("standin", "p")]


def test_all_that_took_part_is_compared() -> None:
    from dataclasses import replace

    before = run(1)
    after = replace(before, node="there", seed=2, ingredients=replace(before.ingredients, qemu="9.0", host="Linux 6"))
    assert list(changed(before, after)) == [
        "QEMU 7.2 -> 9.0",
        "host's kernel Linux -> Linux 6",
        "machine here -> there",
        "seed 1 -> 2",
    ]


@given(st.data())
def test_the_search_finds_the_first_bad_build_in_few_tests(data: st.DataObject) -> None:
    count = data.draw(st.integers(2, 200))
    first_bad = data.draw(st.integers(1, count - 1))
    asked: list[int] = []

    def test(place: int) -> bisection.Outcome:
        asked.append(place)
        return "bad" if place >= first_bad else "good"

    found = search(count, test)
    assert (found.good, found.bad, found.skipped) == (first_bad - 1, first_bad, ())
    assert len(asked) == len(set(asked)) <= (count - 1).bit_length()


@given(st.data())
def test_a_build_that_cannot_be_judged_is_passed_over(data: st.DataObject) -> None:
    count = data.draw(st.integers(2, 40))
    first_bad = data.draw(st.integers(1, count - 1))
    unknown = data.draw(st.sets(st.integers(1, count - 2))) if count > 2 else set()
    found = search(count, lambda place: "skip" if place in unknown else "bad" if place >= first_bad else "good")
    assert found.good < first_bad <= found.bad
    assert all(place in unknown for place in range(found.good + 1, found.bad))
    assert found.skipped == tuple(range(found.good + 1, found.bad))


@pytest.mark.parametrize(
    ("verdicts", "outcome"),
    [
        ({"a": ["pass", "pass"]}, "good"),
        ({"a": ["pass", "fail"]}, "bad"),
        ({"a": ["inconclusive"]}, "bad"),
        ({"a": ["pass"], "b": ["fail"]}, "good"),
        ({"a": ["infra"]}, "skip"),
        ({"a": ["pass", "infra"]}, "skip"),
        ({}, "skip"),
    ],
)
def test_a_build_is_judged_by_what_the_bad_one_did(verdicts: dict[str, list[str]], outcome: str) -> None:
    assert judged(verdicts, {"a"}) == outcome


def test_what_is_looked_for_is_what_failed() -> None:
    assert bisection.broken({"a": ["pass"], "b": ["fail", "pass"], "c": ["inconclusive"]}) == {"b"}
    assert bisection.broken({"a": ["pass"], "c": ["inconclusive"], "d": ["infra"]}) == {"c"}
    assert bisection.broken({"a": ["pass", "infra"]}) == set()


@pytest.fixture
def folder_of_builds(tmp_path: Path) -> Path:
    for name in ("build-9/x.sys", "build-10/amd64/x.sys", "build-2.sys"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"MZ")
    return tmp_path


def test_builds_are_ordered_by_name_time_or_manifest(folder_of_builds: Path) -> None:
    import os

    names = [build.name for build in builds(folder_of_builds, None)]
    assert names == ["build-2", "build-9", "build-10"]
    for age, build in enumerate(builds(folder_of_builds, "name")):
        os.utime(build.file, (100 - age, 100 - age))
    assert [build.name for build in builds(folder_of_builds, "mtime")] == names[::-1]
    (folder_of_builds / "builds.txt").write_text("build-10  # the oldest\n\nbuild-2.sys\n", encoding="utf-8")
    assert [build.name for build in builds(folder_of_builds, None)] == ["build-10", "build-2.sys"]
    (folder_of_builds / "builds.txt").write_text("nowhere\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"builds\.txt:1: 'nowhere'"):
        builds(folder_of_builds, None)


def test_the_ends_are_builds_in_their_order(folder_of_builds: Path) -> None:
    found = builds(folder_of_builds, None)
    assert [build.name for build in between(found, "build-2", "build-9")] == ["build-2", "build-9"]
    with pytest.raises(UsageError, match="not older"):
        between(found, "build-9", "build-2")
    with pytest.raises(UsageError, match="'build-3' is no build"):
        between(found, "build-3", "build-9")
    with pytest.raises(UsageError, match="several builds"):
        between([Build("a", Path("x/d.sys")), Build("b", Path("y/d.sys"))], "d.sys", "b")
    (folder_of_builds / "build-9/y.sys").touch()
    with pytest.raises(UsageError, match="2 files"):
        builds(folder_of_builds, "name")
    with pytest.raises(UsageError, match="no folder"):
        builds(folder_of_builds / "nowhere", None)


@given(st.integers(0, 12), st.lists(st.tuples(st.integers(0, 3), st.integers(0, 1), st.integers(0, 50)), max_size=60))
def test_the_newest_passes_of_each_scenario_and_environment_stay(keep: int, made: list[tuple[int, int, int]]) -> None:
    passes = [Pass(n, scenario, 1, environment, at, "e") for n, (scenario, environment, at) in enumerate(made)]
    gone = superfluous(passes, keep)
    for group in {(p.scenario, p.environment) for p in passes}:
        ours = [p for p in passes if (p.scenario, p.environment) == group]
        removed = [p for p in gone if (p.scenario, p.environment) == group]
        assert len(ours) - len(removed) == min(keep, len(ours))
        kept = [p.started for p in ours if p not in removed]
        assert all(p.started <= min(kept, default=99) for p in removed)


def test_the_binomial_agrees_that_wilson_covers_about_what_it_says() -> None:
    """The interval holds the true rate nearly as often as it says, for rates that drivers have (exact, no sampling)."""
    for true in (0.02, 0.1, 0.3):
        n = 100
        held = sum(
            comb(n, k) * true**k * (1 - true) ** (n - k)
            for k in range(n + 1)
            if rate(k, n).low <= true <= rate(k, n).high
        )
        assert held > 0.92


def test_a_twin_is_no_trouble_and_stands_behind_the_right_driver() -> None:
    twin = replace(run(2, environment=Environment("standin", "wsklab:silent", "tcg")), driver="wsklab:silent")
    cells = {1: Cell({"pass": 1}, {"pass": 1.0}), 2: Cell({"fail": 1}, {"fail": 1.0})}
    found = pasts("kill", [Kept(1, run(1)), Kept(2, twin)], cells)
    assert [(past.environment.profile, past.trouble) for past in found] == [("wsklab", False), ("wsklab:silent", False)]
    assert found[1].broke is not None
    assert pasts("kill", [Kept(2, run(2))], cells)[0].trouble
