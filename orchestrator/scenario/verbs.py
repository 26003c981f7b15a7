"""The words of a scenario's verbs: what goes with `send`, `close`, `forge` and the rest, and what may stand there.

`docs/scenarios.md` shows each with an example.
"""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from wsklab.orchestrator.scenario.model import Strict

Event = Literal["disconnect", "receive", "accept"]
Flag = Literal["waitall", "drain"]
Side = Literal["peer", "driver"]
Segment = Literal["fin", "rst", "syn", "data", "ack"]
Seconds = Annotated[float, Field(ge=0, le=600)]
Length = Annotated[int, Field(ge=0, le=16 * 1024 * 1024)]
Count = Annotated[int, Field(ge=1, le=2000)]


def _outcome(text: str) -> str:
    if not re.fullmatch("success|failure|pending|any|[0-9a-f]{8}", text):
        raise ValueError("should be success, failure, pending, any, or an NTSTATUS of eight hex digits (c000020d)")
    return text


Reported = Literal[
    "disconnect",
    "indication",
    "accept",
    "accepted",
    "callback-end",
    "connect",
    "receive",
    "send",
    "close",
    "local-disconnect",
]
"""What the driver reports, as scenarios call it; `facts.LINES` says which lines tell of it."""

Outcome = Annotated[str, AfterValidator(_outcome)]


ConnectionNumber = Annotated[int, Field(ge=0, lt=2000)]


class Nothing(Strict):
    """A verb without arguments."""


# --- driver -------------------------------------------------------------------------------------------------------


class MakeSocket(Strict):
    """WskSocket and WskBind."""

    port_of: ConnectionNumber | None = Field(None, alias="port-of")  # bind to that connection's local port


class AtOnce(Strict):
    """What the driver starts by itself as soon as the connection is made, in its worker and not in a later command."""

    enable: list[Event] = []
    receive: Annotated[int, Field(ge=0, le=2000)] = 0  # WskReceive, so many outstanding


class Connect(AtOnce):
    """WskSocket, WskBind, WskConnect (or WskSocketConnect, as `socket.create` says)."""

    shorthand: ClassVar[str | None] = "to"
    to: Literal["peer", "closed-port", "nowhere", "no-family"] = "peer"  # no-family: WskSocket fails (BF17)
    accept: bool = True  # false leaves the connection in the listener's accept queue (C24)
    port_of: ConnectionNumber | None = Field(None, alias="port-of")  # bind to that connection's local port (C27)
    wait: bool = True


class Listen(Strict):
    """A listening socket; `accept` says how connections are taken from it (WskAcceptEvent or WskAccept)."""

    reject_every: int = Field(0, ge=0, alias="reject-every")  # STATUS_REQUEST_NOT_ACCEPTED for each nth (R40)


class Accept(AtOnce):
    """WskAccept: take the next connection from the listener."""

    wait: bool = True


class Events(Strict):
    """SO_WSK_EVENT_CALLBACK; `irp` gives one where the documentation asks for none, or the reverse (R24, R31)."""

    shorthand: ClassVar[str | None] = "events"
    events: Annotated[list[Event], Field(min_length=1)]
    irp: bool | None = None
    guid: Literal["right", "wrong"] = "right"  # R34


class Receive(Strict):
    """WskReceive, `count` of them outstanding; completions are awaited by a later step."""

    shorthand: ClassVar[str | None] = "count"
    count: Count = 1
    length: Length = 2048
    flags: list[Flag] = []


class Send(Strict):
    """WskSend of `length` bytes of the known pattern."""

    shorthand: ClassVar[str | None] = "length"
    length: Length
    count: Count = 1
    wait: bool = True


class Disconnect(Strict):
    """WskDisconnect; graceful sends `length` bytes and then FIN, abortive sends RST."""

    shorthand: ClassVar[str | None] = "how"
    how: Literal["graceful", "abortive"] = "graceful"
    length: Length = 0
    wait: bool = True


class Close(Strict):
    """WskCloseSocket."""

    wait: bool = True


class Cancel(Strict):
    """IoCancelIrp on every outstanding IRP of one kind."""

    shorthand: ClassVar[str | None] = "what"
    what: Literal["receive", "send", "connect", "disconnect", "accept"]


class OnDisconnect(Strict):
    """What the driver does inside WskDisconnectEvent (R16, R30)."""

    hold_us: int = Field(0, ge=0, le=1_000_000, alias="hold-us")
    then: Literal["send", "receive", "disconnect", "abort", "close"] | None = None


class OnReceive(Strict):
    """What the driver answers in WskReceiveEvent (R51-R54); `part` accepts that many bytes of each indication."""

    shorthand: ClassVar[str | None] = "answer"
    answer: Literal["accept", "refuse", "retain", "part"] = "accept"
    part: Length = 0
    hold_us: int = Field(0, ge=0, le=1_000_000, alias="hold-us")


class Callback(Strict):
    """The program of a connection's callbacks."""

    disconnect: OnDisconnect | None = None
    receive: OnReceive | None = None


class Keepalive(Strict):
    """SO_KEEPALIVE and its timers through WskControlSocket."""

    idle: int = Field(1, ge=1, le=7200)
    interval: int = Field(1, ge=1, le=600)
    count: int = Field(2, ge=1, le=20)
    read_back: bool = Field(False, alias="read-back")  # ask for each afterwards, and compare


class MaxRetransmit(Strict):
    """TCP_MAXRT: how long unacknowledged data is sent again."""

    shorthand: ClassVar[str | None] = "seconds"
    seconds: int = Field(ge=1, le=600)
    read_back: bool = Field(False, alias="read-back")


class DriverAwait(Strict):
    """Wait until the driver has reported `what`, `count` times since the last such wait."""

    shorthand: ClassVar[str | None] = "what"
    what: Reported
    count: Count = 1


# --- peer ---------------------------------------------------------------------------------------------------------


class PeerSend(Strict):
    """Send `length` bytes of the known pattern; `cork` keeps them back until the close (C08)."""

    shorthand: ClassVar[str | None] = "length"
    length: Length
    cork: bool = False
    wait: bool = True


class Fill(Strict):
    """Send until nothing more fits: the driver's window and the peer's own buffer are full (C47)."""


class PeerReceive(Strict):
    """Read exactly `length` bytes, all there is until the end of the stream, or what the driver sends unasked."""

    shorthand: ClassVar[str | None] = "length"
    length: Length | Literal["all", "greeting"] = "all"


class PeerClose(Strict):
    """close(2); `linger` sets SO_LINGER before it: 0 makes the close abortive (C05)."""

    linger: int | None = Field(None, ge=0, le=60)


class CloseAll(Strict):
    """Close every connection of the scenario, in an order drawn from the run's seed.

    `mixed`: half of them, drawn too, with SO_LINGER 0. What was drawn is expected by the word `drawn`.
    """

    shorthand: ClassVar[str | None] = "how"
    how: Literal["close", "reset", "mixed"] = "close"


class Shutdown(Strict):
    """shutdown(2)."""

    shorthand: ClassVar[str | None] = "how"
    how: Literal["read", "write", "both"]


class PeerOption(Strict):
    """Socket options of the peer's connection."""

    linger: int | None = Field(None, ge=0, le=60)
    keepalive: Keepalive | None = None
    user_timeout_ms: int | None = Field(None, ge=0, le=600_000, alias="user-timeout-ms")
    receive_buffer: int | None = Field(None, ge=0, alias="receive-buffer")
    send_buffer: int | None = Field(None, ge=0, alias="send-buffer")


class PeerAwait(Strict):
    """Wait for something the peer's kernel reports on its socket."""

    shorthand: ClassVar[str | None] = "what"
    what: Literal["eof", "reset", "readable"]


class Sysctl(Strict):
    """A network setting of the peer's kernel, put back after the scenario."""

    name: Annotated[str, Field(pattern=r"^net\.[a-z0-9_.]+$")]
    value: int


class PeerConnect(Strict):
    """The peer connects to the driver's listener; with `conn: all` as often as there are connections."""


# --- wire ---------------------------------------------------------------------------------------------------------


class Match(Strict):
    """Frames of the scenario's connection: sent by `sender`, carrying `segment`, from the nth on, `count` of them."""

    sender: Side | None = Field(None, alias="from")
    segment: Segment | None = None
    nth: Count = 1
    count: Count | Literal["every"] = 1


class Hold(Match):
    """Keep matching frames back for `seconds`, or until `release`."""

    seconds: Seconds | None = None


class Forge(Strict):
    """A TCP segment invented in the name of `sender`, placed relative to what the receiver expects next."""

    shorthand: ClassVar[str | None] = "segment"
    segment: Literal["rst", "rst-ack", "fin", "syn"]
    sender: Side = Field("peer", alias="from")
    offset: int = Field(0, ge=-(2**31), lt=2**31)  # added to the exact sequence number (C58-C61)


class Blackhole(Strict):
    """Swallow every frame sent by one side or by both, until `heal`."""

    shorthand: ClassVar[str | None] = "sender"
    sender: Side | Literal["both"] = Field("both", alias="from")


class Cable(Strict):
    """Pull the cable at one machine (its NIC sees the carrier go), or plug it in again."""

    at: Literal["peer", "target"] = "target"
    state: Literal["out", "in"]


class Icmp(Strict):
    """ICMP destination unreachable towards one side, quoting its own last segment."""

    code: Literal["port", "host", "network", "admin"] = "host"
    to: Side = "driver"
    answer: Segment | None = None  # in place of this side's next such segment, instead of at once (C23)


class Firewall(Strict):
    """A firewall in the middle that answers the connection's next segment with tcp-reset (C41)."""

    to: Side | Literal["both"] = "driver"


class WireAwait(Strict):
    """Wait until a frame has passed."""

    sender: Side | None = Field(None, alias="from")
    segment: Segment


# --- lab ----------------------------------------------------------------------------------------------------------


class Wait(Strict):
    """Let time pass: only where the story itself is about time (a retransmission limit, a keepalive)."""

    shorthand: ClassVar[str | None] = "seconds"
    seconds: Seconds


class MachineStep(Strict):
    """Which machine: only the peer goes on purpose; a target that goes is a verdict."""

    shorthand: ClassVar[str | None] = "machine"
    machine: Literal["peer"] = "peer"


class Address(Strict):
    """A machine's address on the wire goes, or comes back (C38, C39)."""

    machine: Literal["peer", "target"] = "target"
    state: Literal["gone", "back"]
