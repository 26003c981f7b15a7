"""The Python side of wsklab/protocol.h: same layout as the C side, and a line parser that nothing can upset."""

from __future__ import annotations

import re
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsklab.drivers import protocol
from wsklab.drivers.errors import DriverError
from wsklab.drivers.protocol import Command, Op, Option, parse_line, parse_provider_line, sockaddr

HEADER = Path(protocol.__file__).parent / "wsklab" / "protocol.h"

LAYOUT = r"""
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include "protocol.h"
int main(void)
{
    WSKLAB_COMMAND command;
    unsigned char *bytes = (unsigned char *)&command;
    uint32_t *numbers = (uint32_t *)&command.id;
    memset(&command, 0, sizeof command);
    command.size = sizeof command;
    command.version = WSKLAB_PROTOCOL;
    command.op = WSKLAB_OP_CALLBACK;
    for (uint32_t i = 0; i < offsetof(WSKLAB_COMMAND, local) / 4 - 2; i++)
        numbers[i] = 0x01010101 * (i + 1);
    memset(command.local, 'l', sizeof command.local);
    memset(command.remote, 'r', sizeof command.remote);
    memset(command.data, 'd', sizeof command.data);
    for (size_t i = 0; i < sizeof command; i++)
        printf("%02x", bytes[i]);
    printf("\n%zu %zu %zu\n", sizeof(WSKLAB_RING_REQUEST), sizeof(WSKLAB_RING_REPLY), sizeof(WSKLAB_STATE));
    printf("%u %u %u %u\n", WSKLAB_BATCH, WSKLAB_IOCTL_COMMAND, WSKLAB_IOCTL_RING, WSKLAB_IOCTL_STATE);
    return 0;
}
"""


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
def test_the_structures_are_those_of_the_header(tmp_path: Path) -> None:
    source, program = tmp_path / "layout.c", tmp_path / "layout"
    source.write_text(LAYOUT)
    subprocess.run(["gcc", "-std=c11", "-Wall", "-Werror", f"-I{HEADER.parent}", "-o", program, source], check=True)
    lines = subprocess.run([program], capture_output=True, text=True, check=True).stdout.splitlines()

    names = [name for name in Command.__dataclass_fields__ if name not in {"op", "local", "remote", "data"}]
    numbers = {name: 0x01010101 * (i + 1) for i, name in enumerate(names)}
    command = Command(Op.CALLBACK, local=b"l" * 28, remote=b"r" * 28, data=b"d" * 32, **numbers)  # type: ignore[arg-type]
    assert command.pack().hex() == lines[0]
    assert lines[1] == f"{len(protocol.pack_ring_request(1))} 24 {protocol.STATE_BYTES}"
    ioctls = (protocol.BATCH, protocol.IOCTL_COMMAND, protocol.IOCTL_RING, protocol.IOCTL_STATE)
    assert lines[2] == " ".join(str(number) for number in ioctls)


@pytest.mark.parametrize(
    ("prefix", "enumeration"),
    [
        ("WSKLAB_OP_", protocol.Op),
        ("WSKLAB_OPT_", protocol.Option),
        ("WSKLAB_ACT_", protocol.Action),
        ("WSKLAB_TAKE_", protocol.Take),
        ("WSKLAB_KIND_", protocol.Kind),
    ],
)
def test_the_numbers_are_those_of_the_header(prefix: str, enumeration: type[Op]) -> None:
    in_header = {
        name: int(value, 0)
        for name, value in re.findall(rf"\b{prefix}([A-Z_]+) = (0x[0-9a-f]+|\d+)", HEADER.read_text())
    }
    in_header.pop("NONE", None)
    assert in_header == {member.name: member.value for member in enumeration if member.value or member.name != "NONE"}


def test_addresses_are_laid_out_as_windows_has_them() -> None:
    assert sockaddr("10.77.0.20", 0x1234) == bytes.fromhex("020012340a4d00140000000000000000")
    assert sockaddr("fd77::20", 80) == bytes.fromhex("1700005000000000fd77" + "00" * 13 + "2000000000")
    with pytest.raises(DriverError, match="not a numeric"):
        sockaddr("localhost", 1)
    with pytest.raises(DriverError, match="port"):
        sockaddr("::1", 65536)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(DriverError, match="32 bit"):
        Command(Op.SEND, length=2**32).pack()
    with pytest.raises(DriverError, match="too long"):
        Command(Op.CONTROL, data=bytes(33)).pack()
    with pytest.raises(DriverError, match="1 to 256"):
        protocol.pack_commands([])
    with pytest.raises(DriverError, match="1 to 256"):
        protocol.pack_commands([Command(Op.CANARY)] * 257)


def test_answers_are_read_and_checked() -> None:
    assert protocol.unpack_statuses(bytes.fromhex("03010000840100c0")) == [0x103, 0xC0000184]
    ring = protocol.unpack_ring(struct.pack("<QQII", 5, 7, 2, 4) + b"one\ntwo\n")
    assert (ring.first_seq, ring.next_seq, ring.lost, ring.lines) == (5, 7, 4, ("one", "two"))
    state = protocol.unpack_state(struct.pack("<IIQ8I32s", 80, 1, 9, 1, 2, 3, 4, 5, 6, 1, 16384, b"correct"))
    assert (state.next_seq, state.sockets, state.irps, state.cleaning, state.build) == (9, 1, 2, True, "correct")
    for bad in (b"", bytes(23), struct.pack("<QQII", 1, 2, 2, 0) + b"one\n"):
        with pytest.raises(DriverError):
            protocol.unpack_ring(bad)
    with pytest.raises(DriverError, match="protocol 2"):
        protocol.unpack_state(struct.pack("<IIQ8I32s", 80, 2, 9, *[0] * 8, b""))


LINE = (
    "WSKLAB1 seq=0000000d t=000000064dd5c295 conn=1 ev=disc flags=00000001 ab=1 disp=0 irql=0 cpu=1 n=1 "
    "depth=1 rdepth=0 cookie=c0000001"
)


def test_a_line_is_found_behind_what_wine_puts_before_it() -> None:
    record = parse_line("0134:warn:debugstr:vDbgPrintExWithPrefix 0000004d:00000001: " + LINE + "\r\n")
    assert record is not None
    assert (record.seq, record.t, record.conn, record.ev) == (13, 0x64DD5C295, 1, "disc")
    assert (record.number("flags"), record.number("n"), record.number("cookie")) == (1, 1, 0xC0000001)
    assert record.number("nothing") is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nothing of ours",
        LINE[:40],
        LINE.replace("seq=0000000d", "seq=0000000D"),
        LINE.replace("conn=1", "conn=-1"),
        LINE.replace(" ab=1", " ab"),
        LINE + " ab=1",
        LINE + " WSKPROV",
        LINE.replace("ev=disc", "ev="),
        LINE.replace("cookie=", "cook\u0131e="),
    ],
)
def test_damaged_lines_are_no_records(text: str) -> None:
    assert parse_line(text) is None


def test_two_lines_run_together_give_the_whole_one() -> None:
    record = parse_line(LINE[:50] + LINE)
    assert record is not None
    assert record.seq == 13


_words = st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=8)
_values = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=16)


@given(
    st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1), _words,
    st.dictionaries(_words, _values.filter(lambda value: "WSKLAB1" not in value), max_size=6),
)  # fmt: skip
def test_every_line_of_the_grammar_comes_back(seq: int, t: int, conn: int, ev: str, fields: dict[str, str]) -> None:
    text = f"WSKLAB1 seq={seq:08x} t={t:016x} conn={conn} ev={ev}" + "".join(f" {k}={v}" for k, v in fields.items())
    record = parse_line(text)
    assert record is not None
    assert (record.seq, record.t, record.conn, record.ev, record.fields) == (seq, t, conn, ev, fields)


@given(st.text(), st.integers(0, 200), st.text(max_size=3))
def test_the_parser_survives_anything(text: str, at: int, inserted: str) -> None:
    parse_line(text)
    parse_line(LINE[:at] + inserted + LINE[at:])
    parse_provider_line("WSKPROV " + text)


def test_the_provider_speaks_of_rules() -> None:
    record = parse_provider_line("0134:warn: WSKPROV rule=R10 WskDisconnectEvent returned c0000001\n")
    assert record is not None
    assert (record.rule, record.text) == ("R10", "WskDisconnectEvent returned c0000001")
    assert parse_provider_line("WSKPROV nonsense") is None


def test_sums_and_patterns() -> None:
    assert protocol.fnv1a(b"") == 0x811C9DC5
    assert protocol.fnv1a(b"hello") == 0x4F9F2CAB
    assert protocol.pattern(254, 4) == bytes([254, 255, 0, 1])
    assert Option.NO_DISPATCH | Option.BRIEF == 9
