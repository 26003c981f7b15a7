"""Tables of what came of the trials: twins and their matrix, the coverage of the rules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from wsklab.common.text import visible
from wsklab.orchestrator.results.console import COLOURS, MARKS, Console, folded
from wsklab.orchestrator.trials import twin_matrix
from wsklab.orchestrator.trials.coverage import Row, short

LEGEND_COLUMNS = 4


def show_twin(console: Console, entry: Mapping[str, Any], seconds: float) -> None:
    """One line as soon as a twin has been run: what caught it, and the first reason."""
    mark, word, colour = ("✓", "caught", "green") if entry["caught"] else ("✗", "MISSED", "red")
    console.show(Text.assemble((f"{seconds:6.1f} s  ", "dim"), (f"{mark} {word:12} ", colour), entry["name"]))
    for catch in entry["by"][:1]:
        console.show(Text(f"          {catch['scenario']}: {visible(catch['reasons'][0])}", style="dim"))
    if not entry["caught"]:
        others = {name: verdict for name, verdict in entry["verdicts"].items() if verdict != "pass"}
        seen = ", ".join(f"{name} {verdict}" for name, verdict in others.items()) or "every verdict was pass"
        console.show(Text(f"          {entry['title']}: {entry['expected']} was due; {seen}", style="red"))


def show_twin_matrix(console: Console, matrix: Mapping[str, Any]) -> None:
    """Draw twins down, scenarios that told anything across, one character each; their numbers are explained below."""
    names = twin_matrix.columns(matrix)
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("twin", no_wrap=True)
    tens = "".join(str(number // 10) if number % 10 == 0 else " " for number in range(1, len(names) + 1))
    table.add_column(f"{tens}\n" + "".join(str(number % 10) for number in range(1, len(names) + 1)), no_wrap=True)
    table.add_column("caught by", overflow="fold")
    table.add_row(
        "(correct)",
        _marks(names, matrix["correct"]["verdicts"]),
        ", ".join(alarm["scenario"] for alarm in matrix["false_alarms"]) or "nothing",
    )
    for twin in matrix["twins"]:
        by = [catch["scenario"] for catch in twin["by"]]
        missed = f"only Windows can: {twin['only_windows']}" if twin["only_windows"] else "MISSED"
        table.add_row(
            twin["name"],
            _marks(names, twin["verdicts"]),
            Text(folded(by) if by else missed, style="" if by or twin["only_windows"] else "red"),
        )
    console.line("")
    console.show(table)
    console.show(
        Text(
            "\n✓ pass  ✗ fail  ? inconclusive  ! infra  · not run (caught before)   "
            f"{len(matrix['correct']['verdicts'])} rows in all, those that always passed are left out",
            style="dim",
        )
    )
    legend = Table.grid(padding=(0, 3))
    rows = -(-len(names) // LEGEND_COLUMNS)
    for row in range(rows):
        legend.add_row(*(f"{number + 1:2} {names[number]}" for number in range(row, len(names), rows)))
    console.show(legend)
    caught = sum(twin["caught"] for twin in matrix["twins"])
    console.line("")
    console.show(
        Text.assemble(
            (f"{caught} caught", "green"),
            "  ",
            (f"{len(matrix['missed'])} missed", "red" if matrix["missed"] else "green"),
            "  ",
            (f"{len(matrix['false_alarms'])} false alarms", "red" if matrix["false_alarms"] else "green"),
        )
    )


def show_coverage(console: Console, table: Iterable[Row]) -> None:
    """Every number with what checks it; scenarios that ran are coloured by their verdict."""
    shown = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("", "what it says", "checked by", "twins"):
        shown.add_column(heading, overflow="fold")
    for row in table:
        words = [
            Text.assemble(
                (use.scenario, COLOURS.get(use.verdict or "", "")),
                *(f" ({w})" for w in (use.verdict, "recorded" if use.recorded else None) if w),
            )
            for use in row.scenarios
        ]
        words += [Text(f"test {short(test)}") for test in row.elsewhere]
        more = [Text(f"+{len(words) - 4}", style="dim")] if len(words) > 4 else []
        checked = (
            Text(", ").join(words[:4] + more)
            if words
            else Text(f"not here: {row.not_on_standin or 'nothing, and nothing says why'}", style="dim")
        )
        shown.add_row(row.id, row.title, checked, ", ".join(row.twins))
    console.show(shown)


def _marks(names: Sequence[str], verdicts: Mapping[str, str]) -> Text:
    ran = {name: (MARKS[verdict], COLOURS[verdict]) for name, verdict in verdicts.items()}
    return Text.assemble(*(ran.get(name, ("·", "dim")) for name in names))
