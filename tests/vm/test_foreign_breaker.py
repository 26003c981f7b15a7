"""A foreign driver that breaks rules: each is named, and with several connections it is said on which."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from support import breaker
from support.command import Finished, run

pytestmark = pytest.mark.vm

BREACHES = breaker.breaches()
ONE_OF_A_KIND = (
    "event_keeps_irql", "releases_lock_of_another", "ends_with_mutex", "dpc_keeps_lock", "leaves_timer",
    "hands_on_too_short", "unlocks_partial", "lets_irp_go",
)  # fmt: skip
"""Of each chapter of docs/strict.md one, as each stop costs a lab; `python -m support.breaker FOLDER` tries all."""

SEVERAL = {
    "event_fails": "connection 1: the driver breaks R10: WskDisconnectEvent returned c0000001",
    "context_freed_too_soon": "connection 1: the driver breaks R4: the context of a socket was freed before",
    "never_closes": r"connection 1: socket \d+ of breaker.sys, made by WskSocketConnect, was never closed",
    "sends_when_closed": "connection 1: the driver breaks R72: WskSend on a socket that is closed",
}


def judged(folder: Path, driver: Path, provoke: str, *scenarios: str) -> Finished:
    return run(folder / "run", "--strict", "--driver", str(driver), "--provoke", provoke, *scenarios)


def test_each_rule_is_named(tmp_path: Path) -> None:
    driver = breaker.compiled(tmp_path)
    chosen = [BREACHES[name] for name in ONE_OF_A_KIND]
    done = judged(tmp_path, driver, "start:7007", *(str(breaker.scenario(one, tmp_path)) for one in chosen))
    assert done.code == 1, done.stdout + done.stderr
    assert breaker.unnamed(done.results["scenarios"]) == []


def test_each_allocation_of_the_load_fails_once(tmp_path: Path) -> None:
    """A load may fail then, but must leave nothing behind; this driver's leaves it registered, and is right else."""
    driver = breaker.compiled(tmp_path, "FORGETS_WHEN_SHORT")
    where = ("--driver", str(driver), "--provoke", "start:7007", "any-linger-zero")
    done = run(tmp_path / "run", "--scarcity", *where)
    rows = {row["name"]: row for row in done.results["scenarios"]}
    (thread,) = [
        name for name, row in rows.items() if any(": PsCreateSystemThread" in text for text in row["findings"])
    ]
    providers = [name for name in rows if "-provider-" in name]
    assert (len([name for name in rows if "-fails-" in name]) > 8, len(providers)) == (True, 4), rows
    failed = {name: row["reasons"] for name, row in rows.items() if row["verdict"] != "pass"}
    assert thread in failed and set(failed) <= {thread, *providers}, failed
    assert all("R82" in reasons[0] for reasons in failed.values()), failed


def test_of_several_connections_each_is_judged_on_its_own(tmp_path: Path) -> None:
    driver = breaker.compiled(tmp_path, connections=3)
    scenarios = [breaker.on_one_of_three(BREACHES[name], tmp_path) for name in SEVERAL]
    done = judged(tmp_path, driver, "start:7007:3", "any-three-endings", *map(str, scenarios))
    assert done.code == 1, done.stdout + done.stderr
    assert done.verdicts["any-three-endings"] == "pass", done.scenario("any-three-endings")["reasons"]
    for name, says in SEVERAL.items():
        reasons = done.scenario(BREACHES[name].scenario)["reasons"]
        assert [reason for reason in reasons if re.match(says, reason)], reasons
        assert [reason for reason in reasons if re.match("connection [02]: ", reason)] == []
