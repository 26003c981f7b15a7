"""Observations: one timed fact from one source. The judge sees nothing else, and they survive as JSON lines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

Source = Literal["driver", "wire", "peer", "machine", "lab"]


FATAL = frozenset({"panic", "died", "crash", "bugcheck", "shutdown", "reset"})
"""Machine observations after which nothing that is waited for can come any more."""


@dataclass(frozen=True, slots=True)
class Observation:
    """`t` is the host's clock in nanoseconds since the epoch; `conn` the scenario's connection, where there is one.

    Kinds by source:
    driver   the `ev=` word of a debug line (disc, recv, done, call, canary, clean, ...), `rule` for a complaint of
             the stand-in provider, `unsupported` for a call that it does not offer; `data` holds the line's fields
             and `seq`
    wire     frame (data: sender, flags, seq, ack, length, ports, comment), counters
    peer     reply, exited
    machine  panic, shutdown, reset, died, crash, bugcheck; exception and stops (of the kernel debugger's line)
    lab      opened, step, flow, canary, ring, end, note, ...
    """

    t: int
    source: Source
    kind: str
    conn: int | None = None
    data: dict[str, Any] = field(default_factory=dict)


def write(path: Path, observations: Iterable[Observation]) -> None:
    """One JSON object a line, in the order given."""
    with path.open("w", encoding="utf-8") as file:
        for observation in observations:
            file.write(json.dumps(asdict(observation), separators=(",", ":")) + "\n")


def read(path: Path) -> Iterator[Observation]:
    """The observations of an evidence folder; an incomplete last line (a killed run) ends the reading."""
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                yield Observation(**json.loads(line))
            except (ValueError, TypeError):
                return


def describe_loss(observation: Observation) -> str:
    """One sentence on how a machine went away."""
    machine = observation.data.get("machine", "a machine")
    detail = observation.data.get("detail", "")
    words = {
        "panic": f"the kernel of the {machine} panicked",
        "died": f"QEMU of the {machine} ended",
        "crash": f"the driver's host process in the {machine} crashed",
        "bugcheck": f"Windows crashed on the {machine}, bugcheck",
        "shutdown": f"the {machine} shut down",
        "reset": f"the {machine} reset itself",
    }[observation.kind]
    between = "" if not detail else " " if observation.kind == "bugcheck" else ": "
    return f"{words}{between}{detail}"
