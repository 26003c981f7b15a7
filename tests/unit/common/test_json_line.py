"""The lines that the lab's programs say to each other."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsklab.common import json_line

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), VALUES, max_size=5))
def test_what_is_written_is_one_line_of_ascii_and_reads_the_same(words: dict[str, Any]) -> None:
    line = json_line.encode(words)
    assert line.isascii() and b"\n" not in line and b"\r" not in line
    assert json_line.decode(line) == json_line.decode(line.decode()) == words


@given(st.binary(max_size=80) | st.text(max_size=80))
def test_noise_is_no_message(line: bytes | str) -> None:
    message = json_line.decode(line)
    assert message is None or isinstance(message, dict)


@pytest.mark.parametrize("line", ["[" * 200_000, '{"a":' * 200_000, "1", "null", "[]", '"x"', b"\xff", "9" * 5000])
def test_what_is_meant_to_harm_is_no_message(line: str | bytes) -> None:
    assert json_line.decode(line) is None
