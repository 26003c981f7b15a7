"""What the user sees while a command works: steps with their time, rich on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import IO, Any, cast

from rich.console import Console as RichConsole
from rich.table import Table
from rich.text import Text

from wsklab.common.text import visible
from wsklab.orchestrator.judge.observed import Disconnect, Transfer
from wsklab.orchestrator.results.results import Results, ScenarioResult, call_words

COLOURS = {"pass": "green", "fail": "red", "inconclusive": "yellow", "infra": "magenta", "flaky": "red"}
MARKS = {"pass": "✓", "fail": "✗", "inconclusive": "?", "infra": "!"}


class Output:
    """Standard output that is written to no more once that fails: a reader that left, a full disk under a log.

    What a command does goes on; its results are in files, and its exit code is theirs.
    """

    def __init__(self) -> None:
        self._stream = sys.stdout

    def write(self, text: str) -> int:
        """Write, or do nothing."""
        try:
            return self._stream.write(text)
        except OSError:
            self._give_up()
            return len(text)

    def flush(self) -> None:
        """Flush, or do nothing."""
        try:
            self._stream.flush()
        except OSError:
            self._give_up()

    def _give_up(self) -> None:
        """Lead the descriptor nowhere, as what is buffered is written once more at the end of the process."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class Console:
    """Steps, lines and tables on standard output; `quiet` keeps all of it back (for `--json`)."""

    def __init__(self, quiet: bool = False) -> None:
        # A file or a build server has no width; the table shall not be folded to 80 columns there.
        width = None if sys.stdout.isatty() else 140
        self._output = Output()
        self._out = RichConsole(quiet=quiet, highlight=False, width=width, file=cast(IO[str], self._output))
        self._spinner = threading.Lock()
        self._notes = 0

    def document(self, text: str) -> None:
        """What a program reads, as it is, also when everything else is kept back."""
        self._output.write(text)
        self._output.flush()

    def line(self, text: str, style: str = "") -> None:
        """One line, as it is: no markup, and never folded, as paths are copied from it."""
        self._say(Text(visible(text, lines=True), style=style))

    def _say(self, text: Text) -> None:
        self._out.print(text, soft_wrap=True)

    @contextmanager
    def step(self, title: str, makes: bool = False) -> Iterator[Callable[[str], None]]:
        """A piece of work that takes a moment: a spinner while it lasts, its time when it is done.

        Yields what takes a word on how it ended, shown behind the title. `makes`: it makes what is not there yet, with
        a note on each thing; without a note all was there.
        """
        began, notes, words = time.monotonic(), self._notes, list[str]()
        spins = self._spinner.acquire(blocking=False)  # one at a time; of labs side by side only the first shows
        try:
            with self._out.status(Text(title)) if spins else nullcontext():
                yield words.append
        finally:
            if spins:
                self._spinner.release()
        if makes and self._notes == notes and not words:
            words.append("cached")
        self._say(
            Text.assemble(
                (f"{time.monotonic() - began:6.1f} s  ", "dim"), title, *((f"  {word}", "dim") for word in words)
            )
        )

    def progress(self, text: str) -> None:
        """A note from inside a step."""
        self._notes += 1
        self._say(Text(visible(f"          {text}", lines=True), style="dim"))

    def verdict(self, result: ScenarioResult) -> None:
        """One line as soon as a scenario is judged, its reasons below."""
        colour = "yellow" if result.excused else COLOURS[result.verdict]
        number = f" #{result.repeat}" if result.repeat > 1 else ""
        self._say(
            Text.assemble(
                (f"{result.timing.get('total_s', 0.0):6.1f} s  ", "dim"),
                (f"{MARKS[result.verdict]} {result.verdict:12} ", colour),
                f"{result.label}{number}",
            )
        )
        if result.known:
            self._say(Text(visible(f"          {result.known.kind}: {result.known.said}", lines=True), style="yellow"))
        if result.verdict != "pass":
            for reason in result.reasons:
                self._say(Text(visible(f"          {reason}", lines=True), style=colour))
        for finding in result.findings:
            self._say(Text(visible(f"          finding: {finding}", lines=True), style="cyan"))

    def table(self, results: Results) -> None:
        """The run at a glance: what ended how on the wire, and what the driver was told."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading in ("scenario", "wire: peer", "driver", "WskDisconnectEvent", "receives", "verdict"):
            table.add_column(heading, overflow="fold")
        again = [result for result in results.scenarios if result.again]
        for result in results.plan.ordered(results.scenarios):
            if result.again:
                continue
            wire = result.observed["wire"]
            table.add_row(
                Text(result.label if result.repeat == 1 else f"{result.label} #{result.repeat}"),
                _endings(wire["peer"]),
                _endings(wire["driver"]),
                _events(result.observed["disconnects"]) or ("not called" if wire["frames"] else ""),
                _transfers(result.observed["receives"]),
                Text(
                    f"{result.known.kind}: {result.verdict}" if result.known else result.verdict,
                    style="yellow" if result.excused else COLOURS[result.verdict],
                ),
            )
        self._out.print()
        self._out.print(table)
        if again:
            self._out.print(Text(f"and {len(again)} repetitions that passed", style="dim"))

    def show(self, *shown: object) -> None:
        """Print tables and texts of rich, one below the other."""
        for one in shown:
            self._out.print(one)

    def totals(self, results: Results) -> None:
        """The last line but one: how many of each, and what was not run."""
        parts: list[tuple[str, str] | str] = []
        for verdict, count in results.totals.items():
            if verdict != "all" and (count or verdict == "pass"):
                parts += [(f"{count} {verdict.replace('_', ' ')}", COLOURS.get(verdict, "yellow")), "  "]
        if results.state == "complete" and results.plan.asked is not None:
            parts += [(f"({results.plan.asked} asked for, and the driver's unload)", "dim")]
        self._out.print()
        self._out.print(Text.assemble(*parts))
        if shortfall := results.shortfall:
            self.line(shortfall, "yellow")


def _endings(sides: list[list[str]]) -> str:
    """The distinct endings of a scenario's connections."""
    shown = dict.fromkeys(" ".join(end.upper() for end in ending) or "-" for ending in sides)
    return ", ".join(shown)


def _events(disconnects: Sequence[Disconnect]) -> str:
    return folded([call_words(call) for call in disconnects])


def _transfers(receives: Sequence[Transfer]) -> str:
    return folded([f"{r['length']} B" if r["status"] == "00000000" else str(r["status"]) for r in receives])


def folded(words: list[str]) -> str:
    """The first few, and how many more."""
    return ", ".join(words[:3]) + (f" (+{len(words) - 3})" if len(words) > 3 else "")
