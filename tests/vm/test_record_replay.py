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


def test_a_replay_says_the_same_to_the_byte(evidence: Path, tmp_path: Path) -> None:
    bundled = wsklab("bundle", str(evidence), "--out", str(tmp_path / "bug.zip"))
    assert bundled.code == 0, bundled.stderr
    again = wsklab("replay", str(tmp_path / "bug.zip"), timeout=850)
    assert again.code == 0, again.stdout + again.stderr
    size = (evidence / "recording" / "debug.log").stat().st_size
    assert f"Identical: debug {size} bytes, agent " in again.stdout


def test_a_replay_stops_before_the_callback_and_tells_a_changed_byte(evidence: Path, tmp_path: Path) -> None:
    """The replay that stops just before the callback has not met the byte behind it that was changed; the other has."""
    changed = tmp_path / "changed"
    shutil.copytree(evidence, changed)
    log = changed / "recording" / "debug.log"
    text = log.read_bytes()
    place = text.index(b"ev=disc") + 3
    log.write_bytes(text[:place] + b"X" + text[place + 1 :])

    stopped = wsklab("replay", str(changed), "--until", "ev=Xisc", timeout=850)
    assert stopped.code == 0, stopped.stdout + stopped.stderr
    assert re.search(
        r"Stopped at instruction \d+, before the debug line says \(1 of 1\), at most \d+ instr", stopped.stdout
    )

    other = wsklab("replay", str(changed), timeout=850)
    assert other.code == 1, other.stdout + other.stderr
    line = text.count(b"\n", 0, place) + 1
    assert f"Differs: the debug line at byte {place} (line {line})." in other.stdout
    assert re.search(r"recorded: .*ev=Xisc.*\n +replayed: .*ev=disc", other.stdout)

    flip(changed / "recording" / "rr.bin")
    damaged = wsklab("replay", str(changed))
    assert damaged.code == 2 and "SHA-256 differs" in damaged.stderr
