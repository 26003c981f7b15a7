"""How findings put things: connections, endings, counts, statuses. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from wsklab.orchestrator.judge.reading import Facts, succeeded
from wsklab.orchestrator.observe.driver_lines import BrokenRule
from wsklab.orchestrator.observe.wsk_lines import WskConnected


def conn_of(facts: Facts, conn: int) -> str:
    """Which connection a sentence is about, where there are several."""
    return f"connection {conn}: " if facts.scenario.connections > 1 else ""


def connection_of(facts: Facts, socket: int) -> str:
    """Which connection a sentence about a socket is about, where there are several: the one with the socket's ports."""
    ends = {(o.local_port, o.remote_port) for o in facts.everywhere(WskConnected) if o.socket == socket}
    for conn in facts.connections:
        ports = facts.ports(conn)
        if ports and (ports.target_port, ports.peer_port) in ends:
            return conn_of(facts, conn)
    return ""


def broken_rule(facts: Facts, rule: BrokenRule) -> str:
    """Return what the provider reports of a driver; it ends with its number of the socket, where it is about one."""
    text, _, about = rule.text.partition(" (socket ")
    number = about.removesuffix(")")
    return f"{connection_of(facts, int(number)) if number.isdecimal() else ''}the driver breaks {rule.rule}: {text}"


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
