"""A session and a simulated target on the two ends of a socket pair, in virtual time, with seeded faults between."""

from __future__ import annotations

import random
import re
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from support.kd_target import Run, Target

from wsklab.qemu.kd.events import Event, TextLine
from wsklab.qemu.kd.session import Session, Step


def vectors() -> dict[str, bytes]:
    """V1 to V18 of docs/reference/kd.md, section 6; kept here in a file of their own."""
    found = {}
    for entry in Path(__file__).with_name("kd_vectors.txt").read_text(encoding="ascii").split("\n\n"):
        name, _, dump = entry.strip().partition("\n")
        found[name.split()[0]] = bytes.fromhex(re.sub(r"(?m)^[0-9a-f]{4}:", "", dump))
    return found


@dataclass
class Faults:
    """What happens to the bytes of one direction; each rate is per byte.

    `damage`: a bit flips, or the byte becomes any other. Damage that nobody can see is drawn anew, and counted in
    `unseen`: payload damage that agrees with the checksum (a plain sum), and, unless `mixups`, an ACK, RESEND or RESET
    that became another of the three (control packets have no checksum).
    """

    seed: int
    damage: float = 0.0
    loss: float = 0.0
    double: float = 0.0
    insert: float = 0.0
    mixups: bool = False
    count: int = 0
    unseen: int = 0

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    def carry(self, data: bytes) -> bytes:
        return b"".join(self._packet(packet) for packet in _packets(data))

    def _packet(self, packet: bytes) -> bytes:
        damaged = self._damage(packet) if self.damage else packet
        while self._unseen(packet, damaged):
            self.unseen += 1
            damaged = self._damage(packet)
        self.count += sum(one != other for one, other in zip(packet, damaged, strict=True))
        if not (self.loss or self.double or self.insert):
            return damaged
        out = bytearray()
        for byte in damaged:
            draw = self.random.random()
            if draw < self.loss:
                self.count += 1
                continue
            out.append(byte)
            if draw > 1 - self.double:
                self.count += 1
                out.append(byte)
            elif draw > 1 - self.double - self.insert:
                self.count += 1
                out += self.random.randbytes(self.random.randint(1, 8))
        return bytes(out)

    def _unseen(self, packet: bytes, damaged: bytes) -> bool:
        if packet[:4] == b"iiii":
            return not self.mixups and damaged[4] != packet[4] and damaged[4] in (4, 5, 6)
        return damaged[16:-1] != packet[16:-1] and sum(damaged[16:-1]) == int.from_bytes(damaged[12:16], "little")

    def _damage(self, packet: bytes) -> bytes:
        damaged = bytearray(packet)
        for at in range(len(damaged)):
            if self.random.random() < self.damage:
                flip = 1 << self.random.randrange(8) if self.random.random() < 0.5 else self.random.randrange(1, 256)
                damaged[at] ^= flip
        return bytes(damaged)


def _packets(data: bytes) -> Iterable[bytes]:
    """Yield what was written at once, packet by packet."""
    while data:
        size = 1
        if data[:4] == b"0000" and len(data) > 16:
            size = 17 + struct.unpack_from("<H", data, 6)[0]
        elif data[:4] == b"iiii":
            size = 16
        yield data[:size]
        data = data[size:]


@dataclass
class Rig:
    """`play` runs what the target does against the session. Nobody sleeps: time jumps to what is due next."""

    seed: int = 0
    damage: float = 0.0
    loss: float = 0.0
    double: float = 0.0
    insert: float = 0.0
    mixups: bool = False
    flavour: str = "windows"
    lag: float = 0.0  # s that the host is late with each read
    chunk: int = 65536  # bytes that the host reads at once
    session: Session = field(default_factory=Session)
    events: list[Event] = field(default_factory=list)
    now: float = 0.0

    def __post_init__(self) -> None:
        self._ours, self._theirs = socket.socketpair()
        self._ours.setblocking(False)
        self._theirs.setblocking(False)
        rates = self.damage, self.loss, self.double, self.insert, self.mixups
        self.to_host = Faults(self.seed, *rates)
        self.to_target = Faults(self.seed + 1_000_003, *rates)
        self.target = Target(self.say, self.flavour)
        self.target.debugger_data()
        self.reads = 0
        self._readable_since: float | None = None

    def close(self) -> None:
        self._ours.close()
        self._theirs.close()

    def say(self, data: bytes) -> None:
        """Written by the target."""
        self._theirs.send(self.to_host.carry(data))

    def do(self, step: Step) -> None:
        self.events += step.events
        if step.send:
            self._ours.send(self.to_target.carry(step.send))

    def play(self, *acts: Run, limit: float = 10_000.0) -> list[Event]:
        """Everything to its end; the target must not stand still for `limit` s (virtual). Returns the new events."""
        first = len(self.events)
        for act in acts:
            for wait in act:
                self._wait(wait.seconds, wait.blind)
                assert self.now < limit, f"the target stands still: {self.events[-3:]}"
        self._wait(3.0, True)
        return self.events[first:]

    def lines(self) -> list[str]:
        """Return what was printed."""
        return [event.text for event in self.events if isinstance(event, TextLine) and event.processor is not None]

    def plain(self) -> list[str]:
        """Text from outside of packets."""
        return [event.text for event in self.events if isinstance(event, TextLine) and event.processor is None]

    def of(self, kind: type) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]

    def _wait(self, seconds: float, blind: bool) -> None:
        """Until the target has a byte, or `seconds` went by."""
        end = self.now + seconds
        while True:
            if not self.lag:
                while self._read():
                    pass
            if self._fill() and not blind:
                return
            due = self.session.due
            times = [end] if due is None else [end, max(due, self.now)]
            if self.lag:
                if self._readable_since is None:
                    self._readable_since = self.now
                times.append(self._readable_since + self.lag)
            self.now = min(times)
            if self.lag and self.now >= (self._readable_since or 0.0) + self.lag:
                self._readable_since = None
                self._read()
            elif due is not None and self.now >= due:
                self.do(self.session.tick(self.now))
            elif self.now >= end:
                return

    def _read(self) -> bool:
        try:
            data = self._ours.recv(self.chunk)
        except BlockingIOError:
            return False
        self.reads += 1
        self.do(self.session.feed(data, self.now))
        return True

    def _fill(self) -> bool:
        try:
            self.target.fifo += self._theirs.recv(65536)
        except BlockingIOError:
            return False
        return True
