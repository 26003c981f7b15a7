"""How findings put things: connections, endings, counts, statuses. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from wsklab.orchestrator.judge.reading import Facts, succeeded


def conn_of(facts: Facts, conn: int) -> str:
    """Which connection a sentence is about, where there are several."""
    return f"connection {conn}: " if facts.scenario.connections > 1 else ""


def ending_words(ending: Sequence[str]) -> str:
    """Return the segments of an ending."""
    return " then ".join(word.upper() for word in ending) or "neither FIN nor RST"


def times(count: int) -> str:
    """How often."""
    return {0: "not at all", 1: "once", 2: "twice"}.get(count, f"{count} times")


def status_words(status: int | None) -> str:
    """Return an NTSTATUS, None where an IRP never came back."""
    if status is None:
        return "no completion"
    return f"{'success' if succeeded(status) else 'failure'} ({status:08x})"
