"""The session against bytes of any kind: it never raises, never holds more than a packet, never says more than it may.

WSKLAB_FUZZ_BYTES=10000000 fuzzes that many bytes instead of the usual number.
"""

from __future__ import annotations

import os
import random
import struct

from support.kd_rig import Rig, vectors

from wsklab.qemu.kd.packet import INITIAL_ID, SYNC, Kind, Packet, encode
from wsklab.qemu.kd.session import Session

BYTES = int(os.environ.get("WSKLAB_FUZZ_BYTES", "300000"))
DATA_KINDS = [1, 2, 3, 7, 9, 10, 11]
APIS = [0x3030, 0x3031, 0x3032, 0x3130, 0x3132, 0x3133, 0x3136, 0x313C, 0x3146, 0x3230, 0x3231, 0x3430, 0x13030]


def corpus() -> list[bytes]:
    """Return the vectors, and what a target says in a whole conversation with a bugcheck in it."""
    rig = Rig()
    said: list[bytes] = []
    rig.target.say = lambda data: (said.append(data), rig.say(data))[0]  # type: ignore[func-returns-value]
    target = rig.target
    rig.play(target.load("a.sys"), target.int3(), target.prompt(b"?"), target.file("f"))
    rig.play(target.bugcheck(0xA, (1, 2, 3, 4)))
    rig.close()
    return [*vectors().values(), *said]


def mutated(known: list[bytes], draw: random.Random) -> bytes:
    """Return a known packet: as it is, cut, bent, or with random content under a true checksum."""
    data = bytearray(draw.choice(known))
    choice = draw.random()
    if choice < 0.3 and len(data) > 20:
        payload = data[16:-1]
        for _ in range(draw.randint(0, 6)):
            payload[draw.randrange(len(payload))] = draw.choice([0, 1, 0x7F, 0x80, 0xFF, draw.randrange(256)])
        number = INITIAL_ID | draw.getrandbits(1) | SYNC * (draw.random() < 0.1)
        return encode(Packet(Kind(data[4]), number, bytes(payload[: draw.randint(1, 4000)])))
    if choice < 0.4:
        payload = bytearray(draw.randbytes(draw.randint(1, 400)))
        payload[:4] = struct.pack("<I", draw.choice(APIS))
        return encode(Packet(Kind(draw.choice(DATA_KINDS)), INITIAL_ID | draw.getrandbits(1), bytes(payload)))
    if choice < 0.6:
        for _ in range(draw.randint(1, 4)):
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    elif choice < 0.7:
        del data[draw.randrange(len(data)) :]
    elif choice < 0.8:
        at = draw.randrange(len(data))
        data[at:at] = draw.randbytes(draw.randint(1, 20))
    elif choice < 0.83:
        return draw.randbytes(draw.randint(1, 300))
    return bytes(data)


def test_mutated_conversations() -> None:
    draw = random.Random(0)
    known = corpus()
    session, now, total, said = Session(), 0.0, 0, 0
    seen: set[str] = set()
    while total < BYTES:
        burst = b"".join(mutated(known, draw) for _ in range(draw.randint(1, 4)))
        total += len(burst)
        at = 0
        while at < len(burst):
            size = draw.choice([1, 3, 16, 4096])
            step = session.feed(burst[at : at + size], now)
            at += size
            said += len(step.send)
            seen.update(type(event).__name__ for event in step.events)
        assert len(session._decoder._buffer) <= 4017
        now += draw.choice([0.0, 0.001, 0.02, 1.5])
        ticks = 0
        while (due := session.due) is not None and due <= now:
            step = session.tick(now)
            said += len(step.send)
            seen.update(type(event).__name__ for event in step.events)
            ticks += 1
            assert ticks < 10, "it is due again and again at the same time"
        if draw.random() < 0.002:
            session.resync()
    session.close()
    assert said < 4 * total + 10_000
    assert seen >= {"Attached", "TextLine", "ModuleLoaded", "ExceptionSeen", "Damaged", "Resynced", "Answered"}


def test_any_bytes_before_a_boot_do_not_keep_it_from_being_heard() -> None:
    draw = random.Random(1)
    for _ in range(15):
        rig = Rig()
        rig.say(draw.randbytes(200) + b"0000iiii" * draw.randint(0, 3) + bytes(draw.randint(0, 3)))
        rig.play(rig.target.load("a.sys"), rig.target.print(b"heard\n"), rig.target.int3(), rig.target.print(b"too\n"))
        assert rig.lines() == ["heard", "too"]
        rig.close()
