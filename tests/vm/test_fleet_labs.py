"""Real labs on workers, each with a cache of its own, give what one lab gives; a fresh one takes a kept snapshot."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support.command import pids_of, run, wsklab
from support.fleet import fleet

pytestmark = pytest.mark.vm

NAMES = ["close-graceful", "linger-zero", "half-close"]


def saved(cache: Path) -> set[tuple[int, int]]:
    """Return when the peer of each snapshot that a worker keeps was saved, to the nanosecond."""
    found = set()
    for disk in (cache / "snapshots").glob("*/peer.qcow2"):
        told = subprocess.run(["qemu-img", "info", "--output=json", str(disk)], check=True, capture_output=True)
        found |= {(one["date-sec"], one["date-nsec"]) for one in json.loads(told.stdout)["snapshots"]}
    return found


def test_two_workers_play_a_run_and_a_third_takes_their_place(tmp_path: Path) -> None:
    store: dict[str, Any] = {"WSKLAB_FLEET_STORE": str(tmp_path / "store"), "WSKLAB_ACCEL": "tcg"}
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
        published = wsklab("fleet", "publish", "--snapshots", WSKLAB_CACHE=str(tmp_path / "worker-0"), **store)
        assert "publishing the kept snapshot" in published.stdout, published.stderr
        for process in made.workers:
            process.signal(signal.SIGKILL)
        made.add(1).said("worker ")
        again = run(tmp_path / "again", "linger-zero", "--fleet", made.address, **store)
        assert (again.code, again.verdicts) == (0, {"linger-zero": "pass", "driver-unload": "pass"})
        assert saved(tmp_path / "worker-2") == saved(tmp_path / "worker-0") != set(), "it has not booted one of its own"
    assert pids_of(tmp_path) == []
