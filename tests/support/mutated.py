"""Captures that are broken on purpose, by seed.

In `tests/`, `python -m support.mutated 100000` tries that many; a second number is the first seed.
"""

from __future__ import annotations

import gzip
import io
import random
import resource
import struct
import sys
import time

from support.captured import Talk, enhanced, ethernet, interface, pcap, section

from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.field.endings import connections, pairing, table
from wsklab.orchestrator.field.packets import captures, flows, stripping
from wsklab.orchestrator.field.packets.captures import Notes
from wsklab.orchestrator.field.scenarios import again, fidelity
from wsklab.orchestrator.scenario import yaml_source
from wsklab.orchestrator.scenario.scenario import Scenario
from wsklab.qemu.wire.frames import ACK, FIN, PSH, RST, SYN


def conversation(chance: random.Random) -> Talk:
    """Return a conversation with anything in it."""
    said = Talk(port=chance.randrange(65536), isn=(chance.getrandbits(32), chance.getrandbits(32)))
    if chance.random() < 0.8:
        said.handshake()
    for _ in range(chance.randrange(12)):
        flags = chance.choice([ACK, ACK | PSH, FIN | ACK, RST, RST | ACK, SYN, SYN | ACK, 0, 63])
        speak = said.d if chance.random() < 0.5 else said.p
        changes: dict[str, object] = {}
        if chance.random() < 0.3:
            changes["seq"] = chance.choice([0, 1, 2, -1, 1000, 1 << 31, chance.getrandbits(32)])
        if chance.random() < 0.2:
            changes["ack"] = chance.getrandbits(32)
        if chance.random() < 0.2:
            changes["window"] = 0
        speak(flags, chance.choice([0, 0, 1, 10, 1460]), after=chance.choice([0.0, 0.001, 0.3, 200.0]), **changes)
    return said


def mutated(chance: random.Random) -> bytes:
    """Return a capture with some of its bytes, fields and lengths changed, cut, or said twice."""
    packets = conversation(chance).packets(chance.choice([4, 4, 6]))
    link = chance.choice([1, 1, 1, 101, 0, 108, 113, 228, 229, 276, 239, 127])
    frames = [(at, ethernet(data) if link == 1 else data) for at, data in packets]
    if chance.random() < 0.2:
        chance.shuffle(frames)
    if chance.random() < 0.5:
        data = pcap(frames, link, chance.choice("<>"), chance.random() < 0.5, chance.choice([0, 0, 40, 60, 80]))
    else:
        order = chance.choice("<>")
        data = section(order) + interface(link, chance.choice([6, 9, 0, 3, 127, 128, 160, 255]), order)
        data += b"".join(enhanced(0, at, frame, order) for at, frame in frames)
    raw = bytearray(data)
    for _ in range(chance.choice([0, 1, 1, 2, 5, 20])):
        at = chance.randrange(len(raw))
        what = chance.randrange(5)
        if what == 0:
            raw[at] = chance.randrange(256)
        elif what == 1:
            raw[at : at + 4] = struct.pack("<I", chance.choice([0, 1, 12, 0xFFFFFFFF, 0x7FFFFFFF, len(raw)]))
        elif what == 2:
            del raw[at : at + chance.randrange(1, 40)]
        elif what == 3:
            raw[at:at] = raw[at : at + chance.randrange(1, 80)]
        else:
            del raw[chance.randrange(at, len(raw)) :]
        if not raw:
            break
    return gzip.compress(bytes(raw)) if chance.random() < 0.05 else bytes(raw)


def outcome(data: bytes) -> str:
    """Do everything that `wsklab repro` does with a capture; returns "read", or the sentence that refuses it."""
    notes = Notes()
    try:
        found = flows.read(captures.stream(io.BytesIO(data), notes), notes)
    except UsageError as error:
        return str(error)
    # What follows refuses nothing: a UsageError from here on is a mistake.
    made = connections.connections(found)
    for one in made[:20]:
        assert list(table.details(one))
        assert list(table.segment_lines(one))
        table.connection_document(one)
        text = again.scenario(one, "fuzzed")
        yaml_source.parse(text, Scenario, text)
        assert fidelity.compare(one, one).number == 1.0
    list(pairing.pairs(made, made))
    small = b"".join(stripping.stripped(captures.stream(io.BytesIO(data), notes), notes))
    flows.read(captures.stream(io.BytesIO(small), notes), notes)
    return "read"


def main(count: int, first: int = 0) -> None:
    """Try `count` captures from seed `first` on, and say what came of them."""
    began, seen = time.monotonic(), dict[str, int]()
    longest = (0.0, 0)
    for seed in range(first, first + count):
        data, before = mutated(random.Random(seed)), time.monotonic()
        try:
            word = outcome(data)
        except Exception:
            print(f"seed {seed}", file=sys.stderr)
            raise
        seen[word] = seen.get(word, 0) + 1
        longest = max(longest, (time.monotonic() - before, seed))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"{count:,} captures in {time.monotonic() - began:.0f} s, at most {peak} MiB")
    print(f"the longest took {longest[0]:.3f} s (seed {longest[1]})")
    for word, number in sorted(seen.items(), key=lambda pair: -pair[1]):
        print(f"{number:>8,}  {word}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:] or ["1000"]))
