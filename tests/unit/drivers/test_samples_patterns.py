"""Debug text of somebody else's driver: patterns say what it means, and are refused when they do not."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsklab.drivers.errors import DriverError
from wsklab.drivers.patterns import Pattern, Reading, problems, read
from wsklab.drivers.profile import PROFILES, load_profile, registry_file

ECHO = load_profile("echo").patterns
PINGER = load_profile("pinger").patterns

PROFILE = "name: mine\nservice: mine\ntarget_path: 'C:\\drivers\\mine.sys'\npath: mine.sys\n"


def pattern(kind: str = "disc", line: str = r"(?P<conn>\d+) left (?P<flags>\w+)", **more: object) -> Pattern:
    return Pattern.model_validate({"kind": kind, "line": line, "samples": {"7 left 1": {"conn": 7}}, **more})


def test_a_line_is_read_whatever_stands_before_it() -> None:
    wine = "011c:warn:debugstr:vDbgPrintExWithPrefix 0000004d:00000001: "
    assert read(ECHO, wine + "echo[12] bye: flags=9 after 4000 bytes") == Reading(
        "disc", 12, {"flags": 9, "length": 4000, "abortive": True}
    )
    assert read(PINGER, "<pinger> #2 peer hung up: flags 0x0, receive 0x00000000") == Reading(
        "disc", 2, {"flags": 0, "status": 0, "abortive": False}
    )
    assert read(ECHO, "WSKLAB1 seq=00000001 ev=load") is None


def test_the_first_pattern_wins_and_wording_can_say_it_too() -> None:
    by_word = pattern(
        line=r"(?P<conn>\d+) was reset", set={"abortive": True}, samples={"4 was reset": {"abortive": True}}
    )
    other = pattern("note", r"(?P<remark>.+ was .+)", samples={"it was late": {"remark": "it was late"}})
    assert list(problems([by_word, other])) == []
    assert read([by_word, other], "4 was reset") == Reading("disc", 4, {"abortive": True})
    [(_, problem)] = problems([other, by_word])
    assert problem == "pattern 2 (disc) never sees its sample '4 was reset': pattern 1 (note) takes it"


def test_a_damaged_line_means_nothing() -> None:
    assert read([pattern(line=r"(?P<conn>\w+) left (?P<flags>\w+)")], "x7 left 1") is None
    assert read([pattern(hex=("flags",))], "7 left zz") is None


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (
            pattern(line="(left"),
            "pattern 1 (disc) is no regular expression in RE2's syntax, which has no "
            "look-around and no back-references: missing ): (left",
        ),
        (pattern(line="x*"), "matches the empty line"),
        (pattern(hex=("status",)), "says that status is hexadecimal, but has no group of that name"),
        (pattern(set={"conn": 1}), "gives conn both by a group and by `set`"),
        (pattern(line=r"(?P<conn>\d+) left"), "does not tell graceful from abortive"),
        (pattern(samples={"7 went": {}}), "does not match its sample '7 went'"),
        (pattern(samples={"7 left 1": {"conn": 8}}), "reads its sample '7 left 1' otherwise: conn is 7, not 8"),
        (pattern(samples={"7 left 1": {"port": 8}}), "port is None, not 8"),
        (
            pattern(line=r"(?P<conn>\w+) left (?P<flags>\d)", samples={"x left 1": {}}),
            "cannot read its sample 'x left 1': conn is 'x', not a number",
        ),
    ],
)
def test_a_bad_pattern_is_refused_in_a_clear_sentence(wrong: Pattern, says: str) -> None:
    [(_, problem)] = problems([wrong])
    assert says in problem


def test_a_pattern_without_a_sample_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(PROFILE + "patterns: [{kind: note, line: x, samples: {}}]\n")
    with pytest.raises(DriverError, match=r"p\.yaml:5: patterns\[1\]\.samples: .* at least 1"):
        load_profile(str(tmp_path / "p.yaml"))


def test_a_profile_with_a_wrong_sample_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(PROFILE + "patterns: [{kind: note, line: x, samples: {why: {}}}]\n")
    with pytest.raises(DriverError, match=r"p\.yaml:5: .* pattern 1 \(note\) does not match its sample 'why'"):
        load_profile(str(tmp_path / "p.yaml"))


@given(st.text(max_size=2000) | st.from_regex(r"echo\[[0-9a-f]*\] (bye|closed|hello).{0,80}"))
def test_no_text_of_a_target_breaks_the_reading(text: str) -> None:
    for patterns in (ECHO, PINGER):
        reading = read(patterns, text)
        assert reading is None or reading.conn is None or isinstance(reading.conn, int)


@pytest.mark.parametrize("name", [path.stem for path in PROFILES.glob("*.yaml")])
def test_every_profile_that_comes_with_the_product_is_right(name: str) -> None:
    assert load_profile(name).name == name


def test_parameters_become_a_registry_file(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(PROFILE + r"""parameters: {Peer: 'C:\a "b"', Port: 7007}""" + "\n")
    assert registry_file(load_profile(str(tmp_path / "p.yaml"))) == (
        "REGEDIT4\r\n\r\n"
        "[-HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\Services\\mine\\Parameters]\r\n\r\n"
        "[HKEY_LOCAL_MACHINE\\SYSTEM\\CurrentControlSet\\Services\\mine\\Parameters]\r\n"
        '"Peer"="C:\\\\a \\"b\\""\r\n"Port"=dword:00001b5f\r\n\r\n'
    )


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("parameters: {Port: -1}\n", "parameters.Port"),
        ("parameters: {Port: 1.5}\n", "parameters.Port"),
        ('parameters: {Name: "a\\nb"}\n', "parameters.Name"),
        ("parameters: {'a]': 1}\n", "parameters"),
        ("provoke: {by: peer, port: 0}\n", "provoke.port"),
        ("provoke: {by: command, port: 1}\n", "goes with `by: command`"),
        ("after: ['two words']\n", "after[1]"),
        ("build: echo\n", "say one of build, path and inf"),
    ],
)
def test_what_a_profile_must_not_say(tmp_path: Path, more: str, says: str) -> None:
    (tmp_path / "p.yaml").write_text(PROFILE + more)
    with pytest.raises(DriverError) as refused:
        load_profile(str(tmp_path / "p.yaml"))
    assert says in str(refused.value)


def test_a_sample_has_no_twins() -> None:
    with pytest.raises(DriverError, match="there are twins of wsklab, not of echo"):
        load_profile("echo:silent")


@pytest.mark.parametrize("expression", [r"(a+)+$", r"(a|aa)+$", r"(.*)*x", r"(?:(?:a?){30}b?){30}c"])
def test_no_expression_holds_the_interpreter_at_a_hostile_line(expression: str) -> None:
    """Python's own engine needs longer than the age of the world here; the test then fails at pytest's limit."""
    hostile = "a" * 4095 + "!"
    slow = pattern(
        "note",
        expression,
        samples={"aaa": {}}
        if "x" not in expression and "c" not in expression
        else {"x": {}}
        if "x" in expression
        else {"c": {}},
    )
    assert list(problems([slow])) in ([], [(0, "pattern 1 (note) matches the empty line, hence every line")])
    assert read([slow] * 20, hostile) is None
    assert read([slow], "a" * 65536 + "!") is None or "$" in expression  # cut, it may end in an a


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        (r"(?=a)b", "invalid perl operator: (?="),
        (r"(a)\1", r"invalid escape sequence: \1"),
        (r"(?:.{0,900}){3}z", "invalid repetition size"),
        (r"(\pL{1,100}x){9}y", "pattern too large"),
    ],
)
def test_an_expression_that_could_take_for_ever_is_refused_in_one_sentence(expression: str, says: str) -> None:
    [(_, problem)] = problems([pattern("note", expression)])
    assert problem.startswith("pattern 1 (note) is no regular expression in RE2's syntax, which has no look-around")
    assert says in problem


def test_a_number_of_endless_digits_is_a_damaged_line() -> None:
    assert read([pattern(line=r"(?P<conn>\d+) left (?P<flags>\w+)")], "9" * 900 + " left 1") is None


def test_one_profile_may_not_have_patterns_without_end(tmp_path: Path) -> None:
    (tmp_path / "p.yaml").write_text(PROFILE + "patterns:\n" + "- {kind: note, line: a, samples: {a: {}}}\n" * 201)
    with pytest.raises(DriverError, match="at most 200 items"):
        load_profile(str(tmp_path / "p.yaml"))
