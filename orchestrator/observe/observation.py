"""Observations: one timed fact from one source. The judge sees nothing else, and they survive as JSON lines."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from wsklab.common import files
from wsklab.orchestrator.errors import UsageError

Source = Literal["driver", "wire", "peer", "machine", "lab"]


FATAL = frozenset({"panic", "died", "crash", "bugcheck", "stop", "shutdown", "reset", "last-words"})
"""Machine observations after which nothing that is waited for can come any more."""


@dataclass(frozen=True, slots=True)
class Observation:
    """`t` is the host's clock in nanoseconds since the epoch; `conn` the scenario's connection, where there is one.

    Kinds by source:
    driver   the `ev=` word of a debug line (disc, recv, done, call, refused, canary, clean, ...), `rule` for a
             complaint of the stand-in provider, `unsupported` for a call that it does not offer; `data` has the line's
             fields and `seq`
    wire     frame (data: sender, flags, seq, ack, length, ports, comment), counters
    peer     reply, exited
    machine  panic, shutdown, reset, died, crash, bugcheck, stop (the stand-in's strict mode), last-words (of its own
             init); of the kernel debugger's line: exception and prompt (the kernel stopped, and was told to go on),
             stops (at one place over and over),
             lost-text (the kernel had given its debugger up)
    lab      opened, step, flow, canary, ring, end, note, unread (a line of debug text that no pattern knows),
             overflow (more than is kept), ...; hang, silence, agent-gone, peer-gone, failure,
             unplayed (the lab failed before the first step or after the last, which is no verdict on anybody)
    """

    t: int
    source: Source
    kind: str
    conn: int | None = None
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Reading:
    """What an evidence folder holds; `cut`: the run was killed while it wrote the last line, which is left out."""

    observations: tuple[Observation, ...]
    cut: bool


def write(path: Path, observations: Iterable[Observation]) -> None:
    """One JSON object a line, in the order given.

    `crc` is the CRC-32 of all lines so far, itself left out, so that a line that was changed, lost or moved is noticed
    even where it still is one.
    """
    crc = 0
    with path.open("w", encoding="utf-8") as file:
        for observation in observations:
            text = json.dumps(asdict(observation), separators=(",", ":"))
            crc = zlib.crc32(text.encode(), crc)
            file.write(f'{text[:-1]},"crc":"{crc:08x}"}}\n')


def read(path: Path) -> Reading:
    """The observations of an evidence folder; only a last line without its end, of a killed run, is left out.

    Raises UsageError, with file and line, for a file that is not as `write` has left it: evidence gives the verdict
    that it gave before, or none.
    """
    try:
        *lines, rest = files.read_bytes(path, files.RESULT).split(b"\n")
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}.") from None
    observations: list[Observation] = []
    crc = 0
    for number, line in enumerate(lines, 1):
        text, sum_of_line = line[: -len(_CRC)] + b"}", line[-len(_CRC) :]
        crc = zlib.crc32(text, crc)
        observation = _observation(text) if sum_of_line == f',"crc":"{crc:08x}"}}'.encode() else None
        if observation is None:
            raise UsageError(
                f"{path}:{number}: this line is damaged, or one before it is missing; evidence that was "
                "changed proves nothing, run the scenario again."
            )
        observations.append(observation)
    return Reading(tuple(observations), cut=bool(rest))


_CRC = ',"crc":"00000000"}'


def _observation(text: bytes) -> Observation | None:
    """One line without its sum; None when it is no observation."""
    try:
        found = Observation(**json.loads(text))
    except (ValueError, TypeError, RecursionError):
        return None
    right = (
        type(found.t) is int
        and found.source in get_args(Source)
        and isinstance(found.kind, str)
        and (found.conn is None or type(found.conn) is int)
        and isinstance(found.data, dict)
    )
    return found if right else None


def describe_loss(observation: Observation) -> str:
    """One sentence on how a machine went away, or on what made waiting useless."""
    if observation.source == "lab":
        return str(observation.data["detail"])
    machine = observation.data.get("machine", "a machine")
    detail = observation.data.get("detail", "")
    words = {
        "panic": f"the kernel of the {machine} panicked",
        "died": "the wire's process ended" if machine == "wire" else f"QEMU of the {machine} ended",
        "last-words": f"the {machine} says on its console",
        "crash": f"the driver's host process in the {machine} crashed",
        "bugcheck": f"Windows crashed on the {machine}, bugcheck",
        "stop": "the driver broke a rule for which Windows with Driver Verifier stops (simulated)",
        "shutdown": f"the {machine} shut down",
        "reset": f"the {machine} reset itself",
    }[observation.kind]
    between = "" if not detail else " " if observation.kind == "bugcheck" else ": "
    return f"{words}{between}{detail}"
