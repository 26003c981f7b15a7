"""Bytes as text on the agent's line: short where they are zeros or ASCII, as nearly all of ours are. Pure.

A printable character stands for itself, `~NN` for NN (hex, 01..ff) zero bytes, `%NN` for any one byte. The first
three of `"`, `\\`, `%`, `~` never stand for themselves, so that the text needs no escape inside a JSON string. A
command of the driver is a quarter as long as in plain hex; the UART of an emulated machine takes its time for each
character (agent/reply.c has the other end).
"""

from __future__ import annotations

import re

_APART = re.compile(r'\x00{1,255}|[^ -}]|["\\%]')
_CODES = re.compile(r"~(?!00)([0-9a-f]{2})|%([0-9a-f]{2})|([^ -}]|[\"\\%])")


def encode(data: bytes) -> str:
    """Return the text of some bytes."""
    return _APART.sub(_code, data.decode("latin-1"))


def _code(match: re.Match[str]) -> str:
    text = match[0]
    return f"~{len(text):02x}" if text[0] == "\0" else f"%{ord(text):02x}"


def decode(text: str) -> bytes:
    """Return the bytes of a text made by `encode`. Raises ValueError."""
    return _CODES.sub(_bytes, text).encode("latin-1")


def _bytes(match: re.Match[str]) -> str:
    if match[3] is not None:
        raise ValueError(f"{match[3]!r} at {match.start()} stands for no bytes")
    return "\0" * int(match[1], 16) if match[1] else chr(int(match[2], 16))
