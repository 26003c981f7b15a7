"""Every WSK call and callback of every driver, as the stand-in's provider sees it with `--strict` (drivers/witness.py).

It takes nothing of the driver's own text, so that a driver which prints nothing is seen as well as any other.
"""

from __future__ import annotations

from typing import ClassVar

from wsklab.drivers.witness import SeenRecord
from wsklab.orchestrator.observe.base import observed
from wsklab.orchestrator.observe.driver_lines import OfProvider


@observed
class WskSeen(OfProvider):
    """Any of them: `number` is of the provider's lines, `driver` the image whose call it is, `socket` 0 for none."""

    number: int
    function: str
    driver: str
    irql: int
    thread: int
    socket: int = 0


@observed
class WskCalled(WskSeen):
    """A function was called; `context` is what the driver gives a socket that is made."""

    kind: ClassVar[str] = "wsk-call"

    returned: int
    irp: int = 0
    flags: int = 0
    context: int = 0


@observed
class WskCompleted(WskSeen):
    """The IRP of a function is completed; `socket` is the one that was made, where one was."""

    kind: ClassVar[str] = "wsk-done"

    irp: int
    status: int
    information: int = 0


@observed
class WskEvent(WskSeen):
    """A callback is called."""

    kind: ClassVar[str] = "wsk-event"

    context: int = 0
    flags: int = 0


@observed
class WskEventReturned(WskSeen):
    """It has returned; WskAcceptEvent gives the new socket, `made`, its context."""

    kind: ClassVar[str] = "wsk-back"

    returned: int
    context: int = 0
    made: int = 0


@observed
class WskConnected(WskSeen):
    """A socket has a connection, by which it can be told on the wire; `function` made it."""

    kind: ClassVar[str] = "wsk-open"

    local_port: int
    remote_port: int


WSK_SEEN: tuple[type[WskSeen], ...] = (WskCalled, WskCompleted, WskEvent, WskEventReturned, WskConnected)


def seen_line(t: int, seen: SeenRecord) -> WskSeen:
    """Return the observation that a line of the provider's is."""
    number, function, driver = seen.number, seen.function, seen.driver
    irql, thread, socket = seen.irql, seen.thread, seen.socket
    if seen.event == "open":
        return WskConnected(
            t=t, number=number, function=function, driver=driver, irql=irql, thread=thread, socket=socket,
            local_port=seen.information >> 16 & 0xFFFF, remote_port=seen.information & 0xFFFF,
        )  # fmt: skip
    if seen.event == "call":
        return WskCalled(
            t=t, number=number, function=function, driver=driver, irql=irql, thread=thread, socket=socket,
            returned=seen.status, irp=seen.irp, flags=seen.flags, context=seen.context,
        )  # fmt: skip
    if seen.event == "done":
        return WskCompleted(
            t=t, number=number, function=function, driver=driver, irql=irql, thread=thread, socket=socket,
            irp=seen.irp, status=seen.status, information=seen.information,
        )  # fmt: skip
    if seen.event == "event":
        return WskEvent(
            t=t, number=number, function=function, driver=driver, irql=irql, thread=thread, socket=socket,
            context=seen.context, flags=seen.flags,
        )  # fmt: skip
    return WskEventReturned(
        t=t, number=number, function=function, driver=driver, irql=irql, thread=thread, socket=socket,
        returned=seen.status, context=seen.context, made=seen.information,
    )  # fmt: skip


def words(o: WskSeen) -> str:
    """Return what is told of it in a report."""
    where = f"{o.function}" + (f" on socket {o.socket}" if o.socket else "")
    level = f"IRQL {o.irql}, thread {o.thread:x}"
    match o:
        case WskCalled():
            irp = f", IRP {o.irp:x}" if o.irp else ""
            return f"{o.driver}: {where}, flags {o.flags:08x}{irp}: returned {o.returned:08x} ({level})"
        case WskCompleted():
            return f"{o.driver}: {where}, IRP {o.irp:x}: completed with {o.status:08x}, {o.information} ({level})"
        case WskEvent():
            return f"{o.driver}: {where} called, flags {o.flags:08x}, context {o.context:x} ({level})"
        case WskEventReturned():
            return f"{o.driver}: {where} returned {o.returned:08x} ({level})"
        case WskConnected():
            return f"{o.driver}: {where}, connection of port {o.local_port} with port {o.remote_port} ({level})"
    return where
