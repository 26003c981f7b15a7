"""Evidence on disk: what was written is what is read, and a file that is damaged anywhere is refused."""

from __future__ import annotations

import json
import zlib
from dataclasses import MISSING, FrozenInstanceError, fields
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.observe import observation
from wsklab.orchestrator.observe.driver_lines import OtherLine, own_line
from wsklab.orchestrator.observe.foreign_lines import ForeignDisconnect, ForeignLine, foreign_line
from wsklab.orchestrator.observe.machine_events import MachineReset, MachineShutdown
from wsklab.orchestrator.observe.observation import KINDS, Observation, ObservationFile

OPEN = (ForeignLine, ForeignDisconnect)

OTHER_NAMES = st.dictionaries(st.text("xyz", min_size=1, max_size=3), st.booleans() | st.integers() | st.text())


def made_up(kind: type[Observation]) -> st.SearchStrategy[Observation]:
    """Draw observations of a kind, with whatever its fields may have."""
    hints = get_type_hints(kind)
    values = {field.name: st.from_type(hints[field.name]) for field in fields(kind) if field.default is MISSING}
    return st.builds(kind, **(values | {"more": OTHER_NAMES} if issubclass(kind, OPEN) else values))


OBSERVATIONS = st.lists(
    st.sampled_from(sorted(KINDS.values(), key=lambda kind: kind.__name__)).flatmap(made_up), max_size=6
)

A_FOLDER_WILL_DO = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def test_an_observation_is_a_value_of_its_kind() -> None:
    gone = MachineShutdown(t=1, machine="peer", detail="x")
    assert gone == MachineShutdown(t=1, machine="peer", detail="x", conn=None, early=False)
    assert (
        len({gone, MachineShutdown(t=1, machine="peer", detail="x"), MachineReset(t=1, machine="peer", detail="x")})
        == 2
    )
    assert repr(gone) == "MachineShutdown(t=1, conn=None, machine='peer', detail='x', early=False)"
    with pytest.raises(FrozenInstanceError, match="'t'"):
        gone.t = 2  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError, match="'t'"):
        del gone.t
    with pytest.raises(TypeError, match="made without machine"):
        MachineShutdown(t=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="has no nothing"):
        MachineShutdown(t=1, machine="peer", detail="x", nothing=1)  # type: ignore[call-arg]


@A_FOLDER_WILL_DO
@given(OBSERVATIONS)
def test_what_was_written_is_read(tmp_path: Path, observations: list[Observation]) -> None:
    observation.write(tmp_path / "o.jsonl", observations)
    assert observation.read(tmp_path / "o.jsonl") == ObservationFile(tuple(observations), cut=False)


@A_FOLDER_WILL_DO
@given(OBSERVATIONS.filter(bool), st.data())
def test_one_changed_byte_is_refused_with_its_line(
    tmp_path: Path, observations: list[Observation], data: st.DataObject
) -> None:
    path = tmp_path / "o.jsonl"
    observation.write(path, observations)
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 2))  # without the last newline, all is a line that was not finished
    content[at] ^= data.draw(st.integers(1, 255))
    line = bytes(content[:at]).count(b"\n") + 1
    path.write_bytes(content)
    with pytest.raises(UsageError, match=rf"o\.jsonl:{line}: this line is damaged"):
        observation.read(path)


@A_FOLDER_WILL_DO
@given(OBSERVATIONS.filter(lambda observations: len(observations) > 1), st.data())
def test_a_line_that_is_missing_or_moved_is_refused(
    tmp_path: Path, observations: list[Observation], data: st.DataObject
) -> None:
    path = tmp_path / "o.jsonl"
    observation.write(path, observations)
    lines = path.read_bytes().splitlines(keepends=True)
    taken = lines.pop(data.draw(st.integers(0, len(lines) - 2)))
    if data.draw(st.booleans()):
        lines.append(taken)
    path.write_bytes(b"".join(lines))
    with pytest.raises(UsageError, match="this line is damaged, or one before it is missing"):
        observation.read(path)


@A_FOLDER_WILL_DO
@given(OBSERVATIONS.filter(bool), st.data())
def test_a_killed_run_leaves_out_its_last_line_and_says_so(
    tmp_path: Path, observations: list[Observation], data: st.DataObject
) -> None:
    path = tmp_path / "o.jsonl"
    observation.write(path, observations)
    content = path.read_bytes()
    last = content.rstrip(b"\n").rfind(b"\n") + 1
    path.write_bytes(content[: data.draw(st.integers(last + 1, len(content) - 1))])
    assert observation.read(path) == ObservationFile(tuple(observations[:-1]), cut=True)


def written(path: Path, line: dict[str, Any]) -> Path:
    """Return a file of one line whose sum is right."""
    text = json.dumps(line, separators=(",", ":"))
    path.write_text(f'{text[:-1]},"crc":"{zlib.crc32(text.encode()):08x}"}}\n', encoding="utf-8")
    return path


END = {"t": 1, "source": "lab", "kind": "end", "conn": None, "data": {}}
CANARY = {"t": 1, "source": "lab", "kind": "canary", "conn": None, "data": {"when": "before", "seen": True}}


@pytest.mark.parametrize("line", [END, CANARY])
def test_a_line_that_is_known_is_read(tmp_path: Path, line: dict[str, Any]) -> None:
    (read,) = observation.read(written(tmp_path / "o.jsonl", line)).observations
    assert (read.source, read.kind, read.t) == (line["source"], line["kind"], 1)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (END | {"kind": "unheard-of"}, "no observation of the lab is called unheard-of"),
        (END | {"source": "moon"}, "no observation of the moon is called end"),
        (END | {"source": "driver"}, "no observation of the driver is called end"),
        (END | {"data": {"detail": "x"}}, "end of the lab: there is no detail in it"),
        (END | {"more": 1}, "it is no observation"),
        (END | {"t": True}, "it is no observation"),
        (END | {"conn": "0"}, "it is no observation"),
        (CANARY | {"data": {"when": "before"}}, "canary of the lab: seen is missing"),
        (CANARY | {"data": {"when": "before", "seen": 1}}, "canary of the lab: 1 is no bool"),
        (CANARY | {"data": []}, "it is no observation"),
    ],
)
def test_a_line_that_is_not_understood_is_refused_with_its_number(
    tmp_path: Path, line: dict[str, Any], says: str
) -> None:
    path = written(tmp_path / "o.jsonl", line)
    with pytest.raises(UsageError, match=rf"o\.jsonl:1: this version does not understand this line \({says}\)"):
        observation.read(path)


@pytest.mark.parametrize(
    ("word", "data"), [("news", {}), ("done", {"op": "close", "id": 3}), ("clean", {"sockets": "x"})]
)
def test_a_line_of_the_driver_that_has_not_what_its_word_promises_still_counts(
    word: str, data: dict[str, object]
) -> None:
    assert own_line(word, 5, 1, 77, "said", data) == OtherLine(t=5, conn=1, seq=77, text="said")


def test_a_pattern_may_tell_anything_under_names_of_its_own() -> None:
    told = foreign_line("disc", 5, 0, "bye", {"flags": True, "abortive": True, "after": 9})
    assert told == ForeignDisconnect(t=5, conn=0, text="bye", flags=1, abortive=True, more={"after": 9})


@pytest.mark.parametrize("line", [b"{}", b"[]", b"", b'{"t":1,"source":"driver","kind":"x","conn":null,"data":{}}'])
def test_a_line_that_was_not_written_here_is_refused(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "o.jsonl").write_bytes(line + b"\n")
    with pytest.raises(UsageError, match=r"o\.jsonl:1"):
        observation.read(tmp_path / "o.jsonl")


def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        observation.read(tmp_path / "o.jsonl")
