"""Requests that no right program sends to the lab's own driver, and what it has to answer. Pure.

A driver's device is open to whoever may open it: sizes, counts and codes are the caller's. What is right says
drivers/wsklab/protocol.h. Nothing here may be carried out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from wsklab.drivers import protocol
from wsklab.drivers.protocol import Command, Op

INVALID_FUNCTION, INSUFFICIENT_BUFFER, INVALID_USER_BUFFER = 1, 122, 1784
"""Win32's names of STATUS_INVALID_DEVICE_REQUEST, STATUS_BUFFER_TOO_SMALL and STATUS_INVALID_BUFFER_SIZE."""

INVALID_PARAMETER, NAME_COLLISION, NOT_FOUND = 0xC000000D, 0xC0000035, 0xC0000225

MAX_LENGTH = 16 << 20
"""The longest transfer that the driver takes on, in bytes (drivers/wsklab/wsklab.h)."""

NO_CONNECTION = 0xFFFFFFF0
"""A connection that no scenario comes to."""

NO_VERB = 0x7F
"""The number of no command."""


@dataclass(frozen=True)
class Refused:
    """A line in which the driver refuses an operation of a connection."""

    conn: int
    op: str
    id: int
    status: int


@dataclass(frozen=True)
class Malformed:
    """One request: its ioctl `code`, the bytes handed in, and room for so many bytes of answer.

    `error` is the Win32 error that it must end with, or 0; then it is answered with `statuses`. `refused` are the lines
    that it makes the driver print.
    """

    what: str
    code: int
    data: bytes
    room: int
    error: int = 0
    statuses: tuple[int, ...] = ()
    refused: tuple[Refused, ...] = ()


def requests(conn: int, first: int) -> Iterator[Malformed]:
    """Yield each request; `conn` is a connection that is open, and the operations are numbered from `first`."""
    harmless = Command(Op.CLOSE, id=first, conn=NO_CONNECTION)
    one, ring = harmless.pack(), protocol.pack_ring_request(1)
    gone = Refused(NO_CONNECTION, "close", first, NOT_FOUND)
    command = protocol.IOCTL_COMMAND
    yield Malformed("an ioctl of a code that there is not", protocol.IOCTL_STATE + 4, b"", 64, INVALID_FUNCTION)
    yield Malformed("a batch without a command", command, b"", 4, INVALID_USER_BUFFER)
    yield Malformed("a command that is cut off", command, one[:-4], 4, INVALID_USER_BUFFER)
    yield Malformed("a command and a part of another", command, one + one[:-4], 8, INVALID_USER_BUFFER)
    many = protocol.BATCH + 1
    yield Malformed(f"a batch of {many} commands", command, one * many, 4 * many, INVALID_USER_BUFFER)
    yield Malformed("a request for the ring that is cut off", protocol.IOCTL_RING, ring[:-1], 4096, INSUFFICIENT_BUFFER)
    room = protocol.RING_HEAD_BYTES - 1
    yield Malformed("a request for the ring without room", protocol.IOCTL_RING, ring, room, INSUFFICIENT_BUFFER)
    room = protocol.STATE_BYTES - 1
    yield Malformed("a request for the state without room", protocol.IOCTL_STATE, b"", room, INSUFFICIENT_BUFFER)
    yield Malformed("a command without room for its status", command, one, 3, refused=(gone,))
    two = one + replace(harmless, id=first + 1).pack()
    both = (gone, Refused(NO_CONNECTION, "close", first + 1, NOT_FOUND))
    yield Malformed("two commands with room for one status", command, two, 4, statuses=(NOT_FOUND,), refused=both)
    yield Malformed(
        "a command that gives another size of itself",
        command,
        (len(one) - 4).to_bytes(4, "little") + one[4:],
        4,
        statuses=(protocol.REVISION_MISMATCH,),
    )
    yield Malformed(
        "a command of another version",
        command,
        one[:4] + (protocol.VERSION + 1).to_bytes(2, "little") + one[6:],
        4,
        statuses=(protocol.REVISION_MISMATCH,),
    )
    verb = replace(harmless, conn=conn).pack()
    yield Malformed(
        "a command that there is not",
        command,
        verb[:6] + NO_VERB.to_bytes(2, "little") + verb[8:],
        4,
        statuses=(INVALID_PARAMETER,),
        refused=(Refused(conn, "unknown", first, INVALID_PARAMETER),),
    )
    for op in (Op.RECEIVE, Op.SEND):
        long = Command(op, id=first, conn=conn, count=1, length=MAX_LENGTH + 1)
        yield _refused(f"a {op.name.lower()} that is too long", long, INVALID_PARAMETER)
    for op in (Op.SOCKET, Op.SOCKET_CONNECT, Op.OPEN, Op.ACCEPT):
        again = Command(op, id=first, conn=conn, target=conn if op == Op.ACCEPT else 0)
        yield _refused(f"a command {op.name.lower()} for a connection that there is already", again, NAME_COLLISION)
    for op in (Op.RECEIVE, Op.SEND):
        three = Command(op, id=first, conn=NO_CONNECTION, count=3, length=1)
        each = tuple(Refused(NO_CONNECTION, op.name.lower(), first + nth, NOT_FOUND) for nth in range(3))
        yield Malformed(
            f"three {op.name.lower()}s on a connection that there is not",
            command,
            three.pack(),
            4,
            statuses=(NOT_FOUND,),
            refused=each,
        )


def _refused(what: str, command: Command, status: int) -> Malformed:
    """Return a command that is answered by its status, and refused with it in one line."""
    line = Refused(command.conn, command.op.name.lower(), command.id, status)
    return Malformed(what, protocol.IOCTL_COMMAND, command.pack(), 4, statuses=(status,), refused=(line,))
