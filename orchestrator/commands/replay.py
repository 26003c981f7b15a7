"""`wsklab replay`: a recorded scenario again, bit for bit, with neither peer nor wire."""

from __future__ import annotations

import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

from wsklab.common.text import visible
from wsklab.orchestrator.errors import ALL_PASS, SOME_FAIL, UsageError
from wsklab.orchestrator.field.replay import bundle, recorded
from wsklab.orchestrator.field.replay.replaying import Outcome, Replay
from wsklab.orchestrator.results.console import Console
from wsklab.qemu import accel, recording

TELL = 10.0
"""Seconds between two lines on how far it is."""


@click.command("replay")
@click.argument("folder", metavar="EVIDENCE", type=click.Path(path_type=Path))
@click.option(
    "--until",
    metavar="WORDS",
    help="Stop just before the debug line says this, and say how far before; go on without --gdb.",
)
@click.option(
    "--nth",
    default=1,
    show_default=True,
    type=click.IntRange(1),
    help="With --until: when it says so for the Nth time.",
)
@click.option(
    "--gdb",
    metavar="[PORT]",
    is_flag=False,
    flag_value=0,
    type=click.IntRange(0, 65535),
    help="With --until: let gdb have it there, at this port of 127.0.0.1, and start gdb if there is one and somebody "
    "to type into it.",
)
def command(folder: Path, until: str | None, nth: int, gdb: int | None) -> None:
    """Play a recorded target again, bit for bit, with neither peer nor wire, and compare what its serial lines say.

    EVIDENCE is the folder RUN/evidence/NAME of `wsklab run NAME --record`, or a bundle of it. Exit codes: 0 the serial
    lines say the same to the byte, or gdb had it where it was to stop; 1 they differ, and the first difference is told;
    3 it stands still.
    """
    if until is None and (nth != 1 or gdb is not None):
        raise UsageError("--nth and --gdb go with --until WORDS, which says where to stop.")
    with tempfile.TemporaryDirectory(prefix="wsklab-replay-") as place:
        if bundle.is_bundle(folder):
            bundle.unpack_recording(folder, Path(place))
            folder = Path(place)
        sys.exit(play(folder, Path(place) / "target", until, nth, gdb))


def play(evidence: Path, place: Path, until: str | None, nth: int, gdb: int | None) -> int:
    """Carry out the command on an evidence folder; returns its exit code."""
    found, manifest = recorded.read(evidence)
    stop, around = _place(found, manifest, until, nth) if until is not None else (None, "")
    image = recorded.check(found, manifest)
    console = Console()
    console.line(recorded.words(manifest))
    progress = _Progress(console, recorded.instructions(manifest))
    with Replay(found, manifest, image, place) as replay:
        outcome = replay.play(stop, progress.tell)
        if outcome.stopped:
            said = f"{replay.said('debug')} of {manifest.lines['debug']} bytes said"
            console.line(f"Stopped at instruction {outcome.icount}, {said}, {around}")
            if gdb is not None:
                _debug(replay, gdb, console)
            else:
                outcome = replay.go_on(progress.tell)
    return _told(outcome, manifest, console)


def _place(folder: Path, manifest: recorded.Manifest, until: str, nth: int) -> tuple[int, str]:
    """Return the instruction to stop at, and what is said of it. Raises UsageError."""
    offset, line, times = recorded.line_of(folder, until, nth)
    known = recording.before(manifest.stops, offset)
    if known is None:
        raise UsageError(
            f"'{until}' is said before the first count of instructions was taken: there is no place to stop."
        )
    count, following = known
    within = "" if following is None else f", at most {following - count} instructions"
    return count, f"before the debug line says ({nth} of {times}){within}: {visible(line)}"


class _Progress:
    def __init__(self, console: Console, whole: int) -> None:
        self._console, self._whole, self._told = console, whole, time.monotonic()

    def tell(self, count: int) -> None:
        if time.monotonic() - self._told >= TELL:
            self._told = time.monotonic()
            share = f" ({100 * count / self._whole:.0f} %)" if self._whole else ""
            self._console.line(f"          {count / 1e6:.0f} million instructions{share}", "dim")


def _told(outcome: Outcome, manifest: recorded.Manifest, console: Console) -> int:
    if outcome.stopped:
        return ALL_PASS
    found = outcome.difference
    if found is None:
        same = ", ".join(f"{line} {count} bytes" for line, count in manifest.lines.items())
        console.line(f"Identical: {same}.", "green")
        return ALL_PASS
    console.line(f"Differs: the {outcome.line} line at byte {found.offset} (line {found.line}).", "red")
    console.line(f"  recorded: {visible(found.recorded.decode(errors='replace')) or '(nothing)'}")
    console.line(f"  replayed: {visible(found.replayed.decode(errors='replace')) or '(nothing)'}")
    return SOME_FAIL


def _debug(replay: Replay, port: int, console: Console) -> None:
    """Let gdb have the machine until it has ended, or until Ctrl-C. Raises MachineError."""
    port = port or _free_port()
    replay.machine.qmp.hmp(f"gdbserver tcp:127.0.0.1:{port}")
    words = ["gdb", "-q", "-ex", "set architecture i386:x86-64", "-ex", f"target remote 127.0.0.1:{port}"]
    console.line(shlex.join(words))
    if accel.qemu_version().startswith("7."):
        console.line(
            "With this QEMU going back (reverse-stepi, reverse-continue) hangs; going forward works.", "yellow"
        )
    if shutil.which("gdb") and sys.stdin.isatty():
        before = signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C is for gdb then
        try:
            subprocess.run(words, check=False)
        finally:
            signal.signal(signal.SIGINT, before)
        return
    console.line("The machine waits for it; Ctrl-C ends it.")
    try:
        signal.pause()
    except KeyboardInterrupt:
        return


def _free_port() -> int:
    with socket.socket() as end:
        end.bind(("127.0.0.1", 0))
        return int(end.getsockname()[1])
