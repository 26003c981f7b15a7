"""Files of others: what is read, what is refused, and that a refusal is one sentence with file and line."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import Field

from wsklab.common import document, files
from wsklab.common.strict import Strict
from wsklab.common.text import quoted, visible
from wsklab.orchestrator.commands.cli import main
from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.results import results
from wsklab.orchestrator.trials import bench


class Page(Strict):
    """Anything below, whatever it is called."""

    a: object = None
    number: int = Field(default=0, ge=0)


def fifo(path: Path) -> None:
    os.mkfifo(path)


def huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)  # sparse: no disk is used


ODD: list[tuple[Callable[[Path], object], str]] = [
    (Path.mkdir, "it is a folder, not a regular file"),
    (fifo, "it is a fifo, not a regular file"),
    (lambda path: path.symlink_to("/dev/zero"), "it is a device, not a regular file"),
    (lambda path: path.symlink_to(path), "Too many levels of symbolic links"),
    (huge, "it is larger than 256 KiB, the most that is read of such a file"),
    (lambda path: path.write_bytes(b"\xff\xfea\0"), "it is not UTF-8 text (invalid start byte at byte 0)"),
    (lambda path: path, "No such file or directory"),
]


@pytest.mark.parametrize(("make", "says"), ODD)
def test_what_is_no_file_of_ours_is_refused_at_once(tmp_path: Path, make: Callable[[Path], object], says: str) -> None:
    make(tmp_path / "f.yaml")
    with pytest.raises(OSError) as refused:
        files.read_text(tmp_path / "f.yaml", files.TEXT)
    assert files.why(refused.value) == says
    with pytest.raises(document.Refused) as told:
        document.load(tmp_path / "f.yaml", Page)
    assert str(told.value) == f"{tmp_path}/f.yaml: cannot be read: {says}."


def test_a_link_to_a_file_is_as_good_as_the_file(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("\ufeffa: 1\n")
    (tmp_path / "f.yaml").symlink_to("real")
    assert document.load(tmp_path / "f.yaml", Page).a == 1


def test_a_file_that_claims_to_be_empty_is_read_to_its_limit() -> None:
    with pytest.raises(OSError, match="larger than 16 bytes"):
        files.read_bytes(Path("/proc/self/status"), 16)  # its size is 0


@pytest.mark.parametrize("read", [results.read, bench.read])
def test_what_a_run_leaves_is_read_with_the_same_care(tmp_path: Path, read: Callable[[Path], object]) -> None:
    (tmp_path / "deep.json").write_text("[" * 100_000)
    fifo(tmp_path / "fifo.json")
    for name in ("deep", "fifo"):
        with pytest.raises((OSError, ValueError, UsageError)):
            read(tmp_path / f"{name}.json")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("b: 1\n? {a: b}\n: c", "f.yaml:2: a key must be plain text, not a list or a mapping."),
        ("? [a]\n: c", "f.yaml:1: a key must be plain text, not a list or a mapping."),
        ("a: &x [1]\nb: *x", "f.yaml:2: aliases (*x) are not allowed; write it out."),
        ("a: " + "[" * 40 + "]" * 40, "f.yaml:1: nested more than 32 levels deep."),
        ("a:\n " + "- " * 2000, "f.yaml:2: nested more than 32 levels deep."),
        ("a: 1\nb: " + "9" * 5000, "f.yaml:2: a number of 5000 characters."),
        ("a: 1\nb: " + "1:" * 5000 + "1", "f.yaml:2: a number of 10001 characters."),
        ("a: .inf", "f.yaml:1: '.inf' is no finite number."),
        ("a: 0x_", "f.yaml:1: '0x_' cannot be read as int."),
        ("a: !!bool maybe", "f.yaml:1: 'maybe' cannot be read as bool."),
        ("a: !!set {b}", "f.yaml:1: the tag 'tag:yaml.org,2002:set' is not allowed."),
        ("a: !!binary aGFsbG8=", "f.yaml:1: 'aGFsbG8=' is YAML's 'binary', which is not allowed; put it in quotes."),
        (
            "a: !!python/object/apply:os.system [id]",
            "f.yaml:1: the tag 'tag:yaml.org,2002:python/object/apply:os.system' is not allowed.",
        ),
        ("a: {<<: {b: 1}}", "f.yaml:1: '<<' is YAML's 'merge', which is not allowed; put it in quotes."),
        ("a: 1\nb: x\0y", "f.yaml:2: not YAML: control characters are not allowed."),
        ('a: "x\\0y"', r"f.yaml:1: a text with the control character \x00."),
        ("a: 1\n\tb: 2", "f.yaml:2: not YAML: found a tab character that violates indentation."),
        ("a: 1\na: 2", "f.yaml:2: the key 'a' stands here twice."),
        ("a: 1\n---\nb: 1", "f.yaml:2: not YAML: but found another document."),
        ("numbr: 1", "f.yaml:1: numbr: unknown key 'numbr'; did you mean 'number'? Allowed: a, number."),
        (
            "x" * 500 + ": 1",
            "f.yaml:1: "
            + "x" * 80
            + "... (500 characters): unknown key '"
            + "x" * 80
            + "... (500 characters)'. Allowed: a, number.",
        ),
    ],
)
def test_what_is_no_plain_data_is_one_sentence_with_its_line(text: str, says: str) -> None:
    with pytest.raises(document.Refused) as refused:
        document.parse(text, Page, "f.yaml")
    assert str(refused.value) == says


def test_a_date_is_the_text_that_it_is_written_as() -> None:
    assert document.parse("a: 2001-99-99", Page, "f.yaml").a == "2001-99-99"


YAML_WORDS = st.lists(
    max_size=40,
    elements=st.sampled_from(
        [
            *"abc:-?{}[]&*!|>'\"%@`,# \n\t\0",
            "? {a: b}",
            "!!int ",
            "<<: ",
            "*a",
            "&a ",
            "- ",
            ": ",
            "\n  ",
            "0x",
            ".nan",
            "\ufeff",
            "2001-99-99",
            "\u2028",
        ]
    ),
)


@given(YAML_WORDS.map("".join) | st.text(max_size=60))
@example("? ? ? a")
def test_any_text_is_data_or_a_sentence(text: str) -> None:
    try:
        document.parse(text, Page, "f.yaml")
    except document.Refused as refused:
        assert all(line.startswith("f.yaml:") and line.endswith(".") for line in str(refused).splitlines())


@given(st.recursive(st.none() | st.booleans() | st.integers(-10**30, 10**30) | st.text(st.characters(codec="ascii",
                    categories=["L", "N", "P", "Zs"])), lambda inner: st.lists(inner) | st.dictionaries(
                        st.text("abc", min_size=1), inner), max_leaves=10))  # fmt: skip
def test_plain_data_is_read_as_yaml_reads_it(data: object) -> None:
    text = yaml.safe_dump({"a": data})
    assert document.parse(text, Page, "f.yaml").a == yaml.safe_load(text)["a"]


@given(st.text())
def test_shown_text_steers_nothing(text: str) -> None:
    shown = visible(text)
    assert not set(shown) & {chr(code) for code in (*range(0x20), *range(0x7F, 0xA0))}
    assert visible(shown) == shown


def test_controls_are_shown_as_escapes() -> None:
    assert visible("a\x1b[2J\x9b1m\u202eb\u2066\u200f\u061c\u2028c\n") == (
        r"a\x1b[2J\x9b1m\u202eb\u2066\u200f\u061c\u2028c\x0a"
    )
    assert visible("a\tb\nc\x85", lines=True) == "a\tb\nc\\x85"
    assert visible("Grüße, 日本, \U0001f600") == "Grüße, 日本, \U0001f600"
    assert quoted("x" * 300) == "x" * 200 + "... (300 characters)"


def test_the_check_of_a_folder_goes_on_past_every_wrong_file(tmp_path: Path) -> None:
    good = Path(__file__).parents[3] / "orchestrator" / "scenario" / "files" / "linger-zero.yaml"
    (tmp_path / "a-key.yaml").write_text("? {a: b}\n: c")
    (tmp_path / "b-deep.yaml").write_text("[" * 100_000)
    fifo(tmp_path / "c-fifo.yaml")
    (tmp_path / "d-zero.yaml").symlink_to("/dev/zero")
    (tmp_path / "e-good.yaml").write_bytes(good.read_bytes())
    done = CliRunner().invoke(main, ["scenario", "check", "--json", str(tmp_path)])
    told = {Path(row["file"]).name: row for row in json.loads(done.output)}
    assert [row["ok"] for row in told.values()] == [False, False, False, False, True]
    assert all(len(row["problems"]) == 1 for name, row in told.items() if name != "e-good.yaml")
    assert done.exit_code == 2


@pytest.mark.parametrize(
    "words",
    [
        ["driver", "check", "{}"],
        ["driver", "sign", "{}", "--out", "/nonexistent/x.sys"],
        ["run", "--driver", "{}"],
        ["run", "{}"],
        ["scenario", "coverage", "--results", "{}"],
        ["bench", "compare", "{}", "{}"],
        ["image", "build", "windows-2022", "--iso", "{}", "--virtio-win", "{}"],
    ],
)
@pytest.mark.parametrize("make", [fifo, lambda path: path.symlink_to("/dev/zero")])
def test_no_command_waits_for_a_fifo_or_reads_a_device(
    tmp_path: Path, words: list[str], make: Callable[[Path], object]
) -> None:
    """In a thread, so that a command that waits fails this test alone."""
    path = tmp_path / "it.yaml"
    make(path)
    done: list[BaseException] = []

    def command() -> None:
        try:
            main([word.format(path) for word in words], standalone_mode=False)
        except BaseException as error:
            done.append(error)

    thread = threading.Thread(target=command, daemon=True)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    assert "not a regular file" in str(done[0]) or "not a bench.json" in str(done[0])
