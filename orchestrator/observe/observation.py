"""The file of observations: JSON lines that survive a run, of which the judge gives its verdict again.

Each kind of observation is a class in a module named by its source: `driver_lines`, `foreign_lines`, `wsk_lines`,
`wire_frames`, `machine_events`, `peer_replies`, `lab_notes`.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from wsklab.common import files
from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.observe.base import Observation, data_of, made, plain
from wsklab.orchestrator.observe.driver_lines import OWN, PROVIDER
from wsklab.orchestrator.observe.foreign_lines import FOREIGN
from wsklab.orchestrator.observe.lab_notes import NOTES, Trouble
from wsklab.orchestrator.observe.machine_events import OF_MACHINES, MachineGone
from wsklab.orchestrator.observe.peer_replies import PEER
from wsklab.orchestrator.observe.wire_frames import FRAMES
from wsklab.orchestrator.observe.wsk_lines import WSK_SEEN

__all__ = ["KINDS", "Loss", "Observation", "ObservationFile", "describe_loss", "made_of", "read", "write"]

Loss = MachineGone | Trouble
"""What makes all further waiting useless."""

KINDS: Mapping[tuple[str, str, bool], type[Observation]] = {
    **{(kind.source, kind.kind, True): kind for kind in OWN},
    **{
        (kind.source, kind.kind, False): kind
        for kind in (*PROVIDER, *WSK_SEEN, *FOREIGN, *FRAMES, *OF_MACHINES, *PEER, *NOTES)
    },
}
"""Every kind by its source and its name; the third says whether it is a numbered line of the lab's own driver."""


@dataclass(frozen=True, slots=True)
class ObservationFile:
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
        for o in observations:
            line = {"t": o.t, "source": o.source, "kind": o.kind, "conn": o.conn, "data": data_of(o)}
            text = json.dumps(line, separators=(",", ":"), default=plain)
            crc = zlib.crc32(text.encode(), crc)
            file.write(f'{text[:-1]},"crc":"{crc:08x}"}}\n')


def read(path: Path) -> ObservationFile:
    """Return the observations of an evidence folder; only a last line without its end, of a killed run, is left out.

    Raises UsageError, with file and line, for a file that is not as `write` has left it, or that has a line which is
    not known here: evidence gives the verdict that it gave before, or none.
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
        if sum_of_line != f',"crc":"{crc:08x}"}}'.encode():
            raise UsageError(
                f"{path}:{number}: this line is damaged, or one before it is missing; evidence that was "
                "changed proves nothing, run the scenario again."
            )
        try:
            observations.append(_observation(text))
        except (ValueError, RecursionError) as error:
            raise UsageError(
                f"{path}:{number}: this version does not understand this line ({error}); judge it with the version "
                "that recorded it, or run the scenario again."
            ) from None
    return ObservationFile(tuple(observations), cut=bool(rest))


_CRC = ',"crc":"00000000"}'
_KEYS = {"t", "source", "kind", "conn", "data"}


def _observation(text: bytes) -> Observation:
    """One line without its sum. Raises ValueError when it is no observation that is known."""
    line = json.loads(text)
    if not isinstance(line, dict) or line.keys() != _KEYS:
        raise ValueError("it is no observation")
    return made_of(line["source"], line["kind"], line["t"], line["conn"], line["data"])


def made_of(source: object, kind: object, t: object, conn: object, data: object) -> Observation:
    """Return an observation out of the parts of its line. Raises ValueError for what no observation is."""
    if type(t) is not int or not (conn is None or type(conn) is int) or not isinstance(data, dict):
        raise ValueError("it is no observation")
    found = KINDS.get((str(source), str(kind), source == "driver" and "seq" in data))
    if found is None:
        raise ValueError(f"no observation of the {source} is called {kind}")
    try:
        return made(found, t, conn, data)
    except ValueError as error:
        raise ValueError(f"{kind} of the {source}: {error}") from None


_WORDS = {
    "panic": "the kernel of the {machine} panicked",
    "died": "QEMU of the {machine} ended",
    "last-words": "the {machine} says on its console",
    "crash": "the driver's host process in the {machine} crashed",
    "bugcheck": "Windows crashed on the {machine}, bugcheck",
    "stop": "the driver broke a rule for which Windows with Driver Verifier stops (simulated)",
    "shutdown": "the {machine} shut down",
    "reset": "the {machine} reset itself",
}


def describe_loss(loss: Loss) -> str:
    """One sentence on how a machine went away, or on what made waiting useless."""
    if isinstance(loss, Trouble):
        return loss.detail
    words = _WORDS[loss.kind].format(machine=loss.machine)
    if loss.kind == "died" and loss.machine == "wire":
        words = "the wire's process ended"
    between = "" if not loss.detail else " " if loss.kind == "bugcheck" else ": "
    return f"{words}{between}{loss.detail}"
