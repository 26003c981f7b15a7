"""Which scenarios a mutant meets with memory short: the shortest, and one that has the operation it is in. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from wsklab.orchestrator.mutation.mutants import Mutant
from wsklab.orchestrator.scenario.scenario import Scenario

ACCEPT_EVENT = "accept-event"
"""Instead of a verb: connections come by WskAcceptEvent."""

VERBS = {
    "accept": ("accept", "listen"),
    "accept_events": (ACCEPT_EVENT,),
    "addresses": ("accept", "listen"),
    "callback": ("callback",),
    "cancel": ("cancel",),
    "control": ("silent", "max_retransmit", "keepalive"),
    "disable": ("disable",),
    "disconnect": ("disconnect",),
    "release": ("release",),
    "send": ("send",),
}
"""The driver's steps that begin an operation, the soonest over first; what every scenario does is left out."""

_OPERATION = re.compile(r"WSKLAB_OP_([A-Z_]+)|\b(?:do|call|start|give)_([a-z_]+)\(")

_MORE = {"program": {"accept_events", "callback"}, "connected": {"accept"}}
"""Functions that several operations share."""


def operations(mutant: Mutant) -> set[str]:
    """Return the operations that the mutated text and its function are about, as VERBS calls them."""
    named = {(op or part).lower() for op, part in _OPERATION.findall(f"{mutant.before} {mutant.after}")}
    named.add(mutant.function.partition("_")[2])
    return set().union(*({name, name.removesuffix("s"), *_MORE.get(name, ())} for name in named)) & VERBS.keys()


def scenarios(mutant: Mutant, suite: Iterable[Scenario]) -> list[Scenario]:
    """Return the shortest fast scenario for each operation that the mutant is about."""
    usable = (s for s in suite if "fast" in s.tags and not s.self_check and not s.socket.needs_strict)
    fast = sorted(usable, key=lambda s: len(s.steps))
    found = list[Scenario]()
    for operation in sorted(operations(mutant)):
        users = (s for verb in VERBS[operation] for s in fast if _uses(s, verb))
        if (best := next(users, None)) is not None and best not in found:
            found.append(best)
    return found


def _uses(scenario: Scenario, verb: str) -> bool:
    if verb == ACCEPT_EVENT:
        return scenario.socket.create == verb
    return any(action.driver is not None and action.driver.verb == verb for action in scenario.steps)
