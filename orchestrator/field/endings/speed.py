"""How fast a capture is read, and in how much memory: a capture made by code, and a child process that lists it."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from wsklab.qemu.wire.frames import ACK, FIN, PSH, SYN

FLOW = 20
"""Segments of each connection in the capture that is made."""

SIDE_BY_SIDE = 100
"""Connections that are open at the same time."""

_TCP, _IP = struct.Struct("!HHIIBBHHH"), struct.Struct("!BBHHHBBH4s4s")
_STEPS = (SYN, SYN | ACK, ACK, *(ACK | PSH, ACK) * 7, FIN | ACK, FIN | ACK, ACK)

_CHILD = """
import json, resource, sys, time
from pathlib import Path
from wsklab.orchestrator.field.endings import connections, table
began = time.process_time()
found = connections.read(Path(sys.argv[1]))
rows = sum(len(table.row(one)) > 0 for one in found.connections)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps([time.process_time() - began, peak, found.flows.segments, rows]))
"""


@dataclass(frozen=True)
class Speed:
    """What one reading took."""

    packets: int
    connections: int
    seconds: float  # on the clock
    cpu_seconds: float  # of the process: what it takes on a machine that does nothing else
    peak_mib: float


def make(path: Path, packets: int) -> None:
    """Write a capture of so many packets: connections side by side, data one way, closed by both."""
    with path.open("wb") as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1))
        for number, frame in enumerate(_frames(packets)):
            micros = 1_700_000_000_000_000 + number * 7
            file.write(struct.pack("<IIII", micros // 10**6, micros % 10**6, len(frame), len(frame)) + frame)


def _frames(packets: int) -> Iterator[bytes]:
    made = first = 0
    while made < packets:
        sent = {flow: [1000, 2000] for flow in range(first, first + SIDE_BY_SIDE)}
        for step, flags in enumerate(_STEPS):
            for flow, numbers in sent.items():
                if made >= packets:
                    return
                made += 1
                up = step % 2 == 0 if step < 3 else step % 2 == 1
                yield _frame(flow, up, flags, numbers, made)
        first += SIDE_BY_SIDE


def _frame(flow: int, up: bool, flags: int, numbers: list[int], ident: int) -> bytes:
    client, server = (10 << 24 | flow >> 14).to_bytes(4, "big"), b"\x0a\x4d\x00\x14"
    port, side = 1024 + flow % 16384, 0 if up else 1
    data = bytes(600) if flags & PSH else b""
    ports = (port, 7000) if up else (7000, port)
    ack = numbers[1 - side] if flags & ACK else 0
    segment = _TCP.pack(*ports, numbers[side], ack, 0x80, flags, 500, 0, 0)
    segment += b"\x01\x01\x08\x0a" + ident.to_bytes(8, "big") + data
    numbers[side] += len(data) + bool(flags & (SYN | FIN))
    ends = (client, server) if up else (server, client)
    header = _IP.pack(0x45, 0, 20 + len(segment), ident & 0xFFFF, 0x4000, 64, 6, 0, *ends)
    return b"\x52\x54\0\x77\0\x10\x52\x54\0\x77\0\x20\x08\0" + header + segment


def measure(path: Path) -> Speed:
    """Read a capture in a process of its own."""
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", _CHILD, str(path)], capture_output=True, text=True, check=True)
    cpu, peak, packets, connections = json.loads(done.stdout)
    return Speed(packets, connections, time.monotonic() - began, cpu, peak)
