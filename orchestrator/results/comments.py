"""What the driver did and was told, as comments on the frames of the recording, for Wireshark. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence

from wsklab.orchestrator.observe.base import Observation
from wsklab.orchestrator.observe.driver_lines import CanaryLine, Clean, DriverLine
from wsklab.orchestrator.observe.lab_notes import EndOfStory
from wsklab.orchestrator.observe.wire_frames import FrameSeen
from wsklab.orchestrator.results import calls
from wsklab.orchestrator.results.story import Story

MOST = 12
"""Comments on one frame; of a longer silence on the wire the debug text has the rest."""


def of_frames(observations: Sequence[Observation], story: Story | None) -> dict[int, list[str]]:
    """Frame number -> comments: each line of the driver's on the last segment before it, and the story on its frame."""
    frames = sorted((o.t, o.number) for o in observations if isinstance(o, FrameSeen) and o.number)
    if not frames:
        return {}
    found: defaultdict[int, list[str]] = defaultdict(list)
    if story is not None:
        proven = [proof.frame for proof in story.proof if proof.frame]
        found[proven[0] if proven else frames[-1][1]].append(f"verdict: {story.text}")
    for o in observations:
        if isinstance(o, EndOfStory):
            break
        if not isinstance(o, DriverLine) or isinstance(o, (CanaryLine, Clean)):
            continue
        t, number = frames[max(0, bisect_right(frames, (o.t, len(observations) << 32)) - 1)]
        told = found[number]
        if len(told) < MOST:
            told.append(f"driver: {(o.t - t) / 1e6:+.1f} ms {calls.words(o)}")
        elif len(told) == MOST:
            told.append("driver: and more, which debug.txt has")
    return dict(found)
