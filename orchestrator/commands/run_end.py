"""How a run ends for its user: what is printed, and the exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from wsklab.orchestrator.errors import LabError

if TYPE_CHECKING:  # the words of the command need no lab
    from wsklab.orchestrator.commands.run_options import Options
    from wsklab.orchestrator.guest.guest import Guest
    from wsklab.orchestrator.results.console import Console
    from wsklab.orchestrator.results.results import Results


def told(options: Options, folder: Path, results: Results, guest: Guest, console: Console) -> None:
    """Say what came of a run, and what it proves; with --json that is its document alone."""
    if options.as_json:
        console.document(_document(folder, results))
        return
    if results.scenarios:
        console.table(results)
    console.totals(results)
    if not guest.qualifying:
        console.line(
            "The target is the stand-in, not Windows: this proves the lab and the driver's logic, it does "
            "not qualify a driver."
        )
        console.line(checks(guest, options.concurrent))
    if (folder / "report.html").exists():
        console.line(f"Report: {folder / 'report.html'}")
    console.tell_server(results, folder)


def checks(guest: Guest, concurrent: bool = False) -> str:
    """Return the sentence that says which of the stand-in's checks were on."""
    from wsklab.orchestrator.guest.guest import STRICT_CHECKS

    if guest.strict is None:
        return "Strict checks: off (--strict)."
    on = [*STRICT_CHECKS, *(["concurrency"] if concurrent else [])]
    return f"Strict checks: {', '.join(on)}, simulated; drawn from the seed {guest.strict}."


def _document(folder: Path, results: Results) -> str:
    """results.json; of a run whose folder is gone or full, what is known without it."""
    try:
        text = (folder / "results.json").read_text(encoding="utf-8")
        if json.loads(text)["state"] == results.state:
            return text
    except (OSError, ValueError):
        pass
    return results.as_text()


def ended(results: Results) -> int:
    """Return the exit code of a run.

    One that was cut short ends as any command does: raises KeyboardInterrupt, LabError.
    """
    if results.state == "interrupted":
        raise KeyboardInterrupt
    if results.state == "aborted":
        raise LabError(str(results.why))
    return results.exit_code
