"""The lines in which the stand-in tells every WSK call and callback, with `--strict`; drivers/standin/witness.c.

Pure: text in, values out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

#: Marks such a line anywhere in a line of debug text.
SEEN_MARK = "WSKSEEN "

_WORD = r"[0-9a-f]{8}"
_LINE = re.compile(
    rf"WSKSEEN n=(?P<number>{_WORD}) ev=(?P<event>open|call|done|event|back) fn=(?P<function>Wsk[A-Za-z]{{1,40}}) "
    rf"drv=(?P<driver>[\w.+-]{{0,64}}) irql=(?P<irql>[0-9]{{1,2}}) thr=(?P<thread>{_WORD}) "
    rf"sock=(?P<socket>{_WORD}) irp=(?P<irp>{_WORD}{_WORD}) ctx=(?P<context>{_WORD}{_WORD}) "
    rf"flags=(?P<flags>{_WORD}) st=(?P<status>{_WORD}) info=(?P<information>{_WORD}{_WORD})",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class SeenRecord:
    """One line. What an event has not is 0; `number` counts the lines from the load of the provider on.

    `event`: a function was called (`call`, with what it returns), its IRP is completed (`done`), a callback is called
    (`event`), it has returned (`back`), a connection is open (`open`, with its ports as `information`, the local one
    above). `socket` is the provider's number of it, 0 where there is none (yet).
    """

    number: int
    event: str
    function: str
    driver: str
    irql: int
    thread: int
    socket: int
    irp: int
    context: int
    flags: int
    status: int
    information: int


def parse_seen_line(text: str) -> SeenRecord | None:
    """Return the record in a line of debug text, wherever it begins; None when there is none, or a damaged one."""
    at = text.rfind(SEEN_MARK)
    match = _LINE.fullmatch(text.rstrip(" \r\n"), at) if at >= 0 else None
    if match is None:
        return None
    words = {
        name: int(match[name], 16)
        for name in ("number", "thread", "socket", "irp", "context", "flags", "status", "information")
    }
    return SeenRecord(
        event=match["event"], function=match["function"], driver=match["driver"], irql=int(match["irql"]), **words
    )
