"""A scenario in which the wire plays the captured peer's TCP, segment by segment. Pure.

The driver's side does what it does in the scenario with a peer program; all that the peer and the wire did is in the
segments: what was lost is not among them, what was forged is, with its number.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.field.endings.connections import Connection
from wsklab.orchestrator.field.endings.story import MS, SECOND
from wsklab.orchestrator.field.packets.segments import KEPT, REVERSED, WRONG_SUM, Segment
from wsklab.orchestrator.field.scenarios.course import LONGEST_PAUSE, PAUSE
from wsklab.orchestrator.field.scenarios.plan import Plan
from wsklab.qemu.wire.exact import parts
from wsklab.qemu.wire.frames import ACK, FIN, PSH, RST, SYN, URG

MOST = 5000
LARGEST = 1400
"""Bytes of a segment; larger ones are the work of a network card, which the wire cannot do."""

_LETTERS = (("S", SYN), ("F", FIN), ("R", RST), ("P", PSH), ("A", ACK), ("U", URG))
_SACK = 5
_SHIFT = 1 << 31


@dataclass(frozen=True)
class Played:
    """A segment as it stands in the scenario, and the frame from which it is."""

    frame: int
    flags: str
    seq: int
    ack: int
    window: int
    length: int
    options: str
    sent: int
    heard: int
    resets: int
    gap: float

    def __str__(self) -> str:
        words = [f"flags: {self.flags}", f"seq: {self.seq}"]
        for name in ("ack", "window", "length", "sent", "heard", "resets", "gap"):
            if value := getattr(self, name):
                words.append(f"{name}: {value}")
        if self.options:
            words.append(f'options: "{self.options}"')
        return f"{{{', '.join(words)}}}"


def refusal(one: Connection) -> str | None:
    """Why the wire cannot play the peer of a connection; None when it can."""
    if not all(one.story.opened[:2]):
        return "its handshake is not in the capture"
    if one.story.opener != one.driver:
        return "the peer opened it"
    return None


def segments(one: Connection, headers: Mapping[int, bytes], real_time: bool = False) -> list[Played]:
    """Return what the peer is to send. `headers`: TCP header by frame. Raises UsageError."""
    why = refusal(one)
    if why is None:
        played = list(_walk(one, headers, real_time))
        if len(played) <= MOST:
            return played
        why = f"the peer sent more than {MOST} segments"
    raise UsageError(
        f"connection {one.number} cannot be played exactly: {why}; --peer program makes it with a program."
    )


def _walk(one: Connection, headers: Mapping[int, bytes], real_time: bool) -> Iterator[Played]:
    isns: dict[bool, int] = {}
    sent = heard = resets = 0
    last: Segment | None = None
    before = one.story.begin
    for segment in one.segments():
        driver = segment.marks & REVERSED == one.driver
        if segment.flags & SYN:
            isns.setdefault(driver, segment.seq)
        if driver:
            if True in isns:
                resets += bool(segment.flags & RST)
                sent = max(sent, _position(segment.end, isns[True]))
                if segment.flags & ACK and False in isns:
                    heard = max(heard, _position(segment.ack, isns[False]))
            before = segment.time
            continue
        twice = last is not None and _twice(last, segment)
        last = segment
        if segment.marks & (KEPT | WRONG_SUM) or twice or False not in isns or True not in isns:
            continue
        gap = segment.time - before
        before = segment.time
        matters = gap >= (PAUSE // 4 if real_time else PAUSE)
        pause = round(min(gap / SECOND, 600 if real_time else LONGEST_PAUSE), 3) if matters else 0.0
        ack = max(0, _position(segment.ack, isns[True])) if segment.flags & ACK else 0
        header = headers.get(segment.frame, b"")
        options = _options(header[20 : (header[12] >> 4) * 4] if len(header) > 20 else b"", isns[True])
        yield from _pieces(
            segment, _position(segment.seq, isns[False]), ack, options, (max(sent, 0), heard, resets), pause
        )


def _pieces(
    segment: Segment, seq: int, ack: int, options: str, then: tuple[int, int, int], gap: float
) -> Iterator[Played]:
    """Yield a segment of the card's making as those that were on the wire."""
    at = 0
    while True:
        length = min(LARGEST, segment.length - at)
        flags = segment.flags if at + length >= segment.length else segment.flags & ~(FIN | PSH)
        letters = "".join(letter for letter, bit in _LETTERS if flags & bit)
        sent, heard, resets = then
        yield Played(segment.frame, letters, seq + at, ack, segment.window, length, options, sent, heard, resets, gap)
        at, gap = at + length, 0.0
        if at >= segment.length:
            return


def _twice(last: Segment, segment: Segment) -> bool:
    """Whether one frame was captured twice."""
    same = (last.seq, last.ack, last.flags, last.length, last.ident) == (
        segment.seq,
        segment.ack,
        segment.flags,
        segment.length,
        segment.ident,
    )
    return same and segment.ident != 0 and segment.time - last.time < MS


def _position(seq: int, isn: int) -> int:
    return (seq - isn + _SHIFT) % (1 << 32) - _SHIFT


def _options(options: bytes, isn: int) -> str:
    """Return the options with the edges of SACK blocks as positions."""
    made = b""
    for kind, value in parts(options):
        if kind == _SACK:
            edges = (int.from_bytes(value[at : at + 4], "big") for at in range(0, len(value) // 8 * 8, 4))
            value = b"".join(((edge - isn) & 0xFFFFFFFF).to_bytes(4, "big") for edge in edges)
        made += bytes([kind, len(value) + 2]) + value
    return (made if len(made) <= 36 else b"").hex()


def step(played: list[Played]) -> list[str]:
    """Return the lines of the step that plays them."""
    lines = [str(one) for one in played]
    width = min(max(map(len, lines)), 100)
    return [
        "  - wire:",
        "      play:",
        "        segments:",
        *(f"          - {line:{width}}  # frame {one.frame}" for line, one in zip(lines, played, strict=True)),
    ]


def without_peer(plan: Plan) -> None:
    """Leave what the peer and the wire do out of a plan: the wire plays all of it."""
    kept = [(step, why) for step, why in plan.steps if not step.startswith(("peer:", "wire:"))]
    plan.steps = [(step.replace("{connect: peer}", "{connect: {to: peer, accept: false}}"), why) for step, why in kept]
