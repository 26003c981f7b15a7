"""Evidence on disk: what was written is what is read, and a file that is damaged anywhere is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.observe import observation
from wsklab.orchestrator.observe.observation import Observation, Reading

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
OBSERVATIONS = st.lists(
    st.builds(
        Observation,
        st.integers(0, 2**63),
        st.sampled_from(["driver", "wire", "peer", "machine", "lab"]),
        st.text(min_size=1, max_size=8),
        st.none() | st.integers(0, 2000),
        st.dictionaries(st.text(max_size=6), VALUES, max_size=4),
    ),
    max_size=6,
)

A_FOLDER_WILL_DO = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@A_FOLDER_WILL_DO
@given(OBSERVATIONS)
def test_what_was_written_is_read(tmp_path: Path, observations: list[Observation]) -> None:
    observation.write(tmp_path / "o.jsonl", observations)
    assert observation.read(tmp_path / "o.jsonl") == Reading(tuple(observations), cut=False)


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
    assert observation.read(path) == Reading(tuple(observations[:-1]), cut=True)


@pytest.mark.parametrize("line", [b"{}", b"[]", b"", b'{"t":1,"source":"driver","kind":"x","conn":null,"data":{}}'])
def test_a_line_that_was_not_written_here_is_refused(tmp_path: Path, line: bytes) -> None:
    (tmp_path / "o.jsonl").write_bytes(line + b"\n")
    with pytest.raises(UsageError, match=r"o\.jsonl:1"):
        observation.read(tmp_path / "o.jsonl")


def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        observation.read(tmp_path / "o.jsonl")
