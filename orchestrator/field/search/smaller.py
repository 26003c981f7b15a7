"""Smaller scenarios out of one that fails: steps, connections, expectations and arguments are left out. Pure.

Delta debugging (Zeller, Hildebrandt 2002) over the typed document, never over its text. `reduced` asks whether a
smaller document still fails by yielding it; what it returns cannot lose any single element.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Generator, Iterator
from copy import deepcopy
from hashlib import sha256
from typing import Any

from pydantic import ValidationError

from wsklab.orchestrator.scenario.scenario import Scenario

_TALK = (frozenset({"driver send", "peer receive"}), frozenset({"peer send", "driver receive"}))
"""What goes on between the two sides: the actor and the verb of either."""

_WAITING = frozenset({"receive", "await"})
"""Verbs of steps that wait for what another step does."""

Document = dict[str, Any]
Asking = Generator[Document, bool, Document]

JUDGED_LAST = ("receive", "send", "indication", "order", "peer")
"""Expectations that may be left out. Those of the wire and of the events stay: they say what the failure is."""


def key(document: Document) -> str:
    """Return the same for the same document."""
    return sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:16]


def valid(document: Document) -> Scenario | None:
    """Return the scenario that a document describes; None if the language does not allow it."""
    try:
        return Scenario.model_validate(document)
    except ValidationError:
        return None


def size(document: Document) -> int:
    """How many elements it has: steps, their arguments, and connections."""
    return sum(1 + len(list(_numbers(step))) for step in document["steps"]) + int(document.get("connections", 1))


def reduced(document: Document) -> Asking:
    """Make a document smaller until nothing more can be left out."""
    halves = True
    while True:
        before = key(document)
        document = yield from _fewer_connections(document)  # first: the steps of the others go with them
        document = yield from _fewer_kinds(document)
        document = yield from _fewer_steps(document, max(1, len(document["steps"]) // 2) if halves else 1)
        document = yield from _less_around(document)
        document = yield from _smaller_arguments(document)
        if key(document) == before and not halves:
            return document
        halves = False


def _fewer_kinds(document: Document) -> Asking:
    """Leave out all steps of one kind at a time: half of a conversation without the other stands still.

    What one side sends and the other receives goes first, then each kind of its own, those that wait for others before
    the rest. What cannot be left out at first may be when others are.
    """
    refused: set[frozenset[str]] = set()
    while True:
        kinds = Counter(map(_kind, document["steps"]))
        alone = sorted(kinds, key=lambda kind: (kind.split()[-1] not in _WAITING, -kinds[kind]))
        for group in (*_TALK, *(frozenset({kind}) for kind in alone)):
            steps = [step for step in document["steps"] if _kind(step) not in group]
            if group <= kinds.keys() and sum(kinds[kind] for kind in group) > 1 and group not in refused and steps:
                if (yield {**document, "steps": steps}):
                    document, refused = {**document, "steps": steps}, set()
                    break
                refused.add(group)
        else:
            return document


def _kind(step: Document) -> str:
    """Return a step's actor and verb."""
    actor, what = next(iter(step.items()))
    return f"{actor} {what if isinstance(what, str) else next(iter(what), '')}"


def _fewer_steps(document: Document, chunk: int) -> Asking:
    """Leave steps out, from the end: first halves, at last single ones."""
    while True:
        end = len(document["steps"])
        while end > 0:
            start = max(0, end - chunk)
            steps = document["steps"][:start] + document["steps"][end:]
            if steps and (yield {**document, "steps": steps}):
                document = {**document, "steps": steps}
            end = start
        if chunk == 1:
            return document
        chunk //= 2


def _fewer_connections(document: Document) -> Asking:
    """Try one connection, then halves."""
    while (count := document.get("connections", 1)) > 1:
        for fewer in sorted({1, count // 2, count - 1}):
            smaller = _only(document, fewer)
            if (yield smaller):
                document = smaller
                break
        else:
            return document
    return document


def _only(document: Document, count: int) -> Document:
    """Return the document with the first few of its connections."""

    def there(part: Document) -> bool:
        conn = part.get("conn", 0)
        return not isinstance(conn, int) or conn < count

    smaller = deepcopy(document)
    smaller["connections"] = count
    smaller["steps"] = [step for step in smaller["steps"] if all(there(options) for options in step.values())]
    expect = smaller.get("expect", {})
    for name, value in expect.items():
        if isinstance(value, list):
            expect[name] = [one for one in value if not isinstance(one, dict) or there(one)]
    if "each" in expect.get("wire", {}):
        expect["wire"]["each"] = [one for one in expect["wire"]["each"] if there(one)]
    return smaller


def _less_around(document: Document) -> Asking:
    """Leave out expectations that are not about the ending, and settings of the socket."""
    for part, names in (("expect", JUDGED_LAST), ("socket", tuple(document.get("socket", ())))):
        for name in names:
            if name in document.get(part, {}):
                smaller = deepcopy(document)
                del smaller[part][name]
                if (yield smaller):
                    document = smaller
    return document


def _smaller_arguments(document: Document) -> Asking:
    """Make numbers small, and leave options out."""
    for number in range(len(document["steps"])):
        for path in list(_paths(document["steps"][number])):
            while True:
                for smaller in _simpler(document, number, path):
                    if (yield smaller):
                        document = smaller
                        break
                else:
                    break
    return document


def _paths(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Where the arguments of a step are, inner ones last; its actor and its verb are not among them."""
    if len(path) > 2 or (len(path) == 2 and not isinstance(value, dict)):
        yield path
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in parts:
        yield from _paths(inner, (*path, name))


def _numbers(step: Document) -> Iterator[tuple[str | int, ...]]:
    return _paths(step)


def _simpler(document: Document, number: int, path: tuple[str | int, ...]) -> Iterator[Document]:
    """Yield the document without one argument, or with a smaller one."""
    holder: Any = document["steps"][number]
    for name in path[:-1]:
        try:
            holder = holder[name]
        except (KeyError, IndexError):
            return
    name = path[-1]
    if (isinstance(holder, dict) and name not in holder) or (isinstance(holder, list) and int(name) >= len(holder)):
        return
    value = holder[name]
    yield _with(document, number, path, None)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return
    least = 0 if isinstance(value, float) else 1
    halves = round(value / 2, 3) if isinstance(value, float) else int(value / 2)
    for smaller in dict.fromkeys((least, halves)):
        if abs(smaller) < abs(value) and (least or value - smaller > 0.01):
            yield _with(document, number, path, smaller)


def _with(document: Document, number: int, path: tuple[str | int, ...], value: float | None) -> Document:
    smaller = deepcopy(document)
    holder: Any = smaller["steps"][number]
    for name in path[:-1]:
        holder = holder[name]
    if value is None:
        del holder[path[-1]]
    else:
        holder[path[-1]] = value
    return smaller
