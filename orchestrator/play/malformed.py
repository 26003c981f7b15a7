"""Sending the lab's own driver requests that are malformed (drivers/malformed.py)."""

from __future__ import annotations

import time

from wsklab.drivers import malformed, protocol
from wsklab.drivers.malformed import Malformed, Refused
from wsklab.orchestrator.errors import StepError
from wsklab.orchestrator.guest.agent import AgentError, AgentSilent
from wsklab.orchestrator.observe.driver_lines import CommandRefused
from wsklab.orchestrator.observe.lab_notes import MalformedSent
from wsklab.orchestrator.play.connection import Connection
from wsklab.orchestrator.play.context import IN_TIME, PlayContext

OPERATIONS = 8
"""More than one request asks for."""


def send_all(context: PlayContext, connection: Connection) -> None:
    """Send each, and note what was answered and printed beside what had to be.

    Raises StepError when the driver's lines do not come, AgentSilent when it does not answer.
    """
    first = context.lab.target.operations(OPERATIONS)[0]
    for request in malformed.requests(connection.raw, first):
        journal = context.lab.journal
        mark = journal.mark
        answered = _answered(context, request)
        if context.lab.target.canary(context.deadline(None)) is None:
            raise StepError(f"the driver's lines about {request.what} did not come {IN_TIME}")
        lines = [line for line in journal.since(mark) if isinstance(line, CommandRefused)]
        printed = tuple(Refused(_conn(line), line.op, line.id, line.status) for line in lines)
        context.note(
            MalformedSent(
                t=time.time_ns(),
                what=request.what,
                answered=answered,
                wanted=_words(request.error, request.statuses),
                printed=_lines(printed, first, connection),
                wanted_lines=_lines(request.refused, first, connection),
            )
        )


def _answered(context: PlayContext, request: Malformed) -> str:
    """Return the driver's answer in words. Raises AgentSilent."""
    try:
        data = context.lab.target.agent.ioctl(protocol.DEVICE, request.code, request.data, request.room)
    except AgentSilent:
        raise
    except AgentError as error:
        return _words(error.code, ())
    if len(data) % 4:
        return f"{len(data)} bytes"
    return _words(0, tuple(protocol.unpack_statuses(data)))


def _words(error: int, statuses: tuple[int, ...]) -> str:
    if error:
        return f"Win32 error {error}"
    return "the statuses " + " ".join(f"{status:08x}" for status in statuses) if statuses else "no status"


def _conn(line: CommandRefused) -> int:
    """Return the driver's own number for the connection of its line; -1 if it tells none."""
    record = protocol.parse_line(line.text)
    return -1 if record is None else record.conn


def _lines(refused: tuple[Refused, ...], first: int, connection: Connection) -> str:
    """Return the refusals in words: command, operation counted from the request's first, status, connection."""
    names = {connection.raw: "here", malformed.NO_CONNECTION: "nowhere"}
    words = [
        f"{line.op} {line.id - first} {line.status:08x} {names.get(line.conn, 'of another connection')}"
        for line in refused
    ]
    return ", ".join(words) or "none"
