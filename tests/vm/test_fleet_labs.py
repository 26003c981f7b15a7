"""Real labs on workers, each with a cache of its own, give what one lab gives; a fresh one takes a kept snapshot."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support import driver_package
from support.command import pids_of, read_until, run, start, wsklab
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
        driver_package.make(tmp_path / "package" / "old", "1.3.0.0")
        driver_package.make(tmp_path / "package", "1.4.0.0")
        profile = driver_package.profile(tmp_path / "package", "upgrade_from: old/echo.inf")
        packed = run(tmp_path / "packed", "--driver", str(profile), "any-close", "--fleet", made.address, **store)
        assert (packed.code, packed.verdicts["any-close"]) == (0, "pass"), packed.stdout + packed.stderr
        assert packed.results["driver"]["package"]["upgraded_from"] == "1.3.0.0"
        published = wsklab("fleet", "publish", "--snapshots", WSKLAB_CACHE=str(tmp_path / "worker-0"), **store)
        assert "publishing the kept snapshot" in published.stdout, published.stderr
        for process in made.workers:
            process.signal(signal.SIGKILL)
        made.add(1).said("worker ")
        again = run(tmp_path / "again", "linger-zero", "--fleet", made.address, **store)
        assert (again.code, again.verdicts) == (0, {"linger-zero": "pass", "driver-unload": "pass"})
        assert saved(tmp_path / "worker-2") == saved(tmp_path / "worker-0") != set(), "it has not booted one of its own"
    assert pids_of(tmp_path) == []


SLOW = """\
name: slow
title: Time passes before the peer closes
steps:
  - driver: {connect: peer}
  - driver: {enable: [disconnect]}
  - lab: {wait: 1.5}
  - peer: {close: {}}
  - driver: {await: disconnect}
expect:
  wire: {peer: fin}
  disconnect: [{abortive: clear}]
"""
ROWS = 50


@contextmanager
def disk_of_its_own(folder: Path) -> Iterator[None]:
    """Mount a disk on a folder, so that it can be filled without filling the host's (tmpfs(5))."""
    folder.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2g,mode=0700", "wsklab-test", str(folder)], check=False)
    if made.returncode:
        pytest.skip("needs to mount a disk that it can fill")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path) -> None:
    """Leave no byte on a disk."""
    with (folder / "filling").open("wb", buffering=0) as file:
        try:
            while file.write(bytes(1 << 20)):
                pass
        except OSError:
            return


def test_whatever_happens_to_real_workers_no_row_is_lost_and_none_counted_twice(tmp_path: Path) -> None:
    """Of three, one is killed, one stopped and back from the dead, one's disk full; and the scheduler starts again."""
    scenario = tmp_path / "slow.yaml"
    scenario.write_text(SLOW)
    where = {"WSKLAB_FLEET_STORE": str(tmp_path / "store"), "WSKLAB_ACCEL": "tcg"}
    folder = tmp_path / "run"
    with disk_of_its_own(tmp_path / "worker-2"), fleet(tmp_path, workers=3, labs=1) as made:
        killed, stopped, _ = made.workers
        warm = run(tmp_path / "warm", "linger-zero", "--repeat", "6", "--fleet", made.address, **where)
        assert warm.code == 0, warm.stdout + warm.stderr
        with start(folder, str(scenario), "--repeat", str(ROWS), "--fleet", made.address, **where) as client:
            read_until(client, "slow")
            killed.signal(signal.SIGKILL)
            stopped.signal(signal.SIGSTOP)
            read_until(client, "was lost: what it had is played elsewhere")
            read_until(client, "nothing was heard of ")
            made.restart_scheduler()
            read_until(client, "the scheduler is back")
            stopped.signal(signal.SIGCONT)
            read_until(client, "fleet: 2 workers with 2 slots")
            fill(tmp_path / "worker-2")
            read_until(client, "MiB of disk are free")
            rest, errors = client.communicate()
        assert client.returncode == 0, rest + errors
        document = json.loads((folder / "results.json").read_text())
        found = [row for row in document["scenarios"] if row["name"] == "slow"]
        assert document["state"] == "complete"
        assert [row["repeat"] for row in found] == list(range(1, ROWS + 1)), "each row, once, in order"
        assert {row["verdict"] for row in document["scenarios"]} == {"pass"}
        assert [row for row in found if any("given to another worker" in told for told in row["findings"])]
        told = {json.loads(line)["what"] for line in (folder / "fleet.jsonl").read_text().splitlines()}
        assert told >= {"lost", "silent", "failed"}
        assert wsklab("judge", str(folder)).code == 0
    assert pids_of(tmp_path) == []
