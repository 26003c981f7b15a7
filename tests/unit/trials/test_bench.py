"""The bench's arithmetic, and the comparison of two results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.trials import bench


def result(**series: list[float]) -> dict[str, object]:
    return bench.document({"host": "h"}, [bench.figure(name, "s", values) for name, values in series.items()], {})


def test_a_figure_has_its_spread() -> None:
    f = bench.figure("x", "s", [float(v) for v in range(100, 0, -1)])
    assert (f.n, f.median, f.p95, f.least, f.most) == (100, 50.5, 95.0, 1.0, 100.0)
    one = bench.figure("x", "s", [2.0])
    assert (one.median, one.p95, one.least, one.most) == (2.0, 2.0, 2.0, 2.0)


def test_a_comparison_tells_change_from_spread() -> None:
    before, after = result(a=[1.0, 1.2], b=[2.0], gone=[1.0], z=[0.0]), result(b=[1.0], a=[1.1, 1.3], z=[0.0])
    changes = bench.compare(before, after)
    assert [(c.name, c.percent, c.real) for c in changes] == [("a", 9.1, False), ("b", -50.0, True), ("z", None, False)]


def test_a_result_is_read_from_its_file_or_its_folder(tmp_path: Path) -> None:
    (tmp_path / "bench.json").write_text(json.dumps(result(a=[1.0])))
    assert bench.read(tmp_path) == bench.read(tmp_path / "bench.json")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 2, "figures": []}', '{"schema": 1, "figures": [{}]}'])
def test_what_is_no_result_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "bench.json").write_text(text)
    with pytest.raises(UsageError, match=r"bench\.json"):
        bench.read(tmp_path)


def test_the_parts_without_machines_give_figures() -> None:
    assert [f.name for f in bench.wire_figures(0.01)] == ["wire: added latency", "wire: frames"]
    assert bench.kd_figure(1).median > 0
