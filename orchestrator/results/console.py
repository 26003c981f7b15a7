"""What the user sees while a command works: steps with their time, rich on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import IO, Any, cast

from rich.console import Console as RichConsole
from rich.table import Table
from rich.text import Text

from wsklab.common.text import visible
from wsklab.orchestrator.results.results import Results, ScenarioResult, call_words
from wsklab.orchestrator.trials import twin_matrix
from wsklab.orchestrator.trials.coverage import Row, short

COLOURS = {"pass": "green", "fail": "red", "inconclusive": "yellow", "infra": "magenta", "flaky": "red"}
LEGEND_COLUMNS = 4
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
        if makes and self._notes == notes:
            words.append("cached")
        self._say(Text.assemble((f"{time.monotonic() - began:6.1f} s  ", "dim"), title,
                                *((f"  {word}", "dim") for word in words)))

    def progress(self, text: str) -> None:
        """A note from inside a step."""
        self._notes += 1
        self._say(Text(visible(f"          {text}", lines=True), style="dim"))

    def verdict(self, result: ScenarioResult) -> None:
        """One line as soon as a scenario is judged, its reasons below."""
        colour = COLOURS[result.verdict]
        number = f" #{result.repeat}" if result.repeat > 1 else ""
        self._say(Text.assemble(
            (f"{result.timing.get('total_s', 0.0):6.1f} s  ", "dim"),
            (f"{MARKS[result.verdict]} {result.verdict:12} ", colour),
            f"{result.name}{number}",
        ))
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
                Text(result.name if result.repeat == 1 else f"{result.name} #{result.repeat}"),
                _endings(wire["peer"]),
                _endings(wire["driver"]),
                _events(result.observed["disconnects"]) or ("not called" if wire["frames"] else ""),
                _transfers(result.observed["receives"]),
                Text(result.verdict, style=COLOURS[result.verdict]),
            )
        self._out.print()
        self._out.print(table)
        if again:
            self._out.print(Text(f"and {len(again)} repetitions that passed", style="dim"))

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


    def twin(self, entry: Mapping[str, Any], seconds: float) -> None:
        """One line as soon as a twin has been run: what caught it, and the first reason."""
        mark, word, colour = ("✓", "caught", "green") if entry["caught"] else ("✗", "MISSED", "red")
        self._out.print(Text.assemble((f"{seconds:6.1f} s  ", "dim"), (f"{mark} {word:12} ", colour), entry["name"]))
        for catch in entry["by"][:1]:
            self._out.print(Text(f"          {catch['scenario']}: {visible(catch['reasons'][0])}", style="dim"))
        if not entry["caught"]:
            others = {name: verdict for name, verdict in entry["verdicts"].items() if verdict != "pass"}
            seen = ", ".join(f"{name} {verdict}" for name, verdict in others.items()) or "every verdict was pass"
            self._out.print(Text(f"          {entry['title']}: {entry['expected']} was due; {seen}", style="red"))

    def twin_matrix(self, matrix: Mapping[str, Any]) -> None:
        """Twins down, scenarios that told anything across, one character each; their numbers are explained below."""
        names = twin_matrix.columns(matrix)
        table = Table(box=None, pad_edge=False, header_style="dim")
        table.add_column("twin", no_wrap=True)
        tens = "".join(str(number // 10) if number % 10 == 0 else " " for number in range(1, len(names) + 1))
        table.add_column(f"{tens}\n" + "".join(str(number % 10) for number in range(1, len(names) + 1)), no_wrap=True)
        table.add_column("caught by", overflow="fold")
        table.add_row("(correct)", _marks(names, matrix["correct"]["verdicts"]),
                      ", ".join(alarm["scenario"] for alarm in matrix["false_alarms"]) or "nothing")
        for twin in matrix["twins"]:
            by = [catch["scenario"] for catch in twin["by"]]
            missed = f"only Windows can: {twin['only_windows']}" if twin["only_windows"] else "MISSED"
            table.add_row(twin["name"], _marks(names, twin["verdicts"]),
                          Text(_folded(by) if by else missed, style="" if by or twin["only_windows"] else "red"))
        self._out.print()
        self._out.print(table)
        self._out.print(Text("\n✓ pass  ✗ fail  ? inconclusive  ! infra  · not run (caught before)   "
                             f"{len(matrix['correct']['verdicts'])} rows in all, those that always passed are left out",
                             style="dim"))
        legend = Table.grid(padding=(0, 3))
        rows = -(-len(names) // LEGEND_COLUMNS)
        for row in range(rows):
            legend.add_row(*(f"{number + 1:2} {names[number]}" for number in range(row, len(names), rows)))
        self._out.print(legend)
        caught = sum(twin["caught"] for twin in matrix["twins"])
        self._out.print()
        self._out.print(Text.assemble(
            (f"{caught} caught", "green"), "  ",
            (f"{len(matrix['missed'])} missed", "red" if matrix["missed"] else "green"), "  ",
            (f"{len(matrix['false_alarms'])} false alarms", "red" if matrix["false_alarms"] else "green")))


    def coverage(self, table: Iterable[Row]) -> None:
        """Every number with what checks it; scenarios that ran are coloured by their verdict."""
        shown = Table(box=None, pad_edge=False, header_style="bold")
        for heading in ("", "what it says", "checked by", "twins"):
            shown.add_column(heading, overflow="fold")
        for row in table:
            words = [Text.assemble((use.scenario, COLOURS.get(use.verdict or "", "")), *(f" ({w})" for w in (
                use.verdict, "recorded" if use.recorded else None) if w)) for use in row.scenarios]
            words += [Text(f"test {short(test)}") for test in row.elsewhere]
            more = [Text(f"+{len(words) - 4}", style="dim")] if len(words) > 4 else []
            checked = Text(", ").join(words[:4] + more) if words else Text(
                f"not here: {row.not_on_standin or 'nothing, and nothing says why'}", style="dim")
            shown.add_row(row.id, row.title, checked, ", ".join(row.twins))
        self._out.print(shown)


def _marks(names: Sequence[str], verdicts: Mapping[str, str]) -> Text:
    ran = {name: (MARKS[verdict], COLOURS[verdict]) for name, verdict in verdicts.items()}
    return Text.assemble(*(ran.get(name, ("·", "dim")) for name in names))


def _endings(sides: list[list[str]]) -> str:
    """The distinct endings of a scenario's connections."""
    shown = dict.fromkeys(" ".join(end.upper() for end in ending) or "-" for ending in sides)
    return ", ".join(shown)


def _events(disconnects: Sequence[Mapping[str, Any]]) -> str:
    return _folded([call_words(call) for call in disconnects])


def _transfers(receives: Sequence[Mapping[str, Any]]) -> str:
    return _folded([f"{r['length']} B" if r["status"] == "00000000" else str(r["status"]) for r in receives])


def _folded(words: list[str]) -> str:
    """The first few, and how many more."""
    return ", ".join(words[:3]) + (f" (+{len(words) - 3})" if len(words) > 3 else "")
