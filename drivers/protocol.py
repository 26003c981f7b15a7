"""What is said between the lab and wsklab.sys: the ioctl structures and the debug lines of wsklab/protocol.h.

Pure: bytes and text in, values out. `tests/unit/test_drivers_protocol.py` compiles the header and compares.

Long because it is the counterpart of one header, which it is compared with as a whole.
"""

from __future__ import annotations

import enum
import ipaddress
import re
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from .errors import DriverError

VERSION = 1
BATCH = 256  # commands in one ioctl
LINE_BYTES = 256  # WSKLAB_LINE: no line of the driver is longer
DEVICE = "\\\\.\\wsklab"
IOCTL_COMMAND = 0x222000
IOCTL_RING = 0x222004
IOCTL_STATE = 0x222008
REVISION_MISMATCH = 0xC0000059  # STATUS_REVISION_MISMATCH: a command of another version


class Op(enum.IntEnum):
    """What a command does; the fields each one uses are listed in protocol.h."""

    CANARY = 1
    SOCKET = 2
    BIND = 3
    CONNECT = 4
    SOCKET_CONNECT = 5
    OPEN = 6
    ACCEPT = 7
    ACCEPT_EVENTS = 8
    ENABLE = 9
    DISABLE = 10
    STATIC_EVENTS = 11
    RECEIVE = 12
    SEND = 13
    DISCONNECT = 14
    CLOSE = 15
    CLOSE_ALL = 16
    CANCEL = 17
    RELEASE = 18
    CONTROL = 19
    ADDRESSES = 20
    CALLBACK = 21


class Kind(enum.IntEnum):
    """Kind of socket, for `Command.kind` of SOCKET and OPEN."""

    CONNECTION = 0
    LISTEN = 1


class Control(enum.IntEnum):
    """WSK_CONTROL_SOCKET_TYPE, for `Command.kind` of CONTROL."""

    SET_OPTION = 0
    GET_OPTION = 1
    IOCTL = 2


class Option(enum.IntFlag):
    """Deviations in how a call is made."""

    NONE = 0
    NO_DISPATCH = 0x1
    IRP = 0x2
    WRONG_NPI = 0x4
    BRIEF = 0x8


class Action(enum.IntEnum):
    """What a callback starts before it returns (R16)."""

    NONE = 0
    RECEIVE = 1
    SEND = 2
    DISCONNECT = 3
    CLOSE = 4


class Take(enum.IntEnum):
    """What WskReceiveEvent does with the data indicated (R52 to R54)."""

    ALL = 0
    PART = 1
    REFUSE = 2
    RETAIN = 3


class Event(enum.IntFlag):
    """WSK_EVENT_... bits of an event mask."""

    SEND_BACKLOG = 0x10
    RECEIVE = 0x40
    DISCONNECT = 0x80
    ACCEPT = 0x200


class Flag(enum.IntFlag):
    """WSK_FLAG_... bits; the same bit means different things to different functions."""

    ABORTIVE = 0x1  # WskDisconnectEvent, WskDisconnect
    NODELAY = 0x2  # WskSend
    WAITALL = 0x2  # WskReceive
    DRAIN = 0x4  # WskReceive
    ENTIRE_MESSAGE = 0x4  # WskReceiveEvent
    AT_DISPATCH_LEVEL = 0x8  # every event


_COMMAND = struct.Struct("<I H H 18I 28s 28s 32s")
_RING_REQUEST = struct.Struct("<Q I I")
_RING_REPLY = struct.Struct("<Q Q I I")
_STATE = struct.Struct("<I I Q 8I 32s")


@dataclass(frozen=True, slots=True)
class Command:
    """One command, as WSKLAB_COMMAND. Numbers are unsigned 32 bit; `local` and `remote` come from `sockaddr`."""

    op: Op
    id: int = 0
    conn: int = 0
    target: int = 0
    kind: int = 0
    options: Option = Option.NONE
    flags: int = 0
    mask: int = 0
    length: int = 0
    count: int = 0
    seed: int = 0
    hold_us: int = 0
    action: Action = Action.NONE
    take: Take = Take.ALL
    take_length: int = 0
    cookie: int = 0
    token: int = 0
    code: int = 0
    level: int = 0
    local: bytes = b""
    remote: bytes = b""
    data: bytes = b""

    def pack(self) -> bytes:
        """Return the structure's bytes.

        Raises:
            DriverError: a number or a byte string does not fit.
        """
        if len(self.local) > 28 or len(self.remote) > 28 or len(self.data) > 32:
            raise DriverError(f"Command {self.op.name} has an address or data that is too long.")
        try:
            return _COMMAND.pack(
                _COMMAND.size, VERSION, self.op, self.id, self.conn, self.target, self.kind, self.options,
                self.flags, self.mask, self.length, self.count, self.seed, self.hold_us, self.action, self.take,
                self.take_length, self.cookie, self.token, self.code, self.level,
                self.local, self.remote, self.data,
            )  # fmt: skip
        except struct.error as error:
            raise DriverError(f"Command {self.op.name} has a number that is not 32 bit: {error}.") from error


def sockaddr(host: str, port: int) -> bytes:
    """Return a SOCKADDR_IN or SOCKADDR_IN6 for a numeric address, as Windows lays it out.

    Raises:
        DriverError: `host` is no numeric address, or `port` is out of range.
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError as error:
        raise DriverError(f"{host!r} is not a numeric IPv4 or IPv6 address.") from error
    if not 0 <= port <= 0xFFFF:
        raise DriverError(f"{port} is not a port number.")
    if address.version == 4:
        return struct.pack("<H", 2) + struct.pack(">H", port) + address.packed + bytes(8)
    return struct.pack("<H", 23) + struct.pack(">H", port) + bytes(4) + address.packed + bytes(4)


def pack_commands(commands: Iterable[Command]) -> bytes:
    """Return the input of one COMMAND ioctl.

    Raises:
        DriverError: none, or more than `BATCH` commands, or one that does not fit.
    """
    packed = [command.pack() for command in commands]
    if not 1 <= len(packed) <= BATCH:
        raise DriverError(f"One ioctl carries 1 to {BATCH} commands, not {len(packed)}.")
    return b"".join(packed)


def unpack_statuses(data: bytes) -> list[int]:
    """Return the NTSTATUS of each command, as unsigned numbers.

    Raises:
        DriverError: the answer is not a whole number of statuses.
    """
    if len(data) % 4:
        raise DriverError(f"The driver's answer has {len(data)} bytes, which is no list of statuses.")
    return [status for (status,) in struct.iter_unpack("<I", data)]


def pack_ring_request(first_seq: int, most: int = 0) -> bytes:
    """Return the input of the RING ioctl: lines from `first_seq` on, at most `most` (0 = as many as fit)."""
    return _RING_REQUEST.pack(first_seq, most, 0)


@dataclass(frozen=True, slots=True)
class Ring:
    """A piece of the driver's ring. `lost` lines before `first_seq` are gone; ask for `next_seq` next."""

    first_seq: int
    next_seq: int
    lost: int
    lines: tuple[str, ...]


def unpack_ring(data: bytes) -> Ring:
    """Return the answer of the RING ioctl.

    Raises:
        DriverError: the answer is cut short or contradicts itself.
    """
    if len(data) < _RING_REPLY.size:
        raise DriverError(f"The driver's ring answer has {len(data)} bytes, fewer than its header.")
    first, following, count, lost = _RING_REPLY.unpack_from(data)
    text = data[_RING_REPLY.size :].decode("ascii", "replace")
    lines = tuple(text.split("\n")[:-1])
    if len(lines) != count:
        raise DriverError(f"The driver's ring answer announces {count} lines and carries {len(lines)}.")
    return Ring(first, following, lost, lines)


@dataclass(frozen=True, slots=True)
class State:
    """Counters of the driver, as WSKLAB_STATE."""

    next_seq: int
    sockets: int
    irps: int
    indications: int
    callbacks: int
    connections: int
    allocations: int
    cleaning: bool
    ring: int
    build: str


def unpack_state(data: bytes) -> State:
    """Return the answer of the STATE ioctl.

    Raises:
        DriverError: the answer has the wrong size or version.
    """
    if len(data) != _STATE.size:
        raise DriverError(f"The driver's state has {len(data)} bytes instead of {_STATE.size}.")
    size, version, next_seq, *counters, build = _STATE.unpack(data)
    if size != _STATE.size or version != VERSION:
        raise DriverError(f"The driver speaks protocol {version}, the lab {VERSION}: build the driver again.")
    sockets, irps, indications, callbacks, connections, allocations, cleaning, ring = counters
    return State(
        next_seq, sockets, irps, indications, callbacks, connections, allocations, bool(cleaning), ring,
        build.split(b"\0")[0].decode("ascii", "replace"),
    )  # fmt: skip


STATE_BYTES = _STATE.size
RING_HEAD_BYTES = _RING_REPLY.size

# ---- Lines --------------------------------------------------------------------------------------------------

#: Keys whose values are 8 hex digits; all other numbers are decimal.
HEX_KEYS = frozenset({"flags", "ret", "st", "mask", "cookie", "token", "sum", "magic", "lst", "rst", "base"})

#: Marks a line of the driver anywhere in a line of debug text.
MARK = "WSKLAB1 "

_LINE = re.compile(
    r"WSKLAB1 seq=(?P<seq>[0-9a-f]{8}) t=(?P<t>[0-9a-f]{16}) conn=(?P<conn>[0-9]{1,10}) ev=(?P<ev>[a-z]+)"
    r"(?P<rest>(?: [a-z]+=[!-~]*)*)[ \r\n]*",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class DriverRecord:
    """One line: `seq` from 1 without gaps, `t` in units of 100 ns, the rest by the grammar of protocol.h."""

    seq: int
    t: int
    conn: int
    ev: str
    fields: Mapping[str, str] = field(default_factory=dict)

    def number(self, key: str) -> int | None:
        """Return the value of `key` as a number, hexadecimal for `HEX_KEYS`; None when it is missing or no number."""
        text = self.fields.get(key, "")
        base = 16 if key in HEX_KEYS else 10
        digits = "0123456789abcdef"[:base]
        if not text or len(text) > 20 or any(character not in digits for character in text):
            return None
        return int(text, base)


def parse_line(text: str) -> DriverRecord | None:
    """Return the record in a line of debug text, wherever it begins; None when there is none, or a damaged one."""
    at = text.rfind(MARK)
    match = _LINE.fullmatch(text, at) if at >= 0 else None
    if match is None:
        return None
    pairs = [(key, value) for key, _, value in (pair.partition("=") for pair in match["rest"].split())]
    fields = dict(pairs)
    if len(fields) != len(pairs):
        return None
    return DriverRecord(int(match["seq"], 16), int(match["t"], 16), int(match["conn"]), match["ev"], fields)


#: Marks a line of the stand-in provider: the driver broke a rule of WSK, or asked for what the provider has not.
PROVIDER_MARK = "WSKPROV "

#: In place of a rule's number: Windows has what the driver asked for, the stand-in has not.
UNSUPPORTED = "unsupported"

_PROVIDER_LINE = re.compile(r"WSKPROV rule=(?P<rule>[A-Za-z0-9]{1,16})(?: (?P<text>[ -~]*))?", re.ASCII)


@dataclass(frozen=True, slots=True)
class ProviderRecord:
    """What the stand-in provider found: a rule of docs/reference/wsk.md ("R10") or UNSUPPORTED, and what happened."""

    rule: str
    text: str


def parse_provider_line(text: str) -> ProviderRecord | None:
    """Return the provider's record in a line of debug text, or None."""
    at = text.rfind(PROVIDER_MARK)
    match = _PROVIDER_LINE.fullmatch(text.rstrip(" \r\n"), at) if at >= 0 else None
    return ProviderRecord(match["rule"], match["text"] or "") if match else None


#: Marks a stop of the stand-in's strict mode; drivers/strict/stop.c.
STOP_MARK = "WSKSTOP "

_WORD = r"[0-9a-f]{1,16}"
_STOP_LINE = re.compile(
    rf"WSKSTOP code=(?P<code>[0-9a-f]{{8}}) p=(?P<p>{_WORD}(?:,{_WORD}){{3}}) irql=(?P<irql>[0-9]{{1,2}}) "
    r"call=(?P<call>[\w ]{1,64}?) at=(?P<at>[\w.+-]{0,64}) stack=(?P<stack>[\w.+,-]{0,900}) why=(?P<why>[ -~]*)",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Stop:
    """What Windows would have stopped for: a bugcheck, the routine, who called it (module+0xoffset), and why."""

    code: int
    parameters: tuple[int, int, int, int]
    irql: int
    routine: str
    at: str
    stack: tuple[str, ...]
    why: str


def parse_stop_line(text: str) -> Stop | None:
    """Return the stop in a line of debug text, or None."""
    at = text.rfind(STOP_MARK)
    match = _STOP_LINE.fullmatch(text.rstrip(" \r\n"), at) if at >= 0 else None
    if match is None:
        return None
    first, second, third, fourth = (int(word, 16) for word in match["p"].split(","))
    stack = tuple(place for place in match["stack"].split(",") if place)
    parameters = (first, second, third, fourth)
    return Stop(int(match["code"], 16), parameters, int(match["irql"]), match["call"], match["at"], stack, match["why"])


FNV1A_START = 0x811C9DC5
"""The sum of no bytes."""


def fnv1a(data: bytes, value: int = FNV1A_START) -> int:
    """FNV-1a, 32 bit: what `sum=` is of the bytes received; `value` is the sum of the bytes before them."""
    for byte in data:
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return value


def pattern(seed: int, length: int) -> bytes:
    """Return what SEND with this `seed` puts on the wire."""
    return bytes((seed + i) & 0xFF for i in range(length))
