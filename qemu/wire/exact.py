"""The wire plays a peer's TCP, segment by segment, on a live connection: a state machine without sockets and clock.

Each segment has its place in the story: it leaves when the target has sent, and acknowledged, what it had then.
Positions count from either side's SYN (0). What the target sends again is acknowledged again, as any stack would.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from wsklab.qemu.wire.flows import WrongSpec, refuse_unknown, whole
from wsklab.qemu.wire.frames import ACK, FIN, PSH, RST, SYN, URG, Endpoint, Frame, tcp_frame, tcp_options

LETTERS = {"S": SYN, "F": FIN, "R": RST, "P": PSH, "A": ACK, "U": URG}
PATIENCE = 250_000_000  # ns for an acknowledgement that the live stack delays or puts together with another
MOST = 5000  # segments

_END, _NOP, _SCALE, _SACK, _STAMPS = 0, 1, 3, 5, 8


@dataclass(frozen=True, slots=True)
class Played:
    """A segment of the peer, and what must have come of the target before it leaves."""

    flags: int
    seq: int
    ack: int
    window: int
    length: int
    options: bytes
    sent: int  # position that the target has sent up to
    heard: int  # position of the peer's that it has acknowledged
    resets: int  # RSTs that it has sent
    gap: int  # ns to wait then

    @classmethod
    def parse(cls, spec: Mapping[str, object]) -> "Played":
        """Raise WrongSpec."""
        numbers = ("ack", "window", "length", "sent", "heard", "resets", "gap_ns")
        refuse_unknown(spec, {"flags", "seq", "options", *numbers}, "segment")
        letters, seq = spec.get("flags"), spec.get("seq")
        if not isinstance(letters, str) or not letters or not set(letters) <= set(LETTERS):
            raise WrongSpec(f"flags must be letters of {''.join(LETTERS)}, not {letters!r}")
        if not isinstance(seq, int):
            raise WrongSpec(f"seq must be a number, not {seq!r}")
        try:
            options = bytes.fromhex(str(spec.get("options", "")))
        except ValueError:
            raise WrongSpec("options must be hexadecimal") from None
        ack, window, length, sent, heard, resets, gap = (whole(spec, name, 0) for name in numbers)
        if len(options) > 40 or window > 0xFFFF or length > 1460:
            raise WrongSpec("a segment has at most 40 bytes of options, a window of 65535, and 1460 bytes")
        flags = sum({LETTERS[letter] for letter in letters})
        return cls(flags, seq, ack, window, length, options, sent, heard, resets, gap)


@dataclass(slots=True)
class Live:
    """The connection on which it is played."""

    target: Endpoint
    peer: Endpoint
    target_isn: int
    peer_isn: int
    stamps: bool
    scale: bool
    stamp: int = 0  # the target's newest
    sent: int = 0
    heard: int = 0
    resets: int = 0
    acked: int = 0  # what was acknowledged in the peer's name
    at: int = 0  # the peer's next position
    window: int = 0
    over: bool = False  # the peer has sent an RST


class Exact:
    """Plays to the first connection that the target makes to a port of the peer."""

    def __init__(self, spec: Mapping[str, object]) -> None:
        refuse_unknown(spec, {"port", "segments", "fill"}, "play")
        segments = spec.get("segments")
        if not isinstance(segments, list) or not 0 < len(segments) <= MOST:
            raise WrongSpec(f"segments must be a list of at most {MOST}")
        self.port = whole(spec, "port", 0, least=1)
        self.fill = bytes.fromhex(str(spec.get("fill", ""))) or b"\0"
        self.segments = [Played.parse(one) for one in segments]
        self.place = 0
        self.live: Live | None = None
        self._ready: int | None = None  # since when all but the delayed is there
        self.due: int | None = None

    def takes(self, frame: Frame) -> bool:
        """Whether a frame is of the connection: then nobody else gets it."""
        if frame.kind != "tcp" or frame.port_at("peer") != self.port:
            return False
        return self.live is None or frame.port_at("target") == self.live.target.port

    def receive(self, now: int, frame: Frame) -> list[bytes]:
        """Take a segment of the target; returns the frames that go to it now."""
        if frame.sender != "target":
            return []  # the peer's own stack knows nothing of this connection
        if self.live is None:
            if frame.flags & (SYN | ACK | RST) != SYN:
                return []
            self.live = _opened(frame)
        live = self.live
        live.resets += bool(frame.flags & RST)
        end = _position(frame.end_seq, live.target_isn)
        live.sent = max(live.sent, end)
        if frame.flags & ACK:
            live.heard = max(live.heard, _position(frame.ack, live.peer_isn))
        live.stamp = _stamp(tcp_options(frame.data)) or live.stamp
        out = self.on_time(now)
        asks = frame.payload or frame.flags & (SYN | FIN) or _position(frame.seq, live.target_isn) < live.acked
        if not out and asks and 0 < end <= live.acked and not frame.flags & RST and not live.over:
            out = [self._frame(live, ACK, live.at, live.acked, live.window, b"", b"")]
        return out

    def on_time(self, now: int) -> list[bytes]:
        """Return the frames whose turn has come."""
        out: list[bytes] = []
        self.due = None
        while self.live is not None and self.place < len(self.segments):
            one = self.segments[self.place]
            if self.live.sent < one.sent or self.live.resets < one.resets:
                self._ready = None
                break
            self._ready = now if self._ready is None else self._ready
            wait = one.gap if self.live.heard >= one.heard else max(one.gap, PATIENCE)
            if now < self._ready + wait:
                self.due = self._ready + wait
                break
            out.append(self._play(self.live, one))
            self.place, self._ready = self.place + 1, None
        return out

    def _play(self, live: Live, one: Played) -> bytes:
        ack = min(one.ack, live.sent)  # never of what was not sent: RFC 5961 section 5.2
        end = one.seq + one.length + bool(one.flags & SYN) + bool(one.flags & FIN)
        live.at, live.over = max(live.at, end), live.over or bool(one.flags & RST)
        if one.flags & ACK:
            live.acked, live.window = max(live.acked, ack), one.window
        start = (one.seq - 1) % len(self.fill)
        payload = (self.fill * (2 + one.length // len(self.fill)))[start : start + one.length]
        options = _rebuilt(one.options, live)
        return self._frame(live, one.flags, one.seq, ack if one.flags & ACK else None, one.window, payload, options)

    def _frame(
        self, live: Live, flags: int, seq: int, ack: int | None, window: int, payload: bytes, options: bytes
    ) -> bytes:
        if flags & ACK and not flags & (SYN | RST) and live.stamps and not options:
            options = bytes([_NOP, _NOP, _STAMPS, 10]) + (1).to_bytes(4, "big") + live.stamp.to_bytes(4, "big")
        acked = 0 if ack is None else live.target_isn + ack
        return tcp_frame(live.peer, live.target, live.peer_isn + seq, acked, flags, window, payload, options)


def _opened(frame: Frame) -> Live:
    options = tcp_options(frame.data)
    return Live(
        target=Endpoint(frame.data[6:12], frame.src, frame.src_port),
        peer=Endpoint(frame.data[:6], frame.dst, frame.dst_port),
        target_isn=frame.seq,
        peer_isn=(frame.seq ^ 0x5A5A5A5A) & 0xFFFFFFFF,
        stamps=any(kind == _STAMPS for kind, _ in parts(options)),
        scale=any(kind == _SCALE for kind, _ in parts(options)),
    )


def _position(seq: int, isn: int) -> int:
    """Positions are small: what seems to lie before the SYN is an old segment, or a probe."""
    position = (seq - isn) & 0xFFFFFFFF
    return position if position < 1 << 31 else position - (1 << 32)


def parts(options: bytes) -> list[tuple[int, bytes]]:
    """Return the options of a TCP header, as kind and value; what is cut or malformed ends them."""
    found: list[tuple[int, bytes]] = []
    at = 0
    while at < len(options) and options[at] != _END:
        if options[at] == _NOP:
            at += 1
            continue
        size = options[at + 1] if at + 1 < len(options) else 0
        if size < 2 or at + size > len(options):
            break
        found.append((options[at], options[at + 2 : at + size]))
        at += size
    return found


def _stamp(options: bytes) -> int:
    return next((int.from_bytes(v[:4], "big") for kind, v in parts(options) if kind == _STAMPS and len(v) == 8), 0)


def _rebuilt(options: bytes, live: Live) -> bytes:
    """Return the captured options with the live connection's numbers; what the target has not offered is left out.

    The edges of SACK blocks are positions here.
    """
    made = b""
    for kind, value in parts(options):
        if (kind == _STAMPS and not live.stamps) or (kind == _SCALE and not live.scale):
            continue
        if kind == _STAMPS and len(value) == 8:
            value = value[:4] + live.stamp.to_bytes(4, "big")
        elif kind == _SACK and len(value) % 8 == 0:
            edges = [int.from_bytes(value[at : at + 4], "big") for at in range(0, len(value), 4)]
            blocks = [e for a, b in zip(edges[::2], edges[1::2], strict=True) if b <= live.sent for e in (a, b)]
            value = b"".join(((live.target_isn + edge) & 0xFFFFFFFF).to_bytes(4, "big") for edge in blocks)
            if not value:
                continue
        made += bytes([kind, len(value) + 2]) + value
    return made + bytes([_NOP]) * (-len(made) % 4)
