"""Real labs on two workers, each with a cache of its own, give what one lab gives; one of them is killed on the way."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from support.command import pids_of, run, wsklab
from support.fleet import fleet

pytestmark = pytest.mark.vm

NAMES = ["close-graceful", "linger-zero", "half-close"]


def test_two_workers_play_a_run_and_one_is_killed(tmp_path: Path) -> None:
    store = {"WSKLAB_FLEET_STORE": str(tmp_path / "store"), "WSKLAB_ACCEL": "tcg"}
    with fleet(tmp_path, labs=1) as made:
        done = run(tmp_path / "run", *NAMES, "--repeat", "2", "--fleet", made.address, **store)
        rows = [f"{row['name']} {row['repeat']}" for row in done.results["scenarios"] if row["name"] != "driver-unload"]
        assert rows == [f"{name} {number}" for number in (1, 2) for name in NAMES], done.stdout
        assert set(done.verdicts.values()) == {"pass"}
        assert (done.code, done.results["state"]) == (0, "complete")
        assert wsklab("judge", str(done.folder)).code == 0, "the evidence has come back whole"
        for worker in ("worker-0", "worker-1"):
            assert len(list((tmp_path / worker / "images").glob("*/disk.qcow2"))) == 2, "fetched by itself"
            assert list((tmp_path / worker / "fleet" / "work").glob("*")) == []
        made.workers[0].signal(signal.SIGKILL)
        again = run(tmp_path / "again", "linger-zero", "--fleet", made.address, **store)
        assert (again.code, again.verdicts) == (0, {"linger-zero": "pass", "driver-unload": "pass"})
    assert pids_of(tmp_path) == []
