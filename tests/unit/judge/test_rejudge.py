"""`wsklab judge`: the evidence alone gives every verdict again, and what comes out otherwise is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner
from support.recorded import RESET, Recording

from wsklab.orchestrator.commands.cli import main
from wsklab.orchestrator.errors import LabError, UsageError
from wsklab.orchestrator.observe import observation
from wsklab.orchestrator.observe.journal import Journal
from wsklab.orchestrator.observe.observation import Observation
from wsklab.orchestrator.results.console import Console
from wsklab.orchestrator.results.results import Results
from wsklab.orchestrator.run import runner
from wsklab.orchestrator.run.runner import Run
from wsklab.orchestrator.scenario.catalogue import BUILT_IN
from wsklab.orchestrator.scenario.scenario import load
from wsklab.qemu.logfile import LogFile


def played(flags: int) -> list[Observation]:
    """linger-zero; the driver is told of a RST by flag 1, and wrongly of a FIN by 0."""
    recording = Recording().opened().step("driver", "connect").step("driver", "enable")
    recording.call("receive", 3).step("driver", "receive", ops=[3]).frame("peer", "RA").step("peer", "close")
    recording.disconnect(flags).done("receive", 3, RESET).step("driver", "await_")
    recording.call("send", 4).done("send", 4, RESET)
    return recording.step("driver", "send", ops=[4], expect="failure").ended()


def no_lab() -> list[Observation]:
    raise LabError("the driver does not load")


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Provide the folder of a run with a pass, a fail, and a self-check whose lab failed before its first step."""
    machine = tmp_path / "lab-1"
    machine.mkdir()
    for name in ("debug.log", "qmp.log"):
        (machine / name).write_text("")
    logs = {name: LogFile(machine / name) for name in ("debug.log", "qmp.log")}
    target = SimpleNamespace(machine=SimpleNamespace(log=logs.__getitem__), unload=lambda _: None)
    lab: Any = SimpleNamespace(journal=Journal(), doubt=None, last_restore_s=0.0, target=target)
    run = Run(tmp_path, Results(run={"seed": 1}), Console(quiet=True))
    stories: list[tuple[str, Callable[[], list[Observation]]]] = [
        ("linger-zero", lambda: played(1)),
        ("linger-zero", lambda: played(0)),
        ("self-check-wrong-ending", no_lab),
    ]
    for number, (name, story) in enumerate(stories, 1):
        monkeypatch.setattr(runner, "play", lambda *_, story=story: story())
        run.one(lab, load(BUILT_IN / f"{name}.yaml"), number)
    (tmp_path / "evidence" / "driver-unload").mkdir()
    observation.write(tmp_path / "evidence" / "driver-unload" / "observations.jsonl", [])
    return tmp_path


def judged(folder: Path, *options: str) -> tuple[int, str]:
    """Exit code and output of the command."""
    done = CliRunner().invoke(main, ["judge", str(folder), *options])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


@pytest.mark.parametrize("kept", [False, True])
def test_a_first_attempt_of_which_nothing_could_be_kept_is_no_damage(recorded: Path, kept: bool) -> None:
    """Its disk was full, say; the row is that of the second attempt, which a fresh lab has played."""
    folder = recorded / "evidence"
    (folder / "linger-zero").rename(folder / "linger-zero-again")
    (folder / "linger-zero").mkdir()
    (folder / "linger-zero" / "scenario.yaml").touch()
    text = (recorded / "results.jsonl").read_text()
    row = "evidence/linger-zero-again" if kept else "evidence/gone"
    (recorded / "results.jsonl").write_text(text.replace('"evidence/linger-zero"', f'"{row}"'))
    code, said = judged(recorded)
    assert ("the first of two attempts, of which nothing was kept" in said) == kept
    assert (code, "1 damaged" in said) == ((0, False) if kept else (2, False)), said
    assert said.splitlines()[-1].startswith("3 as before" if kept else "3 as before, 2 damaged")


def test_evidence_gives_the_same_verdicts_again(recorded: Path) -> None:
    """Also of a self-check, which would pass with an `infra` that it has provoked itself."""
    code, said = judged(recorded)
    lines = [line for line in said.splitlines() if "evidence/" in line]
    assert lines == [
        "pass          evidence/linger-zero",
        "fail          evidence/linger-zero-2",
        "infra         evidence/self-check-wrong-ending-3",
    ]
    assert "the lab failed: the driver does not load" in said
    assert (code, said.splitlines()[-1]) == (0, "3 as before")


def test_one_evidence_folder_is_judged_by_itself(recorded: Path) -> None:
    code, said = judged(recorded / "evidence" / "linger-zero-2")
    assert (code, said.splitlines()[0]) == (0, "fail          linger-zero-2")


@pytest.mark.parametrize(
    ("file", "old", "new", "told"),
    [
        (
            "evidence/linger-zero-2/verdict.json",
            '"verdict": "fail"',
            '"verdict": "pass"',
            "the verdict is fail, in verdict.json it is pass",
        ),
        ("results.jsonl", '"verdict":"fail"', '"verdict":"pass"', "the verdict is fail, in the row it is pass"),
        ("results.jsonl", '"flags":0', '"flags":1', "observed: now "),
        ("evidence/linger-zero-2/scenario.yaml", "abortive: set", "abortive: clear", "in verdict.json it is fail"),
    ],
)
def test_what_comes_out_otherwise_is_named(recorded: Path, file: str, old: str, new: str, told: str) -> None:
    text = (recorded / file).read_text()
    assert old in text
    (recorded / file).write_text(text.replace(old, new))
    code, said = judged(recorded)
    (line,) = [line for line in said.splitlines() if "otherwise: " in line and told in line]
    above = said[: said.index(line)]
    assert above.rindex("evidence/linger-zero-2") > above.rindex("evidence/linger-zero\n")
    assert (code, said.splitlines()[-1]) == (1, "2 as before, 1 otherwise")


def test_damaged_evidence_gives_no_verdict(recorded: Path) -> None:
    file = recorded / "evidence" / "linger-zero" / "observations.jsonl"
    file.write_bytes(file.read_bytes().replace(b'"flags":1', b'"flags":0', 1))
    code, said = judged(recorded)
    assert f"{file}:" in said
    assert "this line is damaged" in said
    assert (code, said.splitlines()[-1]) == (2, "2 as before, 1 damaged or without evidence")


def test_a_recording_that_was_cut_is_told(recorded: Path) -> None:
    """A pass or a fail may stand in what is left; it proves nothing of the verdict that was."""
    file = recorded / "evidence" / "linger-zero" / "observations.jsonl"
    file.write_bytes(file.read_bytes() + b'{"t":1,"sou')
    code, said = judged(recorded)
    assert f"{file}: ends within a line" in said
    assert code == 2


@pytest.mark.parametrize("name", ["scenario.yaml", "observations.jsonl", "verdict.json", "."])
def test_evidence_that_is_gone_is_told(recorded: Path, name: str) -> None:
    folder = recorded / "evidence" / "linger-zero"
    gone = folder if name == "." else folder / name
    gone.rename(recorded / "elsewhere")
    code, said = judged(recorded)
    assert str(gone) in said
    assert code == 2


def test_a_program_reads_it_as_json(recorded: Path) -> None:
    (recorded / "evidence" / "linger-zero" / "verdict.json").write_text('{"verdict": "fail"}')
    code, said = judged(recorded, "--json")
    document = json.loads(said)
    assert code == document["exit_code"] == 1
    assert [(one["evidence"], one["verdict"], bool(one["differs"])) for one in document["evidence"]] == [
        ("evidence/linger-zero", "pass", True),
        ("evidence/linger-zero-2", "fail", False),
        ("evidence/self-check-wrong-ending-3", "infra", False),
    ]


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="neither the folder of a run nor one of its evidence folders"):
        CliRunner().invoke(main, ["judge", str(tmp_path)], catch_exceptions=False)
