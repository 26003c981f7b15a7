"""What is proposed from the lines of a trial run."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsklab.drivers.patterns import problems, read
from wsklab.drivers.profile import load_profile
from wsklab.orchestrator.starting import binary, folder
from wsklab.orchestrator.starting.course import Course, Lines
from wsklab.orchestrator.starting.proposals import proposals

ECHO = Course(
    "peer",
    7007,
    replies=True,
    fin=Lines(
        ["echo: listening on port 7007"],
        ["echo[1] hello 10.77.0.20:40001"],
        ["echo[1] bye: flags=0 after 16 bytes", "echo[1] closed: 16 bytes echoed, status 00000000"],
        ["echo: stopped, 1 connections served"],
    ),
    rst=Lines(
        ["echo: listening on port 7007"],
        ["echo[1] hello 10.77.0.20:40002"],
        ["echo[1] bye: flags=1 after 16 bytes", "echo[1] closed: 16 bytes echoed, status c000020d"],
        ["echo: stopped, 1 connections served"],
    ),
)
PINGER = Course(
    "start",
    7008,
    greeting=18,
    fin=Lines(
        (),
        ["<pinger> #1 connected", "<pinger> #1 2 lines out"],
        ["<pinger> #1 peer hung up: flags 0x0, receive 0x00000000", "<pinger> #1 closed: 0x00000000"],
        ["<pinger> unloaded"],
    ),
    rst=Lines(
        (),
        ["<pinger> #1 connected"],
        ["<pinger> #1 peer broke off: flags 0x1, receive 0xc000020d", "<pinger> #1 closed: 0x00000000"],
        ["<pinger> unloaded"],
    ),
)


def written(course: Course, path: Path, parameters: dict[str, int | str] | None = None) -> str:
    text = folder.profile_text("mine", "mine.sys", "", ["Port"], parameters or {}, course, proposals(course))
    path.write_text(text)
    return text


def test_a_server_whose_flags_are_a_number(tmp_path: Path) -> None:
    written(ECHO, tmp_path / "mine.yaml", {"Port": 7007})
    profile = load_profile(str(tmp_path / "mine.yaml"))
    assert [pattern.kind for pattern in profile.patterns] == ["disc", "load", "open", "close", "unload"]
    reading = read(profile.patterns, "echo[12] bye: flags=9 after 4000 bytes")
    assert reading is not None
    assert (reading.kind, reading.conn, reading.data["flags"], reading.data["abortive"]) == ("disc", 12, 9, True)
    assert profile.provoke is not None
    assert (profile.provoke.by, profile.provoke.port, profile.provoke.replies) == ("peer", 7007, True)


def test_a_client_with_a_wording_for_each_end(tmp_path: Path) -> None:
    written(PINGER, tmp_path / "mine.yaml")
    profile = load_profile(str(tmp_path / "mine.yaml"))
    assert [pattern.kind for pattern in profile.patterns] == ["disc", "disc", "open", "close", "unload"]
    reading = read(profile.patterns, "<pinger> #7 peer broke off: flags 0x9, receive 0xc000020d")
    assert reading is not None
    assert (reading.conn, reading.data["flags"], reading.data["abortive"]) == (7, 9, True)


def test_where_only_the_wording_tells_it_is_a_guess() -> None:
    course = Course("peer", 7, fin=Lines(end=["peer left"]), rst=Lines(end=["connection broken"]))
    found = proposals(course)
    assert [(one.line, one.set) for one in found] == [
        ("peer left", {"abortive": False}),
        ("connection broken", {"abortive": True}),
    ]
    assert all(one.doubt for one in found)


def test_a_driver_that_says_the_same_of_both_ends_gets_no_such_pattern(tmp_path: Path) -> None:
    course = Course("peer", 7, fin=Lines(end=["gone"]), rst=Lines(end=["gone"]))
    assert [one.kind for one in proposals(course)] == []
    assert "FILL IN a pattern of kind disc" in written(course, tmp_path / "mine.yaml")


@pytest.mark.parametrize("by", ["none"])
def test_what_nobody_could_know_is_to_be_filled_in(by: str, tmp_path: Path) -> None:
    text = written(Course("none", why="it neither listened nor sent a SYN"), tmp_path / "mine.yaml")
    assert "# FILL IN how it comes to connect. In the trial run it neither listened nor sent a SYN." in text
    load_profile(str(tmp_path / "mine.yaml"))


LINE = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=60)
LINES = st.builds(Lines, *[st.lists(LINE, max_size=3)] * 4)


@given(LINES, LINES)
def test_whatever_is_printed_the_samples_come_out(fin: Lines, rst: Lines) -> None:
    found = proposals(Course("peer", 7, fin=fin, rst=rst))
    from wsklab.drivers.patterns import Pattern

    for one in found:
        assert list(problems([Pattern.model_validate(one.document())])) == [], one


def test_a_devices_name_and_names_of_settings_are_read_from_the_file() -> None:
    data = b"\x01".join(text.encode("utf-16-le") for text in (r"\DosDevices\My-Dev", "Parameters", "Port", "no word"))
    assert binary.read(b"MZ\xff" + data + b"\x00\x00") == binary.Told(r"\\.\My-Dev", ("Port",))


@given(st.binary(max_size=2000))
def test_any_file_can_be_looked_through(data: bytes) -> None:
    told = binary.read(data)
    assert len(told.settings) <= 20
