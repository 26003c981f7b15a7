"""What the user sees while a command works: steps with their time, rich on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import IO, Any, cast

from rich.console import Console as RichConsole
from rich.text import Text

from wsklab.common.text import visible
from wsklab.orchestrator.judge.observed import Disconnect, Transfer
from wsklab.orchestrator.results.ci import MOST, Failure, Server, harmless, markdown
from wsklab.orchestrator.results.ladder import StoryRow
from wsklab.orchestrator.results.pace import Pace
from wsklab.orchestrator.results.results import UNLOAD, Results, ScenarioResult, call_words

COLOURS = {"pass": "green", "fail": "red", "inconclusive": "yellow", "infra": "magenta", "flaky": "red"}
PACE_EVERY = 60.0
"""Seconds after which a log is told again how long the run will take yet."""

MARKS = {"pass": "✓", "fail": "✗", "inconclusive": "?", "infra": "!"}


class Output:
    """Standard output that is written to no more once that fails: a reader that left, a full disk under a log.

    What a command does goes on; its results are in files, and its exit code is theirs.
    """

    def __init__(self, obeyed: bool = False) -> None:
        self._stream = sys.stdout
        self._obeyed = obeyed  # by a build server, which looks for commands in what is written

    def write(self, text: str) -> int:
        """Write, or do nothing. Nothing in it is a command."""
        return self.command(harmless(text) if self._obeyed else text)

    def command(self, text: str) -> int:
        """Write what a build server is to obey."""
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
    """Steps, lines and tables on standard output; `quiet` keeps all of it back (for `--json`).

    `verbosity`: -1 tells only what did not pass and how the run ended, 1 also what was observed in each scenario.
    """

    def __init__(self, quiet: bool = False, verbosity: int = 0, server: Server | None = None) -> None:
        # A file or a build server has no width; the table shall not be folded to 80 columns there.
        width = None if sys.stdout.isatty() else 140
        self._server = None if quiet else server
        self._output = Output(self._server is not None)
        self._out = RichConsole(quiet=quiet, highlight=False, width=width, file=cast(IO[str], self._output))
        self._spinner = threading.Lock()
        self._notes = 0
        self._terse, self.verbose = verbosity < 0, verbosity > 0 and not quiet
        self._opens, self._ladders = "", 0
        self._pace: Pace | None = None
        self._told_pace = 0.0

    def document(self, text: str) -> None:
        """Print what a program reads, as it is, also when everything else is kept back."""
        self._output.write(text)
        self._output.flush()

    def line(self, text: str, style: str = "") -> None:
        """One line, as it is: no markup, and never folded, as paths are copied from it."""
        if self._terse and style == "dim":
            return
        self._say(Text(visible(text, lines=True), style=style))

    def _say(self, text: Text) -> None:
        self._out.print(text, soft_wrap=True)

    @contextmanager
    def step(self, title: str, makes: bool = False) -> Iterator[Callable[[str], None]]:
        """Show a piece of work that takes a moment: a spinner while it lasts, its time when it is done.

        Yields what takes a word on how it ended, shown behind the title. `makes`: it makes what is not there yet, with
        a note on each thing; without a note all was there.
        """
        began, notes, words = time.monotonic(), self._notes, list[str]()
        spins = self._spinner.acquire(blocking=False)  # one at a time; of labs side by side only the first shows
        try:
            with (
                self._out.status(Text(title)) if spins and not self._terse else nullcontext(),
                self._group(title) if spins and makes else nullcontext(),
            ):
                yield words.append
        finally:
            if spins:
                self._spinner.release()
        if makes and self._notes == notes and not words:
            words.append("cached")
        if self._terse:
            return
        self._say(
            Text.assemble(
                (f"{time.monotonic() - began:6.1f} s  ", "dim"), title, *((f"  {word}", "dim") for word in words)
            )
        )

    def progress(self, text: str) -> None:
        """Show a note from inside a step."""
        self._notes += 1
        if self._terse:
            return
        self._open()
        self._say(Text(visible(f"          {text}", lines=True), style="dim"))

    @contextmanager
    def _group(self, title: str) -> Iterator[None]:
        """Fold what is said meanwhile under the title, where a build server can do that; nothing said is no group."""
        if self._server is None or self._terse:
            yield
            return
        key = f"wsklab_{int(time.time() * 1000)}"
        self._opens = self._server.begin(key, harmless(visible(title)), time.time())
        try:
            yield
        finally:
            if not self._opens:
                self._command(self._server.end(key, time.time()))
            self._opens = ""

    def _open(self) -> None:
        """Open the group that waits for something to be in it."""
        opens, self._opens = self._opens, ""
        self._command(opens)

    def _command(self, text: str) -> None:
        """Print what a build server obeys, on a line of its own."""
        if text:
            self._output.command(f"{text}\n")
            self._output.flush()

    @contextmanager
    def pace(self, total: int | None) -> Iterator[None]:
        """Scenarios are played: on a terminal a line below all others says what runs, how many, and how long yet."""
        self._pace = Pace(total, time.monotonic())
        self._told_pace = time.monotonic()
        live = self._out.is_terminal and not self._terse and self._spinner.acquire(blocking=False)
        try:
            with self._out.status(_PaceLine(self._pace)) if live else nullcontext():
                yield
        finally:
            if live:
                self._spinner.release()
            self._pace = None

    def starts(self, name: str) -> None:
        """Show that a scenario is begun."""
        if self._pace is not None:
            self._pace.start(name)

    def _count(self, result: ScenarioResult) -> str:
        """Which of how many a row is; the unloads are beyond the number."""
        if self._pace is None or result.name == UNLOAD:
            return ""
        self._pace.finish(result.name, time.monotonic())
        return f"  {self._pace.count}"

    def _tell_pace(self) -> None:
        """In a log, which has no last line that changes, say now and then how long it will take yet."""
        now = time.monotonic()
        if self._pace is None or self._out.is_terminal or self._terse or now - self._told_pace < PACE_EVERY:
            return
        self._told_pace = now
        self._say(Text(f"          {self._pace.line(now)}", style="dim"))

    def ladder(self, name: str, rows: Sequence[StoryRow]) -> None:
        """Show what was observed in a scenario, in the order of time."""
        self._ladders += 1
        with self._group(f"What was observed in {name}"):
            self._open()
            for row in rows:
                text = f"{row.ms:10.1f} ms  {row.column:7} {row.arrow:1} {row.label or row.text}"
                self._say(Text(visible(text), style="bold" if row.kind == "event" else "dim"))

    @property
    def folds(self) -> bool:
        """Whether much can be said without being in the way: of the first failures, as a log has its limits, too."""
        folding = self._server is not None and self._server.name != "jenkins"
        return folding and not self._terse and self._ladders < MOST

    def tell_server(self, results: Results, folder: Path) -> None:
        """Print annotations and a summary for the build server that runs this, if one does."""
        if self._server is None:
            return
        failures = [
            Failure(
                _numbered(row), row.verdict, harmless(visible(row.story.text if row.story else "; ".join(row.reasons)))
            )
            for row in results.scenarios
            if row.verdict != "pass" and not row.excused
        ]
        totals = results.totals
        headline = results.shortfall or (
            f"{len(failures)} of {totals['all']} did not pass" if failures else f"all {totals['all']} passed"
        )
        for line in self._server.annotations(headline, failures):
            self._command(line)
        path = self._server.summary or (folder / "summary.md").absolute()
        if self._server.summary or self._server.attach_summary(path):
            try:
                with path.open("a", encoding="utf-8") as file:
                    file.write(markdown(headline, failures, totals))
            except OSError as error:
                self.line(f"The summary is not written: {path}: {error.strerror}", "yellow")
                return
            self._command(self._server.attach_summary(path))

    def verdict(self, result: ScenarioResult) -> None:
        """One line as soon as a scenario is judged; below it the story of what went wrong, and further reasons."""
        count = self._count(result)
        if self._terse and result.verdict == "pass" and not result.known and not result.findings:
            return
        colour = "yellow" if result.excused else COLOURS[result.verdict]
        number = f" #{result.repeat}" if result.repeat > 1 else ""
        self._say(
            Text.assemble(
                (f"{result.timing.get('total_s', 0.0):6.1f} s  ", "dim"),
                (f"{MARKS[result.verdict]} {result.verdict:12} ", colour),
                f"{result.label}{number}",
                (count, "dim"),
            )
        )
        if result.known:
            self._say(Text(visible(f"          {result.known.kind}: {result.known.said}", lines=True), style="yellow"))
        if result.story:
            for place, line in enumerate(result.story.lines):
                self._say(Text(visible(f"          {line}"), style="dim" if place else colour))
        if result.verdict != "pass":
            for reason in result.reasons[1 if result.story else 0 :]:
                self._say(Text(visible(f"          {reason}", lines=True), style=colour))
        for finding in result.findings:
            self._say(Text(visible(f"          finding: {finding}", lines=True), style="cyan"))
        self._tell_pace()

    def table(self, results: Results) -> None:
        """Show the run at a glance: what ended how on the wire, and what the driver was told."""
        if self._terse:
            return
        from rich.table import Table  # while the lab boots nobody sees one

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
        """Show the last line but one: how many of each, and what was not run."""
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


class _PaceLine:
    """How far the run is, at the moment of drawing."""

    def __init__(self, pace: Pace) -> None:
        self._pace = pace

    def __rich__(self) -> Text:
        return Text(visible(self._pace.line(time.monotonic())))


def _numbered(row: ScenarioResult) -> str:
    """Return its name, and which of its repetitions it is."""
    return row.label if row.repeat == 1 else f"{row.label} #{row.repeat}"


def _endings(sides: list[list[str]]) -> str:
    """Return the distinct endings of a scenario's connections."""
    shown = dict.fromkeys(" ".join(end.upper() for end in ending) or "-" for ending in sides)
    return ", ".join(shown)


def _events(disconnects: Sequence[Disconnect]) -> str:
    return folded([call_words(call) for call in disconnects])


def _transfers(receives: Sequence[Transfer]) -> str:
    return folded([f"{r['length']} B" if r["status"] == "00000000" else str(r["status"]) for r in receives])


def folded(words: list[str]) -> str:
    """Return the first few, and how many more."""
    return ", ".join(words[:3]) + (f" (+{len(words) - 3})" if len(words) > 3 else "")
