"""A rehearsal of a release on the stand-in, from the plan to a statement that is checked elsewhere."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from support.command import wsklab

pytestmark = pytest.mark.vm

PLAN = """
name: wsklab-rehearsed
targets: [standin]
scenarios: [linger-zero, close-graceful]
repeats: 2
cold: false
rules: {covers: [C01, C05, R5, R6]}
"""


def test_a_rehearsal_is_run_signed_and_verified(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(PLAN)
    subprocess.run(["openssl", "genpkey", "-algorithm", "ed25519", "-out", tmp_path / "key.pem"], check=True)
    subprocess.run(
        ["openssl", "pkey", "-in", tmp_path / "key.pem", "-pubout", "-out", tmp_path / "pub.pem"], check=True
    )
    words = ("qualify", "plan.yaml", "--rehearsal", "--key", "key.pem", "--out", "rel", "--json")
    done = wsklab(*words, cwd=tmp_path)
    assert done.code == 0, done.stderr
    predicate = json.loads(done.stdout)
    assert predicate["result"] == "rehearsal-go"
    counts = {count["scenario"]: (count["passed"], count["told"]) for count in predicate["cells"][0]["scenarios"]}
    assert counts == {
        "linger-zero": (2, ["1x abortive 0x1"]),
        "close-graceful": (2, ["1x graceful 0x0"]),
        "driver-unload": (1, ["no event"]),
    }
    (run,) = predicate["cells"][0]["runs"]
    assert {"qemu-system-x86_64", "netio.sys", "wskagent.exe", "image peer, disk.qcow2"} <= run["ingredients"].keys()
    verify = ("qualify", "verify", "rel/wsklab-rehearsed.qualification.dsse.json", "--key", "pub.pem")
    assert wsklab(*verify, "--rehearsal", cwd=tmp_path).code == 0
    assert "qualifies nothing" in wsklab(*verify, cwd=tmp_path).stdout
    (recording,) = (tmp_path / "rel").glob("runs/*/*/evidence/linger-zero/wire.pcapng")
    content = recording.read_bytes()
    recording.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    refused = wsklab(*verify, "--rehearsal", cwd=tmp_path)
    assert (refused.code, "wire.pcapng is not what it was when it was signed" in refused.stdout) == (3, True)
