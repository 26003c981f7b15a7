"""Bundles: made from a run's evidence, read with care, and run again in labs that are only simulated."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.trying import play_with

from wsklab.orchestrator.commands import bundle as commands
from wsklab.orchestrator.commands import minimise, repro, run
from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.field.replay import bundle

REASON = "WskDisconnectEvent (R5): WSK_FLAG_ABORTIVE is clear, expected set (frame 12)"


def made(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a run with a failure, as a bundle."""
    play_with(monkeypatch, lambda scenario: ("fail", (REASON,)))
    CliRunner().invoke(run.command, ["linger-zero", "--until-fail", "3", "--out", str(folder / "run")])
    evidence = folder / "run" / "evidence" / "linger-zero-1"
    (evidence / "scenario.yaml").write_text((folder / "run" / "failing.yaml").read_text())
    (evidence / "debug.txt").write_text("ev=disconnect flags=0\n")
    (evidence / "qmp.log").write_text("of the machine\n")
    result = CliRunner().invoke(commands.command, [str(evidence), "--out", str(folder / "x.zip")])
    assert result.exit_code == 0, result.output
    assert "fail in 1 of 1" in result.output
    return folder / "x.zip"


def again(path: Path, *words: str | Path) -> Result:
    return CliRunner().invoke(repro.command, [str(path), *(str(word) for word in words)])


def test_what_is_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(made(tmp_path, monkeypatch)) as opened:
        assert sorted(opened.namelist()) == ["bundle.json", "debug.txt", "scenario.yaml"]
        about = json.loads(opened.read("bundle.json"))
    assert about["verdict"] == "fail" and about["reasons"] == [REASON] and about["rate"] == {"failed": 1, "trials": 1}
    assert about["driver"]["sha256"] == "ab" * 32 and about["seed"] == 1
    assert set(about["images"]) == {"target", "recipe peer"}


def test_it_reproduces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = made(tmp_path, monkeypatch)
    verdicts = iter([("pass", ()), ("fail", (REASON.replace("12", "30"),))])
    play_with(monkeypatch, lambda scenario: next(verdicts))  # type: ignore[arg-type, return-value]
    result = again(path, "--out", tmp_path / "again")
    assert result.exit_code == 0, result.output
    assert "Reproduces: trial 2 ended as it did there." in result.output
    assert " here, " not in result.output, "nothing differs"


def test_it_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = made(tmp_path, monkeypatch)
    played = play_with(monkeypatch, lambda scenario: ("pass", ()))
    result = again(path, "--trials", "59", "--out", tmp_path / "again")
    assert result.exit_code == 1 and len(played) == 59
    assert "Does not reproduce: failed in 0 of 59 trials: at 95 % it fails in at most 4.95%" in result.output


def test_another_failure_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = made(tmp_path, monkeypatch)
    play_with(monkeypatch, lambda scenario: ("fail", ("it hangs",)))
    result = again(path, "--out", tmp_path / "again")
    assert result.exit_code == 1 and "Fails in another way than there." in result.output


def test_a_lab_that_makes_no_trial_proves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = made(tmp_path, monkeypatch)
    play_with(monkeypatch, lambda scenario: ("infra", ("no",)))
    assert again(path, "--out", tmp_path / "again").exit_code == 3


def test_what_differs_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = made(tmp_path, monkeypatch)
    changed = rewritten(path, tmp_path / "other.zip", driver={"profile": "wsklab", "sha256": "cd" * 32, "twin": None})
    document = json.loads(again(changed, "--json", "--out", tmp_path / "again").output)
    assert document["reproduces"] and document["differs"] == [
        "driver: wsklab abababababab here, wsklab cdcdcdcdcdcd there"
    ]


def test_another_driver_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = made(tmp_path, monkeypatch)
    changed = rewritten(path, tmp_path / "other.zip", driver={"profile": "mine", "sha256": "cd" * 32})
    error = again(changed, "--out", tmp_path / "again").exception
    assert isinstance(error, UsageError) and "is about the driver mine; name its profile with --driver" in str(error)


def test_a_minimised_scenario_goes_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    play_with(monkeypatch, lambda scenario: ("fail", (REASON,)))
    CliRunner().invoke(minimise.command, ["linger-zero", "--keep", "ABORTIVE", "--out", str(tmp_path / "m")])
    evidence = next((tmp_path / "m" / "session-1" / "evidence").iterdir())
    (evidence / "scenario.yaml").write_text((tmp_path / "m" / "whole.yaml").read_text())
    CliRunner().invoke(commands.command, [str(evidence), "--out", str(tmp_path / "x.zip")])
    read = bundle.read(tmp_path / "x.zip")
    assert read.minimised and len(read.scenario.steps) == 1
    trials = [json.loads(line)["case"] for line in (tmp_path / "m" / "trials.jsonl").read_text().splitlines()]
    assert str(read.about.rate) == "11 of 11" == f"{trials.count(trials[-1])} of 11", (
        "one made it smaller, ten were last"
    )


def rewritten(path: Path, other: Path, **changes: object) -> Path:
    """Return a bundle with other facts."""
    with zipfile.ZipFile(path) as opened, zipfile.ZipFile(other, "w") as made:
        for name in opened.namelist():
            content = opened.read(name)
            if name == "bundle.json":
                content = json.dumps({**json.loads(content), **changes}).encode()
            made.writestr(name, content)
    return other


def archive(**members: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as made:
        for name, text in members.items():
            made.writestr(name.replace("_", "."), text)
    return file.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04 and no more",
        archive(),
        archive(bundle_json="{"),
        archive(bundle_json="[" * 100_000),
        archive(bundle_json='{"schema": 2}'),
        archive(bundle_json=" " * (1 << 20)),
    ],
)
def test_what_is_no_bundle_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(UsageError):
        bundle.read(tmp_path / "x.zip")


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_bundle_gives_a_sentence_or_a_bundle(
    data: st.DataObject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.zip"
    if not (tmp_path / "whole").exists():
        (tmp_path / "whole").write_bytes(made(tmp_path, monkeypatch).read_bytes())
    content = bytearray((tmp_path / "whole").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    try:
        assert bundle.read(path).scenario.steps
    except UsageError as error:
        assert str(error).startswith(str(path))


def test_what_is_no_evidence(tmp_path: Path) -> None:
    result = CliRunner().invoke(commands.command, [str(tmp_path)])
    assert isinstance(result.exception, UsageError) and "name RUN/evidence/NAME" in str(result.exception)
