"""A crash is named by function and offset, from the symbol table of the driver's own file."""

from __future__ import annotations

import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsklab import images
from wsklab.drivers.build import COMPILER, build_driver
from wsklab.drivers.symbols import Symbols, read_symbols
from wsklab.orchestrator.lab.target import name_address

CRASH = "Unhandled page fault on write access to 0000000000000000 at address 00000000021A35C8 (thread 00b0)"
TABLE = Symbols(0x5000, (0x1000, 0x3500), ("allocate", "on_disconnect"))


@pytest.mark.skipif(shutil.which(COMPILER) is None, reason="needs mingw-w64")
def test_the_functions_of_the_driver_are_found() -> None:
    built = build_driver(None, images.cache_folder())
    symbols = read_symbols(built.symbols.read_bytes())
    assert {"DriverEntry", "on_disconnect", "connection_try_close"} <= {name.split(".")[0] for name in symbols.names}
    at = symbols.starts[symbols.names.index("on_disconnect")]
    assert symbols.name(at + 0x10) == "on_disconnect+0x10"
    assert (symbols.name(0), symbols.name(symbols.end)) == (None, None)
    assert read_symbols(built.path.read_bytes()).names == (), "the file that is loaded is stripped"


@given(st.binary(max_size=400))
def test_what_is_no_image_has_no_functions(data: bytes) -> None:
    assert read_symbols(data).names == ()
    assert read_symbols(b"MZ" + bytes(58) + b"\x40\0\0\0PE\0\0" + data).end >= 0


def test_a_crash_says_in_which_function_it_happened() -> None:
    assert name_address(CRASH, "wsklab.sys", 0x21A0000, TABLE) == f"{CRASH}, in on_disconnect+0xc8 of wsklab.sys"


@pytest.mark.parametrize(
    ("text", "base"), [(CRASH, 0), (CRASH, 0x7000000), (CRASH, 0x2000000), ("no address", 0x21A0000)]
)
def test_a_crash_elsewhere_is_left_as_it_is(text: str, base: int) -> None:
    assert name_address(text, "wsklab.sys", base, TABLE) == text
