"""What the lab's programs say to each other: one JSON object per line, in ASCII.

Agent, peer program, wire and watchdog are all spoken to so. How a request is repeated, waited for and given up depends
on what is at the other end, and stays with each; how a line is written and read does not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def encode(words: Mapping[str, object]) -> bytes:
    """Return the line without its end."""
    return json.dumps(words, separators=(",", ":")).encode("ascii")


def decode(line: str | bytes) -> dict[str, Any] | None:
    """Return the object in a line; None for anything else, as what a guest says may be noise, or meant to harm."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) else None
