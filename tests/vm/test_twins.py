"""The matrix of wrong builds, made for real: what is caught, what is missed, and what only Windows can catch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.command import wsklab

pytestmark = pytest.mark.vm


def matrix(folder: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((folder / "twins.json").read_text())
    return document


def test_a_twin_is_caught_for_its_own_fault_and_the_correct_driver_is_not(tmp_path: Path) -> None:
    done = wsklab(
        "run",
        "--twins",
        "--twin",
        "ignores-flag",
        "--twin",
        "closes-under-call",
        "linger-zero",
        "close-graceful",
        "--out",
        str(tmp_path / "run"),
    )
    assert done.code == 0, done.stdout + done.stderr
    found = matrix(tmp_path / "run")
    assert (found["missed"], found["false_alarms"]) == ([], [])
    assert set(found["correct"]["verdicts"].values()) == {"pass"}
    flag, windows = found["twins"]
    assert [row["scenario"] for row in flag["by"]] == ["linger-zero"], "what ends gracefully tells nothing of it"
    assert "WSK_FLAG_ABORTIVE is clear" in flag["by"][0]["reasons"][0]
    assert (windows["caught"], bool(windows["only_windows"])) == (False, True)


def test_a_twin_that_nothing_catches_is_missed_and_the_exit_code_says_so(tmp_path: Path) -> None:
    done = wsklab("run", "--twins", "--twin", "ignores-flag", "close-graceful", "--out", str(tmp_path / "run"))
    assert done.code == 1, done.stdout + done.stderr
    assert matrix(tmp_path / "run")["missed"] == ["ignores-flag"]
    assert "MISSED" in done.stdout


def test_the_first_reason_names_the_fault_of_what_comes_late_resets_or_never_deregisters(tmp_path: Path) -> None:
    """Each of these once passed, or was called the lab's fault."""
    names = ["corrupts-sends", "repeats-late", "resets-after-send", "never-deregisters"]
    done = wsklab(
        "run",
        "--twins",
        *(word for name in names for word in ("--twin", name)),
        "half-close",
        "--out",
        str(tmp_path / "run"),
    )
    assert done.code == 0, done.stdout + done.stderr
    reasons = {twin["name"]: twin["by"][0]["reasons"][0] for twin in matrix(tmp_path / "run")["twins"]}
    assert reasons.pop("repeats-late").startswith("unexpected WskDisconnectEvent (call 2) with flags 00000000, ")
    assert reasons == {
        "corrupts-sends": "the peer received other bytes than the driver was to send (bytes 0 to 3999 of the stream)",
        "resets-after-send": (
            "the driver ended the connection by WskDisconnect with WSK_FLAG_ABORTIVE, which no step asked for"
        ),
        "never-deregisters": (
            "the driver breaks R82 at unload: the driver was unloaded without WskDeregister: sockets=0 captures=0 "
            "requests=0"
        ),
    }


def test_what_one_buffer_and_an_orderly_end_do_not_show(tmp_path: Path) -> None:
    done = wsklab(
        "run",
        "--twins",
        "--twin",
        "takes-first-buffer",
        "--twin",
        "never-deregisters",
        "part-accepted",
        "long-indication-in-part",
        "--out",
        str(tmp_path / "run"),
    )
    assert done.code == 0, done.stdout + done.stderr
    found = matrix(tmp_path / "run")
    assert (found["missed"], found["false_alarms"]) == ([], [])
    caught = {twin["name"]: [row["scenario"] for row in twin["by"]] for twin in found["twins"]}
    assert caught == {"takes-first-buffer": ["long-indication-in-part"], "never-deregisters": ["driver-unload"]}
