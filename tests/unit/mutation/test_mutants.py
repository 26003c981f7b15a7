"""Mutants: which ones a piece of C has, that they are called the same for ever, and what becomes of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from wsklab.drivers.build import BuiltDriver, Rebuild
from wsklab.orchestrator.commands.cli import main
from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.mutation import results as mutant_results
from wsklab.orchestrator.mutation import sample as mutant_sample
from wsklab.orchestrator.mutation import shortage
from wsklab.orchestrator.mutation.explanations import explanations
from wsklab.orchestrator.mutation.mutants import OPERATORS, Mutant, generate
from wsklab.orchestrator.mutation.results import Order, Outcome, Row
from wsklab.orchestrator.scenario import catalogue

FUNCTION = "static NTSTATUS f(int a, int b)\n{{\n    {}\n}}\n"


def mutants(body: str, function: str = FUNCTION) -> set[tuple[str, str, str]]:
    """Return what is done to a function's body: operator, before, after."""
    return {(m.operator, m.before, m.after) for m in generate("f.c", function.format(body))}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            "if (a < b)\n        g();",
            {
                ("negate-condition", "(a < b)", "(!(a < b))"),
                ("off-by-one", "a < b", "a <= b"),
                ("drop-guarded", "g();", "{ }"),
            },
        ),
        (
            "if (a)\n        g();\n    else\n        h();",
            {
                ("negate-condition", "(a)", "(!(a))"),
                ("drop-guarded", "g();", "{ }"),
                ("drop-guarded", "else\n        h();", ""),
                ("drop-call", "h();", "{ }"),
            },
        ),
        (
            "while (a && b == c)\n        ;",
            {
                ("negate-condition", "(a && b == c)", "(!(a && b == c))"),
                ("swap-logical", "a && b == c", "((a) || (b == c))"),
                ("flip-comparison", "b == c", "b != c"),
            },
        ),
        ("a = b ? c : d;", {("delete-assignment", "a = b ? c : d;", "{ }"), ("negate-condition", "b", "(!(b))")}),
        ("a++;", {("delete-assignment", "a++;", "{ }")}),
        (
            "(void)send(a, b, &c);",
            {("drop-call", "(void)send(a, b, &c);", "{ }"), ("swap-arguments", "(a, b, &c)", "(b, a, &c)")},
        ),
        ("KeReleaseSpinLock(&lock, irql);", {("skip-release", "KeReleaseSpinLock(&lock, irql);", "{ }")}),
        ("a |= b;", {("delete-assignment", "a |= b;", "{ }"), ("flip-flag", "a |= b", "a &= ~(b)")}),
        ("g(a | b);", {("drop-call", "g(a | b);", "{ }"), ("flip-flag", "a | b", "(a & ~(b))")}),
        (
            "g(a & b);",
            {
                ("drop-call", "g(a & b);", "{ }"),
                ("flip-flag", "a & b", "(a & ~(b))"),
                ("flip-flag", "a & b", "(a | b)"),
            },
        ),
        ("a = 0;", {("delete-assignment", "a = 0;", "{ }"), ("off-by-one", "0", "1")}),
        (
            "a = 0x10u;",
            {
                ("delete-assignment", "a = 0x10u;", "{ }"),
                ("off-by-one", "0x10u", "17u"),
                ("change-constant", "0x10u", "0u"),
            },
        ),
        ("a = 60000;", {("delete-assignment", "a = 60000;", "{ }"), ("change-constant", "60000", "0")}),
        ("a = TRUE;", {("delete-assignment", "a = TRUE;", "{ }"), ("change-constant", "TRUE", "FALSE")}),
        ("return STATUS_SUCCESS;", {("replace-status", "STATUS_SUCCESS", "STATUS_UNSUCCESSFUL")}),
        ("return STATUS_NOT_FOUND;", {("replace-status", "STATUS_NOT_FOUND", "STATUS_SUCCESS")}),
        (
            "return a;",
            {
                ("replace-return", "return a;", "return STATUS_SUCCESS;"),
                ("replace-return", "return a;", "return STATUS_UNSUCCESSFUL;"),
            },
        ),
        (
            "return g(a);",
            {
                ("replace-return", "return g(a);", "return (void)(g(a)), STATUS_SUCCESS;"),
                ("replace-return", "return g(a);", "return (void)(g(a)), STATUS_UNSUCCESSFUL;"),
            },
        ),
        ("switch (a) {\n    case 1:\n        break;\n    }", {("drop-break", "break;", ";")}),
    ],
)
def test_what_is_mutated(body: str, expected: set[tuple[str, str, str]]) -> None:
    assert mutants(body) == expected


def test_what_a_function_returns_decides_what_it_returns_instead() -> None:
    assert mutants("return a;", "static BOOLEAN f(int a)\n{{\n    {}\n}}\n") == {
        ("replace-return", "return a;", "return !(a);")
    }
    assert mutants("return a;", "static LONG f(int a)\n{{\n    {}\n}}\n") == {
        ("replace-return", "return a;", "return 0;")
    }


@pytest.mark.parametrize(
    "body",
    [
        "if (TWIN(LEAKS_IRP))\n        g(a, b);",
        "if (TWIN(LEAKS_IRP) && a)\n        g(a, b);",
        "while (TWIN(HANGS_IN_UNLOAD))\n        g(a, b);",
        "char text[33];",
        'const char *text = "a < b, 1";',
        "#if A > 1\n    g(a, b);\n#endif",
    ],
)
def test_what_is_left_alone(body: str) -> None:
    assert mutants(body) == set()


def test_beside_a_twin_the_correct_build_is_mutated() -> None:
    """What a twin's condition guards by its absence is the driver's own code."""
    assert ("skip-release", "IoFreeIrp(a);", "{ }") in mutants("if (a && !TWIN(LEAKS_IRP)) {\n IoFreeIrp(a);\n g(); }")
    assert mutants("b = TWIN(WRONG_CONTEXT) ? g(1) : a;") == {
        ("delete-assignment", "b = TWIN(WRONG_CONTEXT) ? g(1) : a;", "{ }")
    }


def test_a_wording_is_no_fault_but_a_number_is() -> None:
    assert mutants('log_line(id, "ev=x a=%u b=%u", a, b);') == {
        ("drop-call", 'log_line(id, "ev=x a=%u b=%u", a, b);', "{ }"),
        ("swap-arguments", '(id, "ev=x a=%u b=%u", a, b)', '(id, "ev=x a=%u b=%u", b, a)'),
    }


def test_an_id_stays_when_other_lines_change() -> None:
    before = "static int g(void)\n{\n    return 7;\n}\n" + FUNCTION.format("a = 3;")
    after = "/* new */\nstatic int g(void)\n{\n    a = 4;\n    return 8;\n}\n" + FUNCTION.format("b = 1;\n  a = 3;")
    old, new = (
        {m.id: m.after for m in generate("f.c", text) if m.function == "f" and m.before in ("3", "a = 3;")}
        for text in (before, after)
    )
    assert len(old) == 3
    assert old == new


def test_equal_lines_of_one_function_have_ids_of_their_own() -> None:
    found = generate("f.c", FUNCTION.format("g();\n    g();"))
    assert len({m.id for m in found}) == len(found) == 2


@given(st.text(alphabet="ab&|<=!(){};?:,01 \n", max_size=80))
def test_any_text_is_mutated_inside_its_bounds(body: str) -> None:
    source = FUNCTION.format(body)
    for mutant in generate("f.c", source):
        assert source.encode()[mutant.start : mutant.end].decode() == mutant.before
        assert mutant.apply(source) != source


def test_every_mutant_of_the_real_code_has_an_id_of_its_own() -> None:
    for code in ("driver", "provider"):
        found = mutant_sample.candidates(code).mutants
        assert len({m.id for m in found}) == len(found) > 1000
        assert {m.operator for m in found} == set(OPERATORS)


def test_each_explanation_still_speaks_of_some_mutant() -> None:
    """An entry whose line or function has changed has to be looked at again."""
    known = [m for code in ("driver", "provider") for m in mutant_sample.candidates(code).mutants]
    for entry in explanations():
        assert any(map(entry.explains, known)), f"no mutant of {entry.file} is {entry.id or entry.before} any more"


def test_an_explanation_by_id_holds_for_one_mutant_and_by_text_for_all_alike(tmp_path: Path) -> None:
    one, other = generate("f.c", FUNCTION.format("g();\n    g();"))
    file = tmp_path / "explained.yaml"
    file.write_text(
        f"- {{kind: equivalent, file: f.c, id: '{one.id}', why: nobody looks at what g() does}}\n"
        "- {kind: unreachable, file: f.c, before: g();, why: nobody calls this function here}\n"
    )
    by_id, by_text = explanations(file)
    assert [by_id.explains(one), by_id.explains(other)] == [True, False]
    assert [by_text.explains(one), by_text.explains(other)] == [True, True]
    assert not by_text.explains(generate("g.c", FUNCTION.format("g();"))[0])


# --- the sample ---------------------------------------------------------------------------------------------------


def test_a_seed_draws_the_same_mutants_whatever_else_there_is() -> None:
    found = mutant_sample.candidates("driver")
    everything = mutant_sample.choose(found, [], [], 7)
    events = mutant_sample.choose(found, ["events.c"], [], 7)
    assert [m for m in everything if m.file == "wsklab/events.c"] == events
    assert everything != mutant_sample.choose(found, [], [], 8)


def test_chosen_by_operator() -> None:
    drops = mutant_sample.choose(mutant_sample.candidates("driver"), ["events.c"], ["drop-call"], 1)
    assert {(m.operator, m.file) for m in drops} == {("drop-call", "wsklab/events.c")}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--file", "nobody.c"], "there is no source file 'nobody.c'"),
        (["--operator", "burn"], "there is no operator 'burn'"),
    ],
)
def test_wrong_words_are_refused(arguments: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        CliRunner().invoke(main, ["mutate", "--list", *arguments], catch_exceptions=False, standalone_mode=False)


def test_the_list_shows_each_as_a_diff() -> None:
    shown = CliRunner().invoke(main, ["mutate", "--list", "--json", "--file", "worker.c"], catch_exceptions=False)
    rows = json.loads(shown.stdout)
    assert {row["file"] for row in rows} == {"wsklab/worker.c"}
    assert all("\n-" in row["diff"] and "\n+" in row["diff"] for row in rows)


# --- building -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rebuild(tmp_path_factory: pytest.TempPathFactory) -> Rebuild:
    return Rebuild("wsklab.sys", tmp_path_factory.mktemp("mutants"))


def built(rebuild: Rebuild, operator: str, before: str, file: str = "wsklab/account.c") -> BuiltDriver | None:
    source = mutant_sample.candidates("driver").sources[file]
    mutant = next(m for m in generate(file, source) if m.operator == operator and m.before == before)
    return rebuild.build(mutant.id, mutant.file, mutant.apply(source))


def test_a_mutant_is_a_driver_of_its_own(rebuild: Rebuild) -> None:
    driver = built(rebuild, "drop-call", "RtlZeroMemory(memory, size);")
    assert driver is not None
    assert driver.path.name == "wsklab.sys"
    assert driver.path.read_bytes()[:2] == b"MZ"


def test_what_changes_no_byte_or_does_not_compile_is_none(rebuild: Rebuild) -> None:
    source = mutant_sample.candidates("driver").sources["wsklab/account.c"]
    assert (
        rebuild.build("same", "wsklab/account.c", source.replace("PVOID allocate", "/* nothing */ PVOID allocate"))
        is None
    )
    assert rebuild.build("broken", "wsklab/account.c", source.replace("PVOID allocate", "PVOID")) is None
    assert rebuild.build("types", "wsklab/account.c", source.replace("kept(LONG count)", "kept(PVOID count)")) is None


def test_the_stream_builds_each_different_binary_once(rebuild: Rebuild) -> None:
    found = mutant_sample.candidates("driver")
    chosen = mutant_sample.choose(found, ["follow.c"], ["drop-call"], 1)
    twice = [chosen[0], chosen[0]]
    builder = mutant_sample.Builder(_Counted(rebuild), found.sources)
    assert [b.mutant for b in builder.stream([*twice, *chosen[1:3]], 2)] == [chosen[0], chosen[1]]
    assert builder.without_effect == 1


class _Counted(Rebuild):
    """The same, with a folder for each build even of the same mutant."""

    def __init__(self, rebuild: Rebuild) -> None:
        self._inner, self._count = rebuild, 0

    def build(self, name: str, source: str, text: str) -> BuiltDriver | None:
        self._count += 1
        return self._inner.build(f"{name}-{self._count}", source, text)


# --- outcomes -----------------------------------------------------------------------------------------------------

SOURCE = FUNCTION.format("g();")
MUTANT: Mutant = generate("f.c", SOURCE)[0]


@pytest.mark.parametrize(
    ("verdicts", "result"),
    [
        (["pass", "fail"], "caught"),
        (["infra", "fail"], "caught"),
        (["pass", "infra"], "noticed"),
        (["inconclusive"], "noticed"),
        (["pass", "pass"], "survived"),
        (["flaky", "unsound", "pass"], "survived"),
    ],
)
def test_only_a_fail_catches(verdicts: list[str], result: str) -> None:
    done = mutant_results.outcome(MUTANT, SOURCE, [Row("s", verdict, "why") for verdict in verdicts], 1.0)
    assert done.result == result
    assert (done.by is not None) == (result == "caught")


def finished(result: str, scenario: str = "") -> Outcome:
    rows = {"caught": [Row(scenario, "fail", "why")], "noticed": [Row(scenario, "infra", "why")], "survived": []}
    return mutant_results.outcome(MUTANT, SOURCE, rows[result], 1.0)


def test_the_document_counts_by_operator_and_file() -> None:
    document = mutant_results.document({}, [finished("caught", "s"), finished("noticed", "s"), finished("survived")])
    counts = {"all": 3, "caught": 1, "noticed": 1, "survived": 1}
    assert document["totals"] == counts
    assert document["operators"] == {"drop-call": counts}
    assert document["files"] == {"f.c": counts}


def test_outcomes_are_read_back_as_they_were_but_for_a_line_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "mutants.jsonl"
    outcomes = [finished("caught", "s"), replace(finished("survived"), id="other")]
    for done in (replace(outcomes[0], result="survived", by=None), *outcomes):  # the first was run again
        mutant_results.append(path, done)
    with path.open("a") as file:
        file.write('{"id": "0123')
    assert mutant_results.read(path) == outcomes


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not the file of outcomes"):
        mutant_results.read(tmp_path / "mutants.jsonl")


def test_what_has_caught_before_comes_first_for_the_same_function() -> None:
    scenarios = catalogue.select(["linger-zero", "kill", "half-close", "send-pending"])
    order = Order(scenarios)
    first, then = order.stages(MUTANT)
    assert [s.name for s in first] == ["linger-zero", "kill", "half-close"]
    assert [s.name for s in then] == ["send-pending"]
    order.learn(finished("caught", "send-pending"))
    first, then = order.stages(MUTANT)
    assert [s.name for s in first] == ["send-pending", "linger-zero", "kill", "half-close"]
    assert then == []


@pytest.mark.parametrize(
    ("function", "text", "expected"),
    [
        ("do_control", "refuse(id, WSKLAB_OP_CONTROL, s)", ["silent-mode"]),
        ("start_disconnect", "return x;", ["disconnect"]),
        ("connection_close", "refuse(id, WSKLAB_OP_CLOSE, s)", []),
        ("execute_on", "return do_accept(connection, command);", ["accept"]),
        ("execute_on", "return give_program(connection, command);", ["accept-event", "callback"]),
    ],
)
def test_a_mutant_meets_short_memory_in_the_operation_it_is_in(function: str, text: str, expected: list[str]) -> None:
    """The shortest scenario of all has no use of most of them."""
    mutant = Mutant("0", "wsklab/commands.c", 1, function, "swap-arguments", 0, 1, text, text)
    chosen = shortage.scenarios(mutant, catalogue.built_in())
    assert len(chosen) == len(expected)
    for scenario, words in zip(chosen, expected, strict=True):
        assert words in scenario.name or any(a.driver is not None and a.driver.verb == words for a in scenario.steps)
