"""What a capture cannot tell of a connection, whatever happened on it. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from wsklab.orchestrator.field.endings.story import History

LARGEST_SEGMENT = 9000
"""Bytes of payload: no wire carries more, so that a card or a driver has joined or will cut it."""


def limits(story: History, driver: int) -> Iterator[str]:
    """Say what is missing, a clause each."""
    syn, _, _ = story.opened
    if not syn:
        yield "who opened it, window scale and options: the handshake was not captured"
    if story.stepped:
        yield "how long something took: the capture's clock went back in between"
    for side, name in ((driver, "driver's"), (1 - driver, "peer's")):
        half = story.halves[side]
        if not half.segments:
            yield f"what the {name} side sent: only the other direction was captured"
        if half.missing:
            yield f"{half.missing} bytes of the {name} side were acknowledged but not captured"
        if half.cut:
            yield f"options of {half.cut} segments of the {name} side: cut off by the capture"
        if half.segments and 2 * half.wrong_sums > half.segments:
            yield f"damage of the {name} segments: checksums are filled in by its card, behind the capture"
        if half.largest > LARGEST_SEGMENT:
            yield f"how the {name} bytes were cut into segments: some of {half.largest} bytes are the card's work"
