"""The story of a failure: what the wire did, what the driver was told, and where both are seen."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.made import recording, scenario
from support.recorded import RESET, Recording

from wsklab.orchestrator.judge.judge import judge
from wsklab.orchestrator.observe.observation import Observation
from wsklab.orchestrator.results import comments, field_bugs
from wsklab.orchestrator.results.ladder import story as ladder
from wsklab.orchestrator.results.story import Story, tell

REFERENCE = Path(__file__).parents[3] / "docs" / "reference" / "wsk.md"


def told(observations: list[Observation]) -> Story | None:
    judgement = judge(scenario(), observations)
    return tell(scenario(), observations, judgement.verdict, judgement.reasons)


def begun() -> Recording:
    """Return a connection, up to the peer's close."""
    made = Recording().opened()
    made.step("driver", "connect").step("driver", "enable").step("peer", "close")
    return made.frame("target", "S", 5000).frame("peer", "SA", 9000).frame("target", "A", 5001)


def test_a_pass_has_no_story() -> None:
    assert told(recording().ended()) is None


def test_wrong_flags_are_told_from_the_segment_to_the_rule() -> None:
    story = told(recording(flags=0).ended())
    assert story is not None
    assert re.fullmatch(
        r"The peer's RST \(frame 4, 0 ms, relative sequence number 1\) reached the target; 0 ms later "
        r"WskDisconnectEvent came with flags 0x0: ABORTIVE is clear, must be set \(R5\)\.",
        story.text,
    )
    assert [(one.source, one.frame, one.line) for one in story.proof] == [("wire", 4, None), ("driver", None, 101)]
    assert "BF55" in story.hint and "ignore the flags" in story.hint


def without_event(made: Recording) -> Recording:
    return made.frame("peer", "RA", 9001)


def dropped(made: Recording) -> Recording:
    return made.frame("peer", "RA", 9001, fate="dropped")


def forged(made: Recording) -> Recording:
    return made.frame("peer", "R", 9001, fate="forged by request: rst as peer").disconnect(0)


def crashed(made: Recording) -> Recording:
    made = made.frame("peer", "RA", 9001).disconnect(1)
    return made.add("machine", "crash", machine="target", detail="Unhandled page fault at 0")


@pytest.mark.parametrize(
    ("bend", "says"),
    [
        (without_event, "until the end of the scenario WskDisconnectEvent was called not at all, expected once"),
        (dropped, "the peer's RST (frame 4, 0 ms, relative sequence number 1) was dropped by the wire"),
        (forged, "a RST that the wire forged in the peer's name (frame 4"),
        (crashed, "later the driver's host process in the target crashed"),
    ],
)
def test_the_story_fits_what_happened(bend: Callable[[Recording], Recording], says: str) -> None:
    story = told(bend(begun()).step("driver", "await").ended())
    assert story is not None
    assert says.lower() in story.text.lower()


def test_a_lab_at_fault_is_not_told_as_the_drivers() -> None:
    story = told(begun().step("driver", "await").ended(canary=False))
    assert story is not None
    assert story.text.endswith(", so nothing is proven.") and story.hint == ""


@given(st.lists(st.sampled_from(["S", "SA", "A", "RA", "FA", "R", ""]), max_size=8), st.integers(0, 2**32 - 1))
def test_any_segments_can_be_told(flags: list[str], seq: int) -> None:
    made = Recording().opened()
    for place, one in enumerate(flags):
        made.frame("peer" if place % 2 else "target", one, (seq + place) % 2**32)
    observations = made.disconnect(0).ended()
    assert told(observations) is not None
    assert all(row.text for row in ladder(observations))


@given(st.integers(0, 2**32 - 1))
def test_numbers_count_from_the_beginning_of_the_connection_and_wrap(start: int) -> None:
    made = Recording().frame("target", "S", start)
    made.frame("target", "PA", (start + 1) % 2**32, 4).frame("target", "FA", (start + 5) % 2**32)
    said = [re.search(r"seq (\S+)", row.text) for row in ladder(made.observations)]
    assert [one[1] for one in said if one] == ["0", "1", "5"]


def test_each_hint_names_bugs_that_the_reference_has() -> None:
    known = set(re.findall(r"^\| (BF\d+) \|", REFERENCE.read_text(encoding="utf-8"), re.MULTILINE))
    assert {bug for hint in field_bugs.HINTS for bug in hint.bugs} <= known


@pytest.mark.parametrize(
    ("reason", "ending", "bug"),
    [
        ("WSK_FLAG_ABORTIVE is clear, expected set (flags 00000000)", "rst", "BF58"),
        ("WskDisconnectEvent was called not at all, expected once", "fin", "BF52"),
        ("WskDisconnectEvent was called not at all, expected once", "rst", "BF55"),
        ("WskDisconnectEvent was called not at all, expected once", "", "BF51"),
        ("the IRP of WskReceive (operation 3) completed twice (R83)", "rst", "BF9"),
        ("the driver leaks: 1 sockets left after everything was closed", "rst", "BF71"),
    ],
)
def test_a_reason_reminds_of_a_bug_from_the_field(reason: str, ending: str, bug: str) -> None:
    hint = field_bugs.hint(reason, ending)
    assert hint is not None and bug in hint.bugs


def test_frames_get_the_drivers_lines_and_the_story_as_comments() -> None:
    made = recording(flags=0)
    made.done("receive", 3, RESET)
    observations = made.ended()
    found = comments.of_frames(observations, told(observations))
    assert set(found) == {4}
    assert found[4][0].startswith("verdict: The peer's RST (frame 4")
    assert re.fullmatch(r"driver: \+0\.0 ms WskDisconnectEvent, flags 0x0", found[4][1])
    assert found[4][2].endswith("WskReceive completed: STATUS_CONNECTION_RESET")


def test_a_frame_takes_only_so_many_comments() -> None:
    made = recording()
    for number in range(50):
        made.done("send", number, 0)
    assert len(comments.of_frames(made.ended(), None)[4]) == comments.MOST + 1
