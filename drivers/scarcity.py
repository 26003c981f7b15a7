"""The line in which the stand-in's strict mode tells which allocation of a driver it has made fail.

drivers/strict/scarcity.c writes it. Pure: text in, values out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

#: Marks such a line anywhere in a line of debug text.
SCARCE_MARK = "WSKSCARCE "

_LINE = re.compile(r"WSKSCARCE n=(?P<number>[0-9a-f]{8}) call=(?P<call>\w{1,64}) at=(?P<at>[\w.+-]{0,64})", re.ASCII)


@dataclass(frozen=True, slots=True)
class ScarceRecord:
    """Which allocation it was since the scenario began, by which routine, and who called that (module+0xoffset)."""

    number: int
    routine: str
    at: str


def parse_scarce_line(text: str) -> ScarceRecord | None:
    """Return the record in a line of debug text, wherever it begins; None when there is none, or a damaged one."""
    at = text.rfind(SCARCE_MARK)
    match = _LINE.fullmatch(text.rstrip(" \r\n"), at) if at >= 0 else None
    return ScarceRecord(int(match["number"], 16), match["call"], match["at"]) if match else None
