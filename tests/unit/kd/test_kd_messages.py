"""Payloads against the vectors and tables of docs/reference/kd.md, and against truncation."""

from __future__ import annotations

import struct

import pytest
from support.kd_rig import vectors

from wsklab.qemu.kd import bugcheck, messages, requests
from wsklab.qemu.kd.messages import Reply, State
from wsklab.qemu.kd.packet import Decoder, Kind, Packet
from wsklab.qemu.kd.requests import HANDLED, NOT_HANDLED, Context, Cpu


def packet(name: str) -> Packet:
    (found,) = Decoder().feed(vectors()[name])
    assert isinstance(found, Packet)
    return found


def payload(name: str) -> bytes:
    return packet(name).payload


def test_print() -> None:
    assert messages.parse_print(payload("V1")) == messages.Print(0, b"hello\n")
    assert messages.parse_prompt(payload("V1")) is None


def test_print_that_claims_more_than_it_has() -> None:
    assert messages.parse_print(payload("V1")[:-3]) == messages.Print(0, b"hel")


def test_prompt_and_its_answer() -> None:
    prompt = messages.parse_prompt(payload("V15"))
    assert prompt == messages.Prompt(6, 0, b"Break? (boibt)", 14, 2)
    assert requests.answer_prompt(prompt, b"i") == payload("V16")
    assert requests.answer_prompt(prompt, b"iii")[16:] == b"ii"


def test_load_symbols() -> None:
    change = messages.parse_state_change(payload("V7"))
    assert change and change.state == State.LOAD_SYMBOLS
    assert (change.pc, change.processors, change.dr7) == (0xFFFFF80000005000, 1, 0x400)
    module = messages.parse_module(payload("V7"))
    path = r"\SystemRoot\system32\ntoskrnl.exe"
    assert module == messages.ModuleReport(path, 0xFFFFF80002400000, 0x1046000, 0xA1B2C3, 2**64 - 1, False)


def test_path_length_beyond_the_payload_shows_no_header_bytes() -> None:
    bent = bytearray(payload("V7"))
    bent[32:36] = b"\xff\xff\xff\xff"
    module = messages.parse_module(bytes(bent))
    assert module and module.path == r"\SystemRoot\system32\ntoskrnl.exe"


def test_breakpoint() -> None:
    change = messages.parse_state_change(payload("V12"))
    assert change and change.state == State.EXCEPTION
    assert change.stream[:2] == b"\xcc\xc3"
    exception = messages.parse_exception(payload("V12"))
    assert exception == messages.ExceptionReport(0x80000003, change.pc, True, (0,))


def test_exception_with_a_false_parameter_count() -> None:
    bent = bytearray(payload("V12"))
    bent[56:60] = b"\xff\xff\xff\xff"
    exception = messages.parse_exception(bytes(bent))
    assert exception and len(exception.information) == 15


def test_x86_control_report() -> None:
    bent = bytearray(payload("V12"))
    struct.pack_into("<QQ", bent, 16, 0xFFFFFFFF80001000, 0xFFFFFFFF80405060)
    struct.pack_into("<IIHH", bent, 192, 0xFFFF0FF0, 0x455, 2, 3)
    bent[204:206] = b"\xcd\x2c"
    change = messages.parse_state_change(bytes(bent))
    assert change and change.x86
    assert (change.dr7, change.stream) == (0x455, b"\xcd\x2c")


def test_alternate_source_bit_is_masked() -> None:
    bent = bytearray(payload("V12"))
    bent[2] |= 1
    change = messages.parse_state_change(bytes(bent))
    assert change and change.state == State.EXCEPTION
    assert messages.plausible(Packet(Kind.STATE_CHANGE64, 0x80800000, bytes(bent)))


def test_shutdown_notice() -> None:
    bent = bytearray(payload("V7")[:240])
    struct.pack_into("<I4xQ", bent, 32, 0, 2**64 - 1)
    bent[64] = 1
    module = messages.parse_module(bytes(bent))
    assert module and module.shutdown


@pytest.mark.parametrize(
    ("name", "built"),
    [
        ("V8", requests.continue2(Cpu(), HANDLED, 0x400, x86=False)),
        ("V9", requests.continue2(Cpu(), HANDLED, 0x400, x86=True)),
        ("V10", requests.continue_(Cpu(), HANDLED)),
        ("V11", requests.continue2(Cpu(), NOT_HANDLED, 0x400, x86=False)),
        ("V13", requests.get_version(Cpu())),
        ("V14", requests.read_virtual(Cpu(), 0xFFFFF80000000700, 40)),
        ("V17", requests.refuse_file(messages.FileRequest(0x3430, "any"))),
    ],
)
def test_request_bytes(name: str, built: bytes) -> None:
    assert built == payload(name)


def test_file_request_path() -> None:
    request = struct.pack("<I", 0x3430).ljust(64, b"\0") + "\\x.sys".encode("utf-16-le") + b"\0\0junk"
    assert messages.parse_file_request(request) == messages.FileRequest(0x3430, "\\x.sys")


def test_memory_must_be_whole() -> None:
    union = struct.pack("<QII", 0x1000, 8, 8).ljust(40, b"\0")
    assert requests.read_data(Reply(0x3130, 0, union, b"12345678"), 8) == b"12345678"
    assert requests.read_data(Reply(0x3130, 0, union, b"1234567"), 8) is None
    assert requests.read_data(Reply(0x3130, 0xC0000001, union, b"12345678"), 8) is None
    assert requests.read_data(Reply(0x3130, 0, union, b"12345678"), 9) is None


def test_context_amd64_and_x86() -> None:
    change = messages.parse_state_change(payload("V12"))
    assert change
    registers = bytearray(0x4D0)
    struct.pack_into("<Q", registers, 0xF8, change.pc)
    struct.pack_into("<QQ", registers, 0x78, 0x5A5A, 3)  # Rax, and Rcx, the first argument
    context = Context.of(Reply(0x3132, 0, b"", bytes(registers)), change)
    assert context and context.argument == 3 and context.advanced(2).pc == change.pc + 2
    assert Context.of(Reply(0x3132, 0, b"", bytes(registers[:-1])), change) is None
    assert Context.of(Reply(0x3132, 0, b"", bytes(0x4D0)), change) is None  # another program counter

    bent = bytearray(payload("V12"))
    struct.pack_into("<QQ", bent, 16, 0xFFFFFFFF80001000, 0xFFFFFFFF80405060)
    small = bytearray(0x2CC)
    struct.pack_into("<I", small, 0xB8, 0x80405060)
    change = messages.parse_state_change(bytes(bent))
    assert change
    context = Context.of(Reply(0x3132, 0, b"", bytes(small)), change)
    assert context and context.advanced(1).data[0xB8:0xBC] == bytes.fromhex("61504080")


@pytest.mark.parametrize("name", ["V1", "V7", "V12", "V13", "V15", "V17"])
def test_every_truncation_is_survived(name: str) -> None:
    whole = payload(name)
    for length in range(len(whole)):
        part = whole[:length]
        for parse in (messages.parse_print, messages.parse_prompt, messages.parse_state_change, messages.parse_module,
                      messages.parse_exception, messages.parse_file_request, messages.parse_reply):  # fmt: skip
            parse(part)
        messages.plausible(Packet(packet(name).kind, 0x80800000, part))


@pytest.mark.parametrize("name", ["V1", "V7", "V12", "V13", "V15", "V17"])
@pytest.mark.parametrize("kind", [kind for kind in Kind if kind not in (4, 5, 6)])
def test_a_damaged_type_is_implausible(name: str, kind: Kind) -> None:
    same = kind is packet(name).kind or {kind, packet(name).kind} == {Kind.STATE_CHANGE32, Kind.STATE_CHANGE64}
    assert messages.plausible(Packet(kind, 0x80800000, payload(name))) == same


def test_bugcheck_text_and_names() -> None:
    watch = bugcheck.TextWatch()
    assert watch.feed("*** Fatal System Error: 0x000000d1") is None
    assert watch.feed("                       (0x0000000000000010,0x2,0x0,0xFFFFF80000000001)") == (
        0xD1,
        (0x10, 2, 0, 0xFFFFF80000000001),
    )
    assert watch.feed("                       (0x10,0x2,0x0,0x1)") is None
    assert bugcheck.name(0xD1) == "DRIVER_IRQL_NOT_LESS_OR_EQUAL"
    assert bugcheck.name(0x12345) == "0x00012345"
