"""What the wire knows of each TCP connection, and segments forged from it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from wsklab.qemu.wire.frames import (
    ACK,
    FIN,
    OTHER_SIDE,
    PSH,
    RST,
    SIDES,
    SYN,
    UNREACHABLE,
    Endpoint,
    Frame,
    tcp_frame,
    tcp_options,
    unreachable_frame,
)

MAX_FLOWS = 4096
SEGMENTS = {
    "rst": RST,
    "rst-ack": RST | ACK,
    "fin": FIN | ACK,
    "syn": SYN,
    "syn-ack": SYN | ACK,
    "ack": ACK,
    "data": PSH | ACK,
}
WHERE = ("exact", "in-window", "outside")


class WrongSpec(ValueError):
    """A fault, match or forgery that cannot be; the text says why."""


@dataclass(slots=True)
class End:
    """One side of a connection, from the segments of its own that were delivered."""

    endpoint: Endpoint
    next_seq: int = 0  # what the other side expects next
    window: int = 0  # bytes that it offered to receive, scaled
    scale: int = 0
    last: bytes = b""  # its newest frame


@dataclass(slots=True)
class Flow:
    """What the wire has seen of one connection, by end."""

    target: End
    peer: End

    def end(self, side: str) -> End:
        """Return the end of a side."""
        return self.target if side == "target" else self.peer


Key = tuple[str, int, str, int]  # address and port of the target, then of the peer


def key(frame: Frame, sender: str) -> Key:
    """Return which connection a frame is of."""
    if sender == "target":
        return frame.src, frame.src_port, frame.dst, frame.dst_port
    return frame.dst, frame.dst_port, frame.src, frame.src_port


class Flows:
    """All connections, newest last."""

    def __init__(self) -> None:
        self._flows: dict[Key, Flow] = {}

    def learn(self, frame: Frame, sender: str) -> None:
        """Take note of a TCP segment that goes to the other side now."""
        name = key(frame, sender)
        flow = self._flows.get(name)
        if flow is None or (frame.flags & (SYN | ACK)) == SYN:
            flow = self._begin(name, frame, sender)
        end, other = flow.end(sender), flow.end(OTHER_SIDE[sender])
        if frame.flags & SYN:
            end.scale = _window_scale(frame)
        if not frame.flags & RST:
            end.window = frame.window << (0 if frame.flags & SYN else end.scale)
            if not end.last or (_ahead(frame.end_seq, end.next_seq) and not _ahead(frame.seq, end.next_seq)):
                end.next_seq = frame.end_seq
        if frame.flags & ACK and (not other.last or _ahead(frame.ack, other.next_seq)):
            other.next_seq = frame.ack  # segments behind a hole count once the hole is filled: the receiver says so
        end.last = frame.data

    def of(self, frame: Frame, sender: str) -> Flow | None:
        """Return the connection of a frame, if it is known."""
        return self._flows.get(key(frame, sender))

    def newest(self, port: int, other: int = 0) -> Flow | None:
        """Return the youngest connection with this port at one end, and `other` at the other, unless that is 0."""
        for (_, target_port, _, peer_port), flow in reversed(self._flows.items()):
            ports = (target_port, peer_port)
            if port in ports and (not other or (port, other) in (ports, ports[::-1])):
                return flow
        return None

    def _begin(self, name: Key, frame: Frame, sender: str) -> Flow:
        src = Endpoint(frame.data[6:12], frame.src, frame.src_port)
        dst = Endpoint(frame.data[:6], frame.dst, frame.dst_port)
        ends = (src, dst) if sender == "target" else (dst, src)
        flow = Flow(*(End(endpoint) for endpoint in ends))
        self._flows.pop(name, None)
        self._flows[name] = flow
        if len(self._flows) > MAX_FLOWS:
            del self._flows[next(iter(self._flows))]
        return flow


def _ahead(seq: int, of: int) -> bool:
    """Whether a sequence number is later than another (RFC 9293 section 3.4)."""
    return 0 < (seq - of) & 0xFFFFFFFF < 1 << 31


def _window_scale(frame: Frame) -> int:
    """Return the window scale option of a SYN (RFC 7323 section 2.2)."""
    options = tcp_options(frame.data)
    at = 0
    while at + 2 < len(options) and options[at]:
        if options[at] == 3:
            return min(14, options[at + 2])
        at += 1 if options[at] == 1 else max(2, options[at + 1])
    return 0


@dataclass(frozen=True, slots=True)
class Forgery:
    """A segment that neither machine sent. `as_side` is the machine that it claims to come from.

    `where` places its sequence number in the receiver's window (RFC 5961 section 3.2 tells the three cases apart):
    exactly what is expected next, inside the window, or behind its end; `offset` is added.
    """

    segment: str
    as_side: str
    where: str = "exact"
    offset: int = 0
    data: bytes = b""

    @classmethod
    def parse(cls, spec: Mapping[str, object]) -> "Forgery":
        """From `{segment, as, seq, offset, data: hex}`. Raises WrongSpec."""
        refuse_unknown(spec, {"segment", "as", "seq", "offset", "data"}, "forgery")
        segment, side, where = spec.get("segment"), spec.get("as"), spec.get("seq", "exact")
        if segment not in SEGMENTS and segment not in UNREACHABLE:
            raise WrongSpec(f"segment {segment!r} is none of {', '.join([*SEGMENTS, *UNREACHABLE])}")
        if side not in SIDES:
            raise WrongSpec(f"`as` must be target or peer, not {side!r}")
        if where not in WHERE:
            raise WrongSpec(f"seq {where!r} is none of {', '.join(WHERE)}")
        try:
            data = bytes.fromhex(str(spec.get("data", "")))
        except ValueError as error:
            raise WrongSpec(f"data must be hex digits: {error}") from None
        return cls(str(segment), str(side), str(where), whole(spec, "offset", 0, least=-(1 << 31)), data)

    def build(self, flow: Flow) -> tuple[str, bytes]:
        """(side that receives it, frame)."""
        me, to = flow.end(self.as_side), flow.end(OTHER_SIDE[self.as_side])
        if self.segment in UNREACHABLE:
            original = to.last or tcp_frame(to.endpoint, me.endpoint, to.next_seq, me.next_seq, ACK, 0)
            return OTHER_SIDE[self.as_side], unreachable_frame(me.endpoint.mac, to.endpoint.mac, original, self.segment)
        skip = {"exact": 0, "in-window": max(1, to.window // 2), "outside": to.window + 1}[self.where]
        flags = SEGMENTS[self.segment]
        seq = me.next_seq + skip + self.offset
        ack = to.next_seq if flags & ACK else 0
        return OTHER_SIDE[self.as_side], tcp_frame(me.endpoint, to.endpoint, seq, ack, flags, 0xFFFF, self.data)


def refuse_unknown(spec: Mapping[str, object], known: set[str], what: str) -> None:
    """Raise WrongSpec for a key that is not known: a typing error must not be a fault that never strikes."""
    if unknown := sorted(set(spec) - known):
        raise WrongSpec(f"a {what} knows no {unknown[0]!r}; it knows {', '.join(sorted(known))}")


def whole(spec: Mapping[str, object], name: str, default: int, least: int = 0) -> int:
    """Return an integer of the spec."""
    value = spec.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise WrongSpec(f"{name} must be a whole number of at least {least}, not {value!r}")
    return value
