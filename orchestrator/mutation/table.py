"""What the user sees of mutants: a line each, the tables at the end, and the survivors with their diffs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wsklab.orchestrator.mutation.results import Outcome
from wsklab.orchestrator.results.console import Console

MARKS = {"caught": ("✓", "green"), "noticed": ("?", "yellow"), "survived": ("✗", "red")}


def line(console: Console, done: Outcome) -> None:
    """One line as soon as a mutant has been run, and what caught it."""
    mark, colour = MARKS[done.result]
    console.line(
        f"{done.seconds:6.1f} s  {mark} {done.result:9} {done.id}  {done.file}:{done.line} {done.operator}", colour
    )
    row = done.by or (done.rows[0] if done.rows else None)
    if row is not None:
        console.line(f"          {row.scenario}{'' if done.by else f' {row.verdict}'}: {row.reason}", "dim")


def show(console: Console, document: Mapping[str, Any]) -> None:
    """Show the tables by operator and file, and every mutant that was not caught."""
    missed = [m for m in document["mutants"] if m["result"] != "caught"]
    for mutant in missed:
        console.line(f"\n{mutant['result']}: {mutant['id']} {mutant['operator']} in {mutant['function']}", "bold")
        for row in mutant["rows"]:
            console.line(f"  {row['scenario']} {row['verdict']}: {row['reason']}", "yellow")
        if mutant["why"]:
            console.line(f"  {mutant['why']}", "yellow")
        console.line(mutant["diff"].rstrip())
    for title in ("operators", "files"):
        console.line(f"\n{title:24}   all  caught  noticed  survived", "bold")
        for name, counts in document[title].items():
            console.line(
                f"{name:24} {counts['all']:5} {counts['caught']:7} {counts['noticed']:8} {counts['survived']:9}"
            )
    totals, about = document["totals"], document["about"]
    percent = f"{100 * totals['caught'] / totals['all']:.1f} %" if totals["all"] else "none"
    console.line(
        f"\n{totals['caught']} of {totals['all']} mutants caught ({percent}), {totals['noticed']} noticed but "
        f"not blamed, {totals['survived']} survived",
        "bold",
    )
    console.line(
        f"{about['candidates']} mutants of this code in all, {about['equivalent']} of them explained as "
        f"equivalent; {about['without_effect']} of those drawn did not compile or changed nothing",
        "dim",
    )
