"""The provider's lines: read, kept, and standing for the words of a driver that has none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsklab.drivers.witness import SEEN_MARK, SeenRecord, parse_seen_line
from wsklab.orchestrator.lab.wsk_words import WskWords
from wsklab.orchestrator.observe.foreign_lines import ForeignDisconnect, ForeignOpen
from wsklab.orchestrator.observe.wsk_lines import (
    WskCalled,
    WskCompleted,
    WskConnected,
    WskEvent,
    WskEventReturned,
    seen_line,
)

WORD = st.integers(0, 2**32 - 1)
POINTER = st.integers(0, 2**64 - 1)
RECORDS = st.builds(
    SeenRecord,
    number=WORD,
    event=st.sampled_from(["open", "call", "done", "event", "back"]),
    function=st.sampled_from(["WskSend", "WskDisconnectEvent", "WskCaptureProviderNPI"]),
    driver=st.sampled_from(["my.sys", "my-driver_2.sys", ""]),
    irql=st.integers(0, 15),
    thread=WORD,
    socket=WORD,
    irp=POINTER,
    context=POINTER,
    flags=WORD,
    status=WORD,
    information=POINTER,
)


def line(o: SeenRecord) -> str:
    return (
        f"0134:warn: {SEEN_MARK}n={o.number:08x} ev={o.event} fn={o.function} drv={o.driver} irql={o.irql} "
        f"thr={o.thread:08x} sock={o.socket:08x} irp={o.irp:016x} ctx={o.context:016x} flags={o.flags:08x} "
        f"st={o.status:08x} info={o.information:016x}\n"
    )


def record(event: str, function: str, socket: int = 0, status: int = 0, flags: int = 0, made: int = 0) -> SeenRecord:
    return SeenRecord(1, event, function, "my.sys", 2, 7, socket, 0, 0, flags, status, made)


@given(RECORDS)
def test_a_line_is_read_as_it_was_told(told: SeenRecord) -> None:
    assert parse_seen_line(line(told)) == told


@given(RECORDS, st.data())
def test_a_line_that_is_cut_is_none(told: SeenRecord, data: st.DataObject) -> None:
    whole = line(told).rstrip("\n")
    assert parse_seen_line(whole[: data.draw(st.integers(0, len(whole) - 1))]) is None


@given(st.text())
def test_no_text_harms_the_reader(text: str) -> None:
    assert parse_seen_line(SEEN_MARK + text) is None


@pytest.mark.parametrize(
    ("event", "kind"),
    [
        ("call", WskCalled),
        ("done", WskCompleted),
        ("event", WskEvent),
        ("back", WskEventReturned),
        ("open", WskConnected),
    ],
)
def test_each_is_an_observation_of_its_own(event: str, kind: type) -> None:
    seen = seen_line(5, record(event, "WskSend", socket=3, status=0x103))
    assert (type(seen), seen.t, seen.function, seen.driver, seen.irql, seen.thread) == (
        kind,
        5,
        "WskSend",
        "my.sys",
        2,
        7,
    )


def test_a_client_without_words_is_known_by_its_calls() -> None:
    words = WskWords(lambda kind: False)
    told = [
        words.line(1, record("done", "WskSocketConnect", 4)),
        words.line(2, record("event", "WskDisconnectEvent", 4, flags=9)),
        words.line(3, record("call", "WskCloseSocket", 4, status=0x103)),
        words.line(4, record("done", "WskCloseSocket", 4)),
        words.line(5, record("done", "WskSocketConnect", 6)),
    ]
    assert [(o.kind, o.conn) for o in told if o] == [("open", 0), ("disc", 0), ("close", 0), ("open", 1)]
    assert isinstance(told[1], ForeignDisconnect)
    assert (told[1].flags, told[1].irql, told[1].abortive) == (9, 2, None)


def test_a_server_without_words_is_known_by_its_calls() -> None:
    words = WskWords(lambda kind: False)
    told = [
        words.line(1, record("done", "WskBind", 1)),
        words.line(2, record("back", "WskAcceptEvent", 1, made=2)),
        words.line(3, record("event", "WskReceiveEvent", 2)),
        words.line(4, record("event", "WskDisconnectEvent", 2)),
        words.line(5, record("done", "WskCloseSocket", 1)),
    ]
    assert [(o.kind, o.conn) for o in told if o] == [("load", None), ("open", 0), ("disc", 0)]


def test_a_connection_is_told_by_its_ports() -> None:
    words = WskWords(lambda kind: False)
    assert words.line(1, record("open", "WskSocketConnect", 4, made=0xC001_1B5F)) is None
    opened = words.line(2, record("done", "WskSocketConnect", 4))
    assert isinstance(opened, ForeignOpen)
    assert (opened.conn, dict(opened.more)) == (0, {"local_port": 0xC001, "remote_port": 7007})


def test_what_failed_is_no_connection() -> None:
    words = WskWords(lambda kind: False)
    assert words.line(1, record("done", "WskSocketConnect", 0, status=0xC0000236)) is None
    assert words.line(2, record("back", "WskAcceptEvent", 1, status=0xC00000D0, made=2)) is None


def test_what_the_driver_says_itself_is_not_said_for_it() -> None:
    words = WskWords(lambda kind: kind == "disc")
    assert words.line(1, record("done", "WskSocketConnect", 4)) is not None
    assert words.line(2, record("event", "WskDisconnectEvent", 4)) is None
