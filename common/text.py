"""Text of others, shown: nothing in it may steer a terminal, reorder a line, or end one."""

from __future__ import annotations

import re

# Unicode's category Cc (C0, DEL, C1), its bidirectional controls (UAX #9), the line and paragraph separators, and
# surrogates, which no encoding takes.
_HIDDEN = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_HIDDEN_BUT_LINES = re.compile(_HIDDEN.pattern.replace("\x00-\x1f", "\x00-\x08\x0b-\x1f"))

SHOWN = 200
"""Characters of a foreign text that a message quotes."""


def visible(text: str, lines: bool = False) -> str:
    """`text` with its controls as escapes (`\\x9b`, `\\u202e`); with `lines`, tabs and newlines stay as they are."""
    return (_HIDDEN_BUT_LINES if lines else _HIDDEN).sub(_escape, text)


def quoted(text: object, most: int = SHOWN) -> str:
    """Return a foreign value as a message quotes it: visible, and no longer than a line."""
    whole = str(text)
    return visible(whole if len(whole) <= most else f"{whole[:most]}... ({len(whole)} characters)")


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
