"""What was told and what was on the wire, in lines for a console. Pure."""

from __future__ import annotations

from wsklab.orchestrator.judge.reading import Facts
from wsklab.orchestrator.results.ladder import story
from wsklab.orchestrator.results.results import call_words

MOST = 40
"""Lines of the course of events; the page has all of them."""


def told(facts: Facts) -> str:
    """Return what a test saw: the events with their flags, the endings on the wire, and the course of events."""
    seen = facts.summary()
    events = "; ".join(call_words(call) for call in seen["disconnects"]) or "none"
    lines = [f"told (WskDisconnectEvent): {events}"]
    for number in facts.connections:
        where = "" if len(facts.connections) == 1 else f", connection {number}"
        peer, driver = seen["wire"]["peer"][number], seen["wire"]["driver"][number]
        if peer or driver or number == 0:
            lines.append(f"on the wire{where}: peer sent {_ends(peer)}; driver sent {_ends(driver)}")
        if number == 7:  # of a thousand connections the page tells
            break
    rows = [row for row in story(facts.all) if not row.text.startswith(("canary", "barrier"))]
    if len(rows) > MOST:
        lines.append(f"({len(rows) - MOST} earlier lines are in the evidence)")
    lines += [f"{row.ms:9.1f} ms  {row.column:7} {row.arrow or ' '} {row.text}" for row in rows[-MOST:]]
    return "\n".join(lines)


def _ends(sent: list[str]) -> str:
    return ", ".join(word.upper() for word in sent) or "no FIN and no RST"
