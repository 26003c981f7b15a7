"""What the user sees while a command works: steps with their time, rich on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console as RichConsole
from rich.table import Table
from rich.text import Text
from wsklab.orchestrator.results import Results, ScenarioResult

COLOURS = {"pass": "green", "fail": "red", "inconclusive": "yellow", "infra": "magenta", "flaky": "red"}
MARKS = {"pass": "✓", "fail": "✗", "inconclusive": "?", "infra": "!"}


class Console:
    """Steps, lines and tables on standard output; `quiet` keeps all of it back (for `--json`)."""

    def __init__(self, quiet: bool = False) -> None:
        # A file or a build server has no width; the table shall not be folded to 80 columns there.
        width = None if sys.stdout.isatty() else 140
        self._out = RichConsole(quiet=quiet, highlight=False, width=width)

    def line(self, text: str, style: str = "") -> None:
        """One line, as it is (no markup)."""
        self._out.print(Text(text, style=style))

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """A piece of work that takes a moment: a spinner while it lasts, its time when it is done."""
        began = time.monotonic()
        with self._out.status(Text(title)):
            yield
        self._out.print(Text.assemble((f"{time.monotonic() - began:6.1f} s  ", "dim"), title))

    def progress(self, text: str) -> None:
        """A note from inside a step."""
        self._out.print(Text(f"          {text}", style="dim"))

    def verdict(self, result: ScenarioResult) -> None:
        """One line as soon as a scenario is judged, its reasons below."""
        colour = COLOURS[result.verdict]
        number = f" #{result.repeat}" if result.repeat > 1 else ""
        self._out.print(Text.assemble(
            (f"{result.timing.get('total_s', 0.0):6.1f} s  ", "dim"),
            (f"{MARKS[result.verdict]} {result.verdict:12} ", colour),
            f"{result.name}{number}",
        ))
        if result.verdict != "pass":
            for reason in result.reasons:
                self._out.print(Text(f"          {reason}", style=colour))

    def table(self, results: Results) -> None:
        """The run at a glance: what ended how on the wire, and what the driver was told."""
        table = Table(box=None, pad_edge=False, header_style="bold")
        for heading in ("scenario", "wire: peer", "driver", "WskDisconnectEvent", "receives", "verdict"):
            table.add_column(heading, overflow="fold")
        for result in results.scenarios:
            wire = result.observed.get("wire", {})
            table.add_row(
                Text(result.name),
                _endings(wire.get("peer", [])),
                _endings(wire.get("driver", [])),
                _events(result.observed.get("disconnects", [])) or ("not called" if wire else ""),
                _transfers(result.observed.get("receives", [])),
                Text(result.verdict, style=COLOURS[result.verdict]),
            )
        self._out.print()
        self._out.print(table)

    def totals(self, results: Results) -> None:
        """The last line but one: how many of each."""
        parts: list[tuple[str, str] | str] = []
        for verdict, count in results.totals.items():
            if verdict != "all" and (count or verdict == "pass"):
                parts += [(f"{count} {verdict}", COLOURS[verdict]), "  "]
        self._out.print()
        self._out.print(Text.assemble(*parts))


def _endings(sides: list[list[str]]) -> str:
    """The distinct endings of a scenario's connections."""
    shown = dict.fromkeys(" ".join(end.upper() for end in ending) or "-" for ending in sides)
    return ", ".join(shown)


def _events(disconnects: list[dict[str, object]]) -> str:
    return _folded([f"{'abortive' if d['abortive'] else 'graceful'} {d['flags']:#x}" for d in disconnects])


def _transfers(receives: list[dict[str, object]]) -> str:
    return _folded([f"{r['length']} B" if r["status"] == "00000000" else str(r["status"]) for r in receives])


def _folded(words: list[str]) -> str:
    """The first few, and how many more."""
    return ", ".join(words[:3]) + (f" (+{len(words) - 3})" if len(words) > 3 else "")
