"""Scenario files: what is right is read, what is wrong is refused with file, line, and what is allowed."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.scenario import catalogue, yaml_source
from wsklab.orchestrator.scenario.scenario import Action, ExpectedWire, Scenario, load

RIGHT = """\
name: linger-zero
title: The peer closes with SO_LINGER 0
tags: [abortive]
covers: [C05, R4]
socket: {create: connect, family: ipv4, events: per-socket}
steps:
  - driver: {connect: peer}
  - driver: {receive: 1}
  - peer: {close: {linger: 0}}
  - peer: close
  - driver: {send: 4, expect: failure}
  - wire: {hold: {from: peer, segment: fin, seconds: 3}}
expect:
  wire: {peer: rst, driver: none}
  disconnect: [{abortive: set}]
  receive: [{status: failure}]
"""


def test_a_scenario_reads_as_it_is_told() -> None:
    scenario = yaml_source.parse(RIGHT, Scenario, "f.yaml")
    assert [str(action) for action in scenario.steps] == [
        "driver: connect to=peer",
        "driver: receive count=1",
        "peer: close linger=0",
        "peer: close",
        "driver: send length=4",
        "wire: hold from=peer segment=fin seconds=3.0",
    ]
    assert (scenario.expect.wire.peer, scenario.expect.wire.driver) == (["rst"], [])
    assert scenario.steps[4].step.expect == "failure"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "linger: 0}}",
            "lingre: 0}}",
            "f.yaml:9: steps[3].peer.close.lingre: unknown key 'lingre'; did you mean 'linger'? Allowed: linger.",
        ),
        (
            "peer: close\n",
            "pear: close\n",
            "f.yaml:10: steps[4].pear: unknown key 'pear'; did you mean 'peer'? Allowed: driver, peer, wire, lab.",
        ),
        (
            "peer: close\n",
            "peer: clsoe\n",
            "f.yaml:10: steps[4].peer.clsoe: unknown key 'clsoe'; did you mean 'close'?",
        ),
        (
            "expect: failure",
            "receive: 1",
            "f.yaml:11: steps[5].driver: one verb a step, but here are 2: send, receive.",
        ),
        ("send: 4, ", "", "f.yaml:11: steps[5].driver: a verb is missing; there are socket, connect, "),
        (
            "from: peer",
            "from: pear",
            "f.yaml:12: steps[6].wire.hold.from: input should be 'peer' or 'driver', not 'pear'",
        ),
        (
            "status: failure",
            "status: bad",
            "f.yaml:16: expect.receive[1].status: should be success, failure, pending, any,"
            " or an NTSTATUS of eight hex digits (c000020d), not 'bad'.",
        ),
        ("C05", "C64", "f.yaml:4: covers[1]: should be one of R1..R87, C01..C63, BF1..BF79, not 'C64'."),
        ("peer: rst", "peer: reset", "f.yaml:14: expect.wire.peer: input should be 'fin', 'rst', 'none' or 'drawn'"),
        (
            "abortive: set",
            "abortive: yes",
            "f.yaml:15: expect.disconnect[1].abortive: input should be 'set', 'clear' or 'any', or 'drawn', not 'yes'.",
        ),
        (
            "abortive: set",
            "abortive: drawn",
            "'drawn' is expected, but no step draws: that is `peer: {close-all: mixed}`",
        ),
        (
            "peer: {close: {linger: 0}}",
            "peer: {close: {linger: 0}, conn: all}",
            "`conn: all` goes with `connect`; what ends all connections is `close-all`",
        ),
        ("peer: {close: {linger: 0}}", "driver: unload", "behind `driver: unload` nothing can be asked of the driver"),
        ("[{abortive: set}]", "[{optional: true}, {abortive: set}]", "calls that may come (`optional`) stand behind"),
        ("name: linger-zero\n", "", "f.yaml:1: the key 'name' is missing."),
        ("title:", "titel:", "f.yaml:2: titel: unknown key 'titel'; did you mean 'title'?"),
        ("tags: [abortive]", "tags: [abortive", "f.yaml:4: not YAML: "),
        ("tags: [abortive]", "name: again", "f.yaml:3: the key 'name' stands here twice."),
        ("tags: [abortive]", "tags: &a [x, *a]", "f.yaml:3: aliases (*a) are not allowed; write it out."),
    ],
)
def test_a_wrong_file_is_refused_with_its_line(old: str, new: str, message: str) -> None:
    assert old in RIGHT
    with pytest.raises(UsageError) as refusal:
        yaml_source.parse(RIGHT.replace(old, new, 1), Scenario, "f.yaml")
    assert message in str(refusal.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe", "not UTF-8 text"),
        (b"", "the file is empty"),
        (b"- 1", "expected a mapping"),
        (b"#" * 300_000, "larger than 256 KiB"),
    ],
)
def test_files_that_are_no_scenario(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "f.yaml").write_bytes(content)
    with pytest.raises(UsageError, match=message):
        load(tmp_path / "f.yaml")
    with pytest.raises(UsageError, match="cannot be read"):
        load(tmp_path / "absent.yaml")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["name", "steps", "driver", "peer", "send", "expect", "wire", "x"]), inner, max_size=4
            )
        ),
        max_leaves=12,
    )
)
@example({"name": "\x1e"})
@example({"name": "two\nlines"})
def test_any_document_is_read_or_refused_in_words(document: object) -> None:
    text = yaml.safe_dump(document)
    try:
        yaml_source.parse(text, Scenario, "f.yaml")
    except UsageError as refusal:
        assert all(line.startswith("f.yaml:") for line in str(refusal).splitlines())


@given(st.text(max_size=200))
def test_any_text_is_read_or_refused_in_words(text: str) -> None:
    try:
        yaml_source.parse(text, Scenario, "f.yaml")
    except UsageError as refusal:
        assert str(refusal).startswith("f.yaml:")


def test_the_built_in_suite_is_right_and_named_after_its_files() -> None:
    scenarios = catalogue.built_in()
    assert [s.name for s in scenarios] == [path.stem for path in sorted(catalogue.BUILT_IN.glob("*.yaml"))]
    assert all(s.tags for s in scenarios)


def test_scenarios_are_chosen_by_name_tag_and_path(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(RIGHT.replace("linger-zero", "mine"))
    assert [s.name for s in catalogue.select(["linger-zero", "linger-zero"])] == ["linger-zero"]
    tagged = {s.name for s in catalogue.built_in() if "self-check" in s.tags}
    assert {s.name for s in catalogue.select(["self-check"])} == tagged
    assert [s.name for s in catalogue.select([str(tmp_path)])] == ["mine"]
    assert all("local" not in s.tags for s in catalogue.select([], tags=["fast"], exclude=["local"]))
    built_in = catalogue.BUILT_IN / "linger-zero.yaml"
    assert [s.name for s in catalogue.select(["linger-zero", str(built_in)])] == ["linger-zero"]


def test_a_folder_is_searched_past_what_may_not_be_entered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("open/one.yaml", "open/two.yml", "closed/three.yaml", "open/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    scan = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)  # root may enter everything
    assert [path.name for path in catalogue.files([tmp_path])] == ["one.yaml", "two.yml"]


def test_two_different_scenarios_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(RIGHT.replace("title:", "title: Not"))
    with pytest.raises(UsageError, match="two different scenarios are called 'linger-zero'"):
        catalogue.select(["linger-zero", str(tmp_path / "mine.yaml")])


@pytest.mark.parametrize(
    ("words", "tags", "message"),
    [
        (["linger-zreo"], [], "no scenario, tag or file 'linger-zreo'; did you mean linger-zero"),
        (["nowhere/x.yaml"], [], "nowhere/x.yaml: no such file."),
        ([], ["fats"], "no scenario has the tag 'fats'; there are "),
        (["linger-zero"], ["local"], "these choices leave no scenario to run"),
    ],
)
def test_a_choice_that_names_nothing_says_what_there_is(words: list[str], tags: list[str], message: str) -> None:
    with pytest.raises(UsageError) as refusal:
        catalogue.select(words, tags)
    assert message in str(refusal.value)


@pytest.mark.parametrize("actor", ["driver", "peer", "wire", "lab"])
def test_the_manual_has_a_true_example_of_every_verb(actor: str) -> None:
    manual = (Path(__file__).parents[3] / "docs" / "scenarios.md").read_text()
    rows = [line.split("|") for line in manual.splitlines() if f"| `{actor}: " in line]
    examples = [yaml.safe_load(text) for row in rows for text in re.findall(r"`(\w+: [^`]*)`", row[2])]
    shown = {Action.model_validate(example).step.verb.rstrip("_").replace("_", "-") for example in examples}
    verbs = {verb for row in rows for verb in row[1].replace(",", " ").split()}
    wanted = set(type(Action.model_validate(examples[0]).step).verbs())
    assert verbs == wanted, "a row for every verb, and no other"
    assert shown <= wanted and len(shown) == len(rows), "each row's example is of one of its own verbs"


def test_what_is_not_said_of_one_connection_is_not_said_of_any() -> None:
    ends = ExpectedWire.model_validate({"peer": "rst", "each": [{"conn": 1, "peer": "fin"}]})
    assert (ends.of(0).peer, ends.of(0).driver) == (["rst"], None)
    assert (ends.of(1).peer, ends.of(1).driver) == (["fin"], None)


def test_what_tcp_sends_again_is_held_every_time() -> None:
    """On a busy host a peer sends its FIN again before the next step has begun, and that one would get through."""
    held = [
        (scenario.name, action.wire.hold)
        for scenario in (*catalogue.built_in(), *catalogue.any_driver())
        for action in scenario.steps
        if action.wire is not None and action.wire.hold is not None
    ]
    assert {name for name, hold in held if hold.segment != "rst" and hold.count != "every"} == set()
    assert len(held) >= 5
