"""A lab that cannot go on from a kept snapshot: the reason comes out, and nothing is left running."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from wsklab.orchestrator.errors import LabError
from wsklab.orchestrator.lab.lab import Lab
from wsklab.orchestrator.lab.snapshots import Unfit


@pytest.mark.parametrize("damaged", ["target", "peer"])
def test_a_disk_that_is_not_as_it_was_saved_ends_both_machines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damaged: str
) -> None:
    lab: Any = Lab(tmp_path, "tcg", SimpleNamespace(slow={"tcg": 1.0}), SimpleNamespace())  # type: ignore[arg-type]
    started: list[str] = []

    def copy(name: str, folder: Path) -> None:
        if name == damaged:
            raise Unfit(f"the disk of the {name} is not as it was saved")

    monkeypatch.setattr(lab, "_start_wire", lambda: None)
    monkeypatch.setattr(lab.peer, "start", lambda wire_end, snapshot: started.append("peer"))
    monkeypatch.setattr(lab, "_start_target", lambda driver, snapshot: fake_target())
    monkeypatch.setattr(lab.peer, "wake", lambda running: running.result())
    with pytest.raises(Unfit, match=f"the disk of the {damaged} is not as it was saved"):
        lab.resume(SimpleNamespace(copy=copy), SimpleNamespace(path=Path("x.sys"), symbols=Path("none")))
    assert started == (["peer"] if damaged == "target" else [])
    with pytest.raises(LabError, match="the lab was stopped"):
        lab._machines.power_on(SimpleNamespace())


def fake_target() -> Any:
    line = SimpleNamespace(on_line=lambda *_, **__: None)
    return SimpleNamespace(name="target", debug=line, agent=line)
