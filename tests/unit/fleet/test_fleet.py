"""A fleet of dask processes with simulated labs: what is done to workers and scheduler costs no row and adds none."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from support.fleet import Client, Fleet, fleet

from wsklab.orchestrator.commands import fleet_run
from wsklab.orchestrator.errors import LabError
from wsklab.orchestrator.fleet.client import link, seen
from wsklab.orchestrator.fleet.client.link import Begun, Link, Rows
from wsklab.orchestrator.fleet.job import back_as_json, fingerprint
from wsklab.orchestrator.fleet.needs import Needs
from wsklab.orchestrator.results import rows
from wsklab.orchestrator.results.console import Console
from wsklab.orchestrator.results.results import UNLOAD
from wsklab.orchestrator.run.preparation import Preparation


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Two workers with two slots each, for what leaves them alive."""
    with fleet(tmp_path_factory.mktemp("caches")) as made:
        yield made


def whole(client: Client, code: int = 0) -> None:
    """Every row is there, once, in the order of the suite; state and exit code are right."""
    found = rows.read(client.folder)
    asked = [(item.scenario.name, item.variant, item.number) for item in client.items]
    seen = Counter((row.name, row.variant, row.repeat) for row in found if row.name != UNLOAD)
    assert seen == Counter(asked)
    document = json.loads((client.folder / "results.json").read_text())
    assert (document["state"], document["exit_code"], document["not_run"]) == ("complete", code, {}), document["why"]
    told = [(row["name"], row["variant"], row["repeat"]) for row in document["scenarios"] if row["name"] != UNLOAD]
    assert told == asked
    unloads = [(row.variant, row.repeat) for row in found if row.name == UNLOAD]
    assert unloads
    assert len(unloads) == len(set(unloads))


def log(client: Client) -> list[dict[str, Any]]:
    """Return what did not simply come back."""
    return [json.loads(line) for line in (client.folder / "fleet.jsonl").read_text().splitlines()]


def test_every_row_comes_once_and_in_order(shared: Fleet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seen, "REMEMBERED", 1)  # of a million rows half a million were told to be late
    client = Client(tmp_path / "run", shared.address, variants=("", "e1000e"), failing=("second",))
    client.play()
    whole(client, 1)
    assert client.dispatch.late == 0
    assert {line["what"] for line in log(client)} == {"fleet"}
    assert {row.verdict for row in rows.read(client.folder) if row.name == "second"} == {"fail"}


def test_it_ends_at_the_first_failure_where_that_is_asked(shared: Fleet, tmp_path: Path) -> None:
    client = Client(tmp_path / "run", shared.address, repeat=200, failing=("fourth",))
    client.dispatch.until_fail = True
    client.results.plan = type(client.results.plan)(client.results.plan.scenarios, None, True)
    client.play()
    assert client.results.state == "complete"
    assert len(client.results.scenarios) < 400


def test_an_interruption_stops_everything_within_seconds(shared: Fleet, tmp_path: Path) -> None:
    client = Client(tmp_path / "run", shared.address, repeat=50, seconds=7200.0)
    begun = client.dispatch._handle
    under_way = list[Begun]()

    def interrupted(ledger: Any, message: Any) -> None:
        begun(ledger, message)
        under_way.extend([message] if isinstance(message, Begun) else [])
        if len(under_way) == 4:  # every slot
            signal.raise_signal(signal.SIGINT)

    client.dispatch._handle = interrupted  # type: ignore[method-assign]
    client.play()
    assert client.results.state == "interrupted"
    again = Client(tmp_path / "again", shared.address)  # every slot is free, and no row of two hours under way
    again.play()
    whole(again)


def test_a_row_that_comes_late_and_twice_is_not_counted(shared: Fleet, tmp_path: Path) -> None:
    client = Client(tmp_path / "run", shared.address)
    late = list[str]()
    add = client.run.add

    def twice(done: Any) -> Any:
        from wsklab.orchestrator.fleet.job import Back

        if done.result.name != UNLOAD:
            late.append(back_as_json(Back(done.result)))  # as if another worker had played it, too
            assert client.dispatch._link is not None
            client.dispatch._link.inbox.put(Rows(1, [late[-1]]))
        return add(done)

    client.run.add = twice  # type: ignore[method-assign]
    client.play()
    whole(client)
    assert client.dispatch.late
    assert Counter(line["what"] for line in log(client))["late"] == client.dispatch.late


def test_a_full_disk_is_no_fault_of_the_row(shared: Fleet, tmp_path: Path) -> None:
    client = Client(tmp_path / "run", shared.address, faults={"second": "full"})
    client.play()
    whole(client)
    (failed,) = [line for line in log(client) if line["what"] == "failed"]
    assert "No space left on device" in failed["why"]


def test_a_fleet_on_which_nothing_can_be_played_ends_the_run_in_a_sentence(shared: Fleet, tmp_path: Path) -> None:
    client = Client(tmp_path / "run", shared.address, faults=dict.fromkeys(("first", "second"), "nothing"))
    client.dispatch._job["lab"] = "another"
    client.play()
    assert client.results.state == "aborted"
    assert "another version of wsklab" in str(client.results.why)
    assert client.results.exit_code == 3


@dataclass
class Prepared:
    """What is known of a run's labs before anybody has one."""

    kind: str
    guests_mib: int = 900

    console = Console(quiet=True)

    @property
    def guest(self) -> Any:
        """The target's guest."""
        return SimpleNamespace(kind=self.kind, image=self.peer)

    @property
    def peer(self) -> Any:
        """An image that nobody holds."""
        return SimpleNamespace(key="a" * 64, manifest=SimpleNamespace(size_bytes=1 << 20))


def test_a_run_goes_to_the_workers_that_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WSKLAB_ACCEL", raising=False)
    with fleet(tmp_path, workers=1, labs=1) as made:
        made.add(1, "--windows", "--name", "licensed").said("worker ")
        client = Client(tmp_path / "run", made.address)
        client.dispatch.needs = Needs("windows-tcg", fingerprint(), 512.0)
        client.play()
        whole(client)
        assert len(client.dispatch._played) == 1
        preparation = cast(Preparation, Prepared("linux"))
        assert fleet_run._accelerator(made.address, preparation) == "tcg"
        monkeypatch.setattr(fleet_run, "SETTLED", 0.0)
        preparation = cast(Preparation, Prepared("linux", 10**9))
        with pytest.raises(
            LabError, match=r"licensed: \d+ MiB of memory, and a lab needs 1000000000; .*start one that"
        ):
            fleet_run._accelerator(made.address, preparation)
        nobody = Client(tmp_path / "nobody", made.address)
        nobody.dispatch.needs = Needs("windows-tcg", fingerprint(), 1e9)
        nobody.dispatch.wait = 0.0
        nobody.play()
        assert (nobody.results.state, nobody.results.exit_code) == ("aborted", 3)
        assert "licensed: " in str(nobody.results.why)
        assert "MiB of memory, and a lab needs 1000000000" in str(nobody.results.why)
        assert "no windows-tcg but lab-tcg" in str(nobody.results.why)


def test_a_killed_client_leaves_a_run_that_goes_on(shared: Fleet, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    command = [sys.executable, "-m", "support.fleet", str(folder), shared.address]
    with subprocess.Popen(command, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE) as client:
        assert client.stdout is not None
        assert [client.stdout.readline() for _ in range(3)] == [b"row\n"] * 3
        client.kill()
    before = rows.read(folder)
    again = Client(folder, shared.address, repeat=20, seconds=0.01)
    again.go_on()
    whole(again)
    assert rows.read(folder)[: len(before)] == before


def test_workers_are_lost(tmp_path: Path) -> None:
    """One is killed; another is stopped, noticed, and back from the dead when its rows are there already."""
    with fleet(tmp_path, workers=3, labs=1) as made:
        killed = Client(tmp_path / "killed", made.address, faults={"second": "kill"})
        killed.play()
        given_again(killed, "lost")
        stopped = Client(tmp_path / "stopped", made.address, faults={"second": "stop"})
        stopped.dispatch.silence = 7.0

        def wake() -> None:
            if any(row.findings for row in stopped.results.scenarios):  # it has come from elsewhere
                for worker in made.workers:
                    worker.signal(signal.SIGCONT)

        stopped.each_row(wake)
        stopped.play()
        given_again(stopped, "silent")


def given_again(client: Client, what: str) -> None:
    """Each batch that was lost cost one row at most: the one under way, or which the worker would have begun with."""
    whole(client)
    told = [row for row in rows.read(client.folder) if row.findings]
    lost = {line["batch"]: line["rows"] for line in log(client) if line["what"] in ("lost", "silent")}
    assert 1 <= len(told) <= len(lost)
    assert all([row.name, row.variant, row.repeat] in itertools.chain(*lost.values()) for row in told)
    assert any(row.name in ("first", "second") for row in told), "the one before may not have been told yet"
    for row in told:
        assert row.verdict == "pass"
        assert row.findings[0].startswith("given to another worker: ")
    assert what in {line["what"] for line in log(client)}


def test_a_row_under_which_every_worker_is_lost_is_given_up(tmp_path: Path) -> None:
    with fleet(tmp_path, workers=4, labs=1) as made:
        client = Client(tmp_path / "run", made.address, repeat=1, faults={"third": "kill"})
        marks = tmp_path / "run" / "marks"
        add = client.dispatch._note

        def forget(*words: Any) -> None:
            for mark in marks.iterdir():
                mark.unlink()
            add(*words)

        client.dispatch._note = forget  # type: ignore[method-assign, assignment]
        client.play()
        whole(client, 3)
        (row,) = [row for row in rows.read(client.folder) if row.verdict != "pass"]
        assert (row.name, row.verdict) == ("third", "infra")
        assert "tried 3 times" in row.reasons[0]


def test_the_scheduler_is_started_again(tmp_path: Path) -> None:
    with fleet(tmp_path, workers=1) as made:
        client = Client(tmp_path / "run", made.address, repeat=20, seconds=0.2)
        some = client.after(8)
        playing = threading.Thread(target=client.play)
        playing.start()
        some.wait()
        made.restart_scheduler()
        playing.join()
        whole(client)
        assert {line["why"] for line in log(client) if line["what"] == "lost"} == {"the scheduler was lost"}


def test_a_scheduler_that_is_not_there_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "CONNECT", 0.2)
    with pytest.raises(LabError, match=r"the scheduler tcp://127.0.0.1:9 cannot be reached"):
        Link("tcp://127.0.0.1:9", None, "x")
