"""A scenario recorded on real machines, and played again with neither peer nor wire."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from support.command import run, wsklab
from support.damage import flip

pytestmark = pytest.mark.vm


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Provide the evidence folder of a recorded run that passed."""
    folder = tmp_path_factory.mktemp("recorded") / "run"
    recorded = run(folder, "linger-zero", "--record", timeout=850)
    assert recorded.code == 0, recorded.stdout + recorded.stderr
    assert f"Again: wsklab replay {folder}/evidence/linger-zero\n" in recorded.stdout
    return folder / "evidence" / "linger-zero"


def test_a_replay_stops_before_the_callback_and_says_the_same_to_the_byte(evidence: Path, tmp_path: Path) -> None:
    bundled = wsklab("bundle", str(evidence), "--out", str(tmp_path / "bug.zip"))
    assert bundled.code == 0, bundled.stderr
    again = wsklab("replay", str(tmp_path / "bug.zip"), "--until", "ev=disc", timeout=850)
    assert again.code == 0, again.stdout + again.stderr
    said = (evidence / "recording" / "debug.log").read_bytes()
    stopped = re.search(
        r"Stopped at instruction (\d+), (\d+) of \d+ bytes said, before the debug line says \(1 of 1\)", again.stdout
    )
    assert stopped is not None, again.stdout
    assert int(stopped[2]) <= said.rindex(b"\n", 0, said.index(b"ev=disc")) + 1, "the line had not begun"
    assert f"Identical: debug {len(said)} bytes, agent " in again.stdout


def test_a_changed_byte_is_told(evidence: Path, tmp_path: Path) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(evidence, changed)
    log = changed / "recording" / "debug.log"
    text = log.read_bytes()
    place = text.index(b"ev=load") + 3
    log.write_bytes(text[:place] + b"X" + text[place + 1 :])
    other = wsklab("replay", str(changed), timeout=850)
    assert other.code == 1, other.stdout + other.stderr
    line = text.count(b"\n", 0, place) + 1
    assert f"Differs: the debug line at byte {place} (line {line})." in other.stdout
    assert re.search(r"recorded: .*ev=Xoad.*\n +replayed: .*ev=load", other.stdout)

    flip(changed / "recording" / "rr.bin")
    damaged = wsklab("replay", str(changed))
    assert damaged.code == 2 and "SHA-256 differs" in damaged.stderr
