"""Variants of the machine that the stand-in can be, run as a user does: what is on the wire proves each."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.command import Finished, processes_of, run, wsklab

from wsklab.qemu.wire.control import read_recording
from wsklab.qemu.wire.frames import Frame

pytestmark = pytest.mark.vm

MUCH = """
name: much
title: More than one segment each way
steps:
  - driver: {connect: peer}
  - driver: {enable: [disconnect]}
  - driver: {send: 20000, expect: success}
  - peer: {receive: 20000}
  - peer: close
  - driver: {await: disconnect}
expect:
  wire: {peer: fin}
  disconnect: [{abortive: clear}]
"""
ETHERNET = 14


def frames(done: Finished, name: str) -> list[Frame]:
    """Return the TCP segments of the target in a scenario's recording."""
    recorded = read_recording(done.folder / "evidence" / name / "wire.pcapng")
    return [frame for frame in recorded if frame.kind == "tcp" and frame.sender == "target"]


def test_processors_mtu_and_ipv6_alone(tmp_path: Path) -> None:
    (tmp_path / "much.yaml").write_text(MUCH)
    words = ("--variant", "mtu-1280", "--variant", "ipv6-only", "--variant", "cpus-2")
    done = run(tmp_path / "run", str(tmp_path / "much.yaml"), *words)
    assert done.code == 0, done.stdout + done.stderr
    rows = [(row["name"], row["variant"], row["verdict"]) for row in done.results["scenarios"]]
    variants = ["mtu-1280", "ipv6-only", "cpus-2"]
    assert rows == [(name, variant, "pass") for name in ("much", "driver-unload") for variant in variants]

    assert done.results["target"]["variants"]["mtu-1280"]["mtu"] == 1280
    small, six, two = (frames(done, f"much@{variant}") for variant in variants)
    longest = {len(frame.data) - ETHERNET for frame in small}
    assert max(longest) == 1280 and max(len(frame.data) - ETHERNET for frame in two) == 1500
    assert {(frame.src, frame.dst) for frame in six} == {("fd77::10", "fd77::20")}
    assert "-smp 2" in (tmp_path / "run/lab-3/target/command.txt").read_text()
    again = wsklab("judge", str(tmp_path / "run"))
    assert again.code == 0 and "3 as before" in again.stdout, again.stdout
    assert processes_of(tmp_path) == []


def test_what_only_windows_can_is_refused_in_one_sentence(tmp_path: Path) -> None:
    refused = wsklab("run", "linger-zero", "--variant", "memory-integrity", cwd=tmp_path)
    assert (refused.code, refused.stdout) == (2, "")
    assert refused.stderr == (
        "wsklab: --variant memory-integrity: only Windows has Memory Integrity; name a Windows image with --target.\n"
    )
    unknown = wsklab("run", "linger-zero", "--variant", "cpus-9", cwd=tmp_path)
    assert "there are base, cpus-2, cpus-4, e1000e" in unknown.stderr and unknown.code == 2
    assert list(tmp_path.iterdir()) == []
