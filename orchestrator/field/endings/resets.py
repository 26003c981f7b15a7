"""Is a FIN or RST its named sender's own? Signs are weighed, since no single one decides. Pure.

Strong signs are races: the named sender goes on afterwards, or the number is not one that its stack would have used
(Weaver, Sommer, Paxson 2009). TTL, identification, window and timestamps are weaker: a stack builds an RST on another
path than its data.
"""

from __future__ import annotations

from dataclasses import dataclass

from wsklab.orchestrator.field.endings.story import End, History
from wsklab.orchestrator.field.packets.segments import STAMPED

OWN, DOUBTFUL, FOREIGN = "its sender's own", "doubtful", "not its sender's"


@dataclass(frozen=True)
class Origin:
    """Whether a segment is its sender's own, and what says so."""

    word: str
    signs: tuple[str, ...]


def origin(story: History, end: End) -> Origin:
    """Weigh the signs at one FIN or RST."""
    half = story.halves[end.side]
    signs: list[tuple[int, str]] = []
    if end.made:
        signs.append((3, "the lab's recording says that the wire made it"))
    if end.own_later:
        what = "does not count its own FIN" if end.word == "fin" else "goes on after it"
        signs.append((3, f"its sender {what}"))
    if end.offset and end.word == "rst":
        signs.append((3, f"its sequence number is {end.offset:+d} off what the receiver expects next"))
    ttl = end.segment.ttl
    others = [value for value in half.ttls if value != ttl]
    if others and half.segments > 2 and min(abs(value - ttl) for value in others) > 1 and half.ttls.get(ttl, 0) <= 2:
        signs.append((2, f"its TTL is {ttl}, other segments have {', '.join(map(str, sorted(others)))}"))
    if not end.bare:
        if half.stamps and not end.segment.marks & STAMPED and 2 * half.stamps >= half.segments - 1:
            # RFC 7323 asks for them in every segment but an RST
            signs.append((1 if end.word == "rst" else 2, "it has no timestamps, other segments do"))
        idents = [value for value in half.idents if value != end.segment.ident]
        if end.segment.ident == 0 and any(idents):
            signs.append((1, "its IP identification is 0, other segments count"))
        if end.segment.window == 0 and half.window:
            signs.append((1, "its window is 0, the last one was not"))
    score = sum(weight for weight, _ in signs)
    return Origin(FOREIGN if score >= 3 else DOUBTFUL if score == 2 else OWN, tuple(text for _, text in signs))
