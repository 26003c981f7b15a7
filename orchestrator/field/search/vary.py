"""Scenarios near a given one: other gaps, sizes of segments, pending receives, orders, numbers of connections. Pure.

What is varied are things that a capture does not fix and that no expectation depends on, so that a driver which is
right passes all of them. A variation is drawn from its seed alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from copy import deepcopy

from wsklab.orchestrator.field.search.smaller import Document, valid

LONGEST_GAP = 0.3
"""Seconds of a gap that is put in: longer than a delayed ACK, shorter than any time-out that ends a connection."""

MOST_CONNECTIONS = 4

_SHARED = frozenset({"kill", "exit", "destroy", "vanish", "freeze", "sysctl", "close-listener", "close-all"})
"""Verbs of the peer that touch more than one connection."""

_OWN = frozenset({"connect", "enable", "receive", "send", "disconnect", "close", "await"})
"""Verbs of the driver that can be done once for each connection."""

Dimension = Callable[[Document, random.Random], str | None]


def varied(document: Document, seed: str) -> tuple[Document, list[str]]:
    """Draw a variation; returns it with what was varied, which is nothing where nothing can be."""
    drawn = random.Random(seed)
    dimensions = list(DIMENSIONS)
    drawn.shuffle(dimensions)
    wanted = 1 if drawn.random() < 0.5 else drawn.randint(2, len(dimensions))
    words: list[str] = []
    for dimension in dimensions:
        if len(words) == wanted:
            break
        other = deepcopy(document)
        word = dimension(other, drawn)
        if word is not None and valid(other) is not None:
            document = other
            words.append(word)
    return document, words


def _story(document: Document) -> range:
    """Return the places between the opening and the last step, where something may be put in."""
    steps = document["steps"]
    opened = [n for n, step in enumerate(steps) if {"connect", "accept", "listen"} & set(_verbs(step))]
    return range(max(opened, default=0) + 1, len(steps))


def _verbs(step: Document) -> list[str]:
    return [verb for options in step.values() if isinstance(options, dict) for verb in options]


def _gap(document: Document, drawn: random.Random) -> str | None:
    """Add a pause, or make one shorter."""
    waits = [n for n, step in enumerate(document["steps"]) if "wait" in step.get("lab", {})]
    if waits and drawn.random() < 0.5:
        place, part = drawn.choice(waits), round(drawn.uniform(0.2, 1.0), 2)
        arguments = document["steps"][place]["lab"]["wait"]
        arguments["seconds"] = round(arguments["seconds"] * part, 3)
        return f"step {place + 1} waits {arguments['seconds']} s"
    places = _story(document)
    if not places:
        return None
    place, seconds = drawn.choice(places), round(LONGEST_GAP * drawn.random() ** 3, 4)
    document["steps"].insert(place, {"lab": {"wait": {"seconds": seconds}}})
    return f"{seconds} s before step {place + 1}"


def _boundary(document: Document, drawn: random.Random) -> str | None:
    """Return a send of the peer in two."""
    expect = document.get("expect", {})
    if expect.get("receive") is not None or expect.get("indication") is not None:
        return None
    places = [
        n
        for n, step in enumerate(document["steps"])
        if step.get("peer", {}).get("send", {}).get("length", 0) > 1 and not step["peer"]["send"].get("cork")
    ]
    if not places:
        return None
    place = drawn.choice(places)
    whole = document["steps"][place]
    first = drawn.randint(1, whole["peer"]["send"]["length"] - 1)
    rest = deepcopy(whole)
    rest["peer"]["send"]["length"] -= first
    whole["peer"]["send"]["length"] = first
    document["steps"].insert(place + 1, rest)
    _more_receives(document, 1)
    return f"step {place + 1} sends {first} bytes, then the rest"


def _more_receives(document: Document, more: int) -> bool:
    for step in document["steps"]:
        receive = step.get("driver", {}).get("receive")
        if receive is not None and "waitall" not in receive.get("flags", []):
            receive["count"] = receive.get("count", 1) + more
            return True
    return False


def _receives(document: Document, drawn: random.Random) -> str | None:
    """More pending receives: with fewer, bytes stay unread, and the driver's close is another one."""
    if document.get("expect", {}).get("receive") is not None:
        return None
    more = drawn.randint(1, 4)
    return f"{more} pending receives more" if _more_receives(document, more) else None


def _delay(document: Document, drawn: random.Random) -> str | None:
    """Return a segment that is late, and yet there before the next step: behind an end it would be another story."""
    sends = [n for n in _story(document) if "send" in _verbs(document["steps"][n])]
    if not sends or document.get("connections", 1) != 1:
        return None
    place, seconds = drawn.choice(sends), round(drawn.uniform(0.005, 0.15), 3)
    sender = next(iter(document["steps"][place]))
    hold = {"from": sender, "segment": "data", "seconds": seconds}
    document["steps"].insert(place + 1, {"lab": {"wait": {"seconds": round(2 * seconds, 3)}}})
    document["steps"].insert(place, {"wire": {"hold": hold}})
    return f"a segment of the {sender} in step {place + 1} is {seconds} s late"


def _order(document: Document, drawn: random.Random) -> str | None:
    """Two sends beside each other, one of either side, in the other order."""
    if document.get("expect", {}).get("order"):
        return None
    steps = document["steps"]
    sides = [next(iter(step)) if "send" in _verbs(step) else "" for step in steps]
    places = [n for n in range(len(steps) - 1) if {sides[n], sides[n + 1]} == {"driver", "peer"}]
    if not places:
        return None
    place = drawn.choice(places)
    steps[place], steps[place + 1] = steps[place + 1], steps[place]
    return f"steps {place + 1} and {place + 2} in the other order"


def _connections(document: Document, drawn: random.Random) -> str | None:
    """Return the same on several connections, step by step."""
    expect, steps = document.get("expect", {}), document["steps"]
    if document.get("connections", 1) != 1 or document.get("socket", {}).get("create", "connect").startswith("accept"):
        return None
    if any(expect.get(name) for name in ("order", "receive", "send", "indication", "peer")):
        return None
    for step in steps:
        verbs = set(_verbs(step)) - {"expect", "returns", "within"}
        if "wire" in step or verbs & _SHARED or "conn" in verbs or ("driver" in step and not verbs <= _OWN):
            return None
    count = drawn.randint(2, MOST_CONNECTIONS)
    many: list[Document] = []
    for step in steps:
        actor = next(iter(step))
        copies = 1 if actor == "lab" else count
        for conn in range(copies):
            many.append({actor: {**deepcopy(step[actor]), **({"conn": conn} if conn else {})}})
    document["steps"], document["connections"] = many, count
    return f"{count} connections"


DIMENSIONS: tuple[Dimension, ...] = (_gap, _boundary, _receives, _delay, _order, _connections)
