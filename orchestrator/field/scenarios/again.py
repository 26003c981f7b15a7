"""A scenario that makes a captured connection's ending again, with the peer played by a program. Pure.

The steps follow the turns of the capture, and each says in a comment from which frames it comes. Of the payload only
its length is taken.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.field.endings.connections import Connection
from wsklab.orchestrator.field.endings.words import TABLE
from wsklab.orchestrator.field.scenarios import beside, exact
from wsklab.orchestrator.field.scenarios.exact import Played
from wsklab.orchestrator.field.scenarios.steps import Maker


def scenario(
    one: Connection,
    name: str,
    ending: str | None = None,
    real_time: bool = False,
    source: str = "",
    played: list[Played] | None = None,
) -> str:
    """Write the scenario for a connection. `ending`: the row to make, of those named. Raises UsageError.

    `played`: the segments of the peer, which the wire is to play; None: a program is the peer.
    """
    number = _chosen(one, ending)
    plan = Maker(one, number, real_time).plan()
    if played is None:
        plan.notes += why_not(one)
    else:
        exact.without_peer(plan)
    story = one.story
    listens = story.opener != one.driver
    told = TABLE.get(number, "an ending from a capture")
    lines = [
        f"# Made from {source or 'a capture'}, connection {one.number}: {one.names[0]} and {one.names[1]}.",
        f"# The capture's ending: {number} {TABLE.get(number, 'without a row of its own')}.",
        "# Lengths are the capture's, bytes are the lab's pattern. Order is kept, and the pauses that matter.",
        *(f"# Not made again: {note}" for note in plan.notes),
        f"name: {name}",
        f"title: {json.dumps(told[:1].upper() + told[1:])}",
        "tags: [field]",
        *([f"covers: [{number}]"] if number in TABLE else []),
    ]
    create, family = "accept" if listens else "connect", "ipv6" if ":" in one.addresses[0] else "ipv4"
    if listens or family == "ipv6":
        lines.append(f"socket: {{create: {create}, family: {family}}}")
    lines.append("steps:")
    lines += exact.step(played) if played is not None else []
    width = min(max(len(step) for step, _ in plan.steps), 70)
    lines += [f"  - {step:{width}}  # {why}" if why else f"  - {step}" for step, why in plan.steps]
    lines.append("expect:")
    peer = "" if plan.faulty else f"peer: {_words(plan.peer)}"
    driver = "" if plan.undocumented else f"driver: {_words(plan.driver)}"
    lines.append(f"  wire: {{{', '.join(part for part in (peer, driver) if part)}}}")
    lines.append(f"  disconnect: [{', '.join(plan.calls)}]")
    lines += ["capture:  # as captured, for the report: seconds, who, flags, bytes"]
    lines += [f"  - {text}" for text in beside.kept(one)]
    return "\n".join(lines) + "\n"


def _words(words: list[str]) -> str:
    return "none" if not words else words[0] if len(words) == 1 else f"[{', '.join(words)}]"


def _chosen(one: Connection, ending: str | None) -> str:
    fits = one.ending
    named = [n.number for n in (*fits.named, *fits.way) if n.number]
    if ending is None:
        return fits.named[0].number
    if ending not in named:
        raise UsageError(
            f"connection {one.number} does not look like {ending}; what fits is {', '.join(named) or 'no row'}."
        )
    return ending


def why_not(one: Connection) -> Iterator[str]:
    """Yield what of a connection a program at the peer's side cannot be made to do, a clause each."""
    for end in one.story.ends:
        if end.side != one.driver and end.segment.length and end.word == "rst":
            yield f"frame {end.segment.frame}: an RST with {end.segment.length} bytes of payload"
    if one.story.halves[1 - one.driver].out_of_order:
        yield "the order in which the peer's segments arrived"
    if not one.story.opened[0]:
        yield "what was sent before the capture began"
