"""The whole chain on real QEMU with the stand-in: suite, faults that must be caught, interruption, death."""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.command import Finished, deaths_of, pids_of, processes_of, read_until, run, send, start, wsklab
from support.kept_captures import WRONG_ON_PURPOSE
from support.made_again import made_again

from wsklab.drivers.profile import load_profile
from wsklab.orchestrator.field.debug_text import contradictions, debugtext
from wsklab.orchestrator.field.endings.connections import read
from wsklab.orchestrator.judge.judge import judge
from wsklab.orchestrator.observe import observation
from wsklab.orchestrator.scenario.catalogue import BUILT_IN
from wsklab.orchestrator.scenario.scenario import load
from wsklab.qemu.deadline import within

pytestmark = pytest.mark.vm

GRACEFUL = ["close-graceful", "half-close", "data-then-close", "kill", "exit"]
ABORTIVE = ["linger-zero", "data-then-reset", "unread-then-close", "kill-unread"]


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """One run of the whole fast suite, looked at by many tests."""
    return run(tmp_path_factory.mktemp("suite") / "run", "--tag", "fast")


def test_every_scenario_passes_and_the_exit_code_says_so(suite: Finished) -> None:
    assert {name: v for name, v in suite.verdicts.items() if v != "pass"} == {}, suite.stdout
    assert suite.code == 0
    fast = {path.stem for path in BUILT_IN.glob("*.yaml") if "fast" in load(path).tags}
    assert set(suite.verdicts) == fast | {"driver-unload"}


def test_the_flags_say_how_the_wire_ended(suite: Finished) -> None:
    for names, bit in ((GRACEFUL, 0), (ABORTIVE, 1)):
        for name in names:
            assert [d["flags"] & 1 for d in suite.scenario(name)["observed"]["disconnects"]] == [bit], name


def test_tshark_reads_the_same_endings_from_the_recordings(suite: Finished) -> None:
    for names, wanted in ((GRACEFUL, "tcp.flags.fin == 1"), (ABORTIVE, "tcp.flags.reset == 1")):
        for name in names:
            recording = suite.folder / suite.scenario(name)["evidence"] / "wire.pcapng"
            seen = subprocess.run(
                [
                    "tshark",
                    "-r",
                    str(recording),
                    "-Y",
                    f"ip.src == 10.77.0.20 and {wanted}",
                    "-T",
                    "fields",
                    "-e",
                    "frame.time_epoch",
                    "-e",
                    "frame.interface_name",
                ],
                capture_output=True,
                text=True,
                check=True,
            )
            lines = seen.stdout.split()
            assert len(lines) >= 2, name
            assert len(lines[0].partition(".")[2]) == 9, "nanoseconds"
            assert lines[1] == "peer"


NO_TRACE = {"C38"}
"""Endings that leave nothing on the wire once the address is back."""


def test_the_endings_of_the_recordings_are_named(suite: Finished) -> None:
    wrong = {}
    for entry in suite.results["scenarios"]:
        folder = suite.folder / entry["evidence"]
        if not (folder / "scenario.yaml").exists():
            continue
        scenario = load(folder / "scenario.yaml")
        if "race" in scenario.tags:  # which of two ends is first differs from run to run
            continue
        wanted = {number for number in scenario.covers if number.startswith("C")}
        seen = read(folder / "wire.pcapng").connections
        named = {one.number for c in seen for one in (*c.ending.named, *c.ending.way)}
        if missing := wanted - NO_TRACE - named:
            wrong[entry["name"]] = missing, named
    # How long a guest took decides here and there which of two endings, alike on the wire, fits (docs/field.md).
    assert len(wrong) <= len(suite.results["scenarios"]) // 40, wrong


def test_a_right_drivers_log_contradicts_no_recording(suite: Finished) -> None:
    profile, found = load_profile("wsklab"), {}
    for entry in suite.results["scenarios"]:
        folder = suite.folder / entry["evidence"]
        if (folder / "debug.txt").exists() and (folder / "wire.pcapng").exists() and entry["name"] != "driver-unload":
            seen = read(folder / "wire.pcapng").connections
            told = debugtext.read_log(folder / "debug.txt", profile)
            known = WRONG_ON_PURPOSE.get(entry["name"], "nothing")
            texts = [text for _, text in contradictions.contradictions(told, debugtext.beside(told, seen), seen)]
            if texts := [text for text in texts if known not in text]:
                found[entry["name"]] = texts
    assert found == {}


AGAIN = ["close-graceful", "linger-zero", "unread-then-close", "send-after-close", "driver-closes-first", "forged-fin"]


def test_captures_are_made_again(tmp_path: Path) -> None:
    """A handful of those in tests/captures; `python -m support.made_again` makes all of them."""
    found = made_again(AGAIN, tmp_path)
    assert [one for one in found if one.number != 1.0] == []
    assert "Capture and run" in (tmp_path / "run/report.html").read_text()


def test_the_stand_in_never_claims_to_be_windows(suite: Finished) -> None:
    assert suite.results["target"]["qualifying"] is False
    assert "not Windows" in suite.stdout
    assert "not Windows" in (suite.folder / "report.html").read_text()
    events = [d for s in suite.results["scenarios"] for d in s["observed"].get("disconnects", [])]
    assert events
    assert all(d["irql"] == 0 and not d["at_dispatch"] for d in events)


def test_the_evidence_alone_gives_the_same_verdict_again(suite: Finished) -> None:
    for entry in suite.results["scenarios"]:
        folder = suite.folder / entry["evidence"]
        if not (folder / "scenario.yaml").exists():
            continue
        again = judge(load(folder / "scenario.yaml"), observation.read(folder / "observations.jsonl").observations)
        assert (again.verdict, list(again.reasons)) == (entry["verdict"], entry["reasons"])
        assert json.loads((folder / "verdict.json").read_text())["verdict"] == entry["verdict"]
        assert (folder / "debug.raw").stat().st_size > 0


def test_a_driver_that_ignores_the_flag_turns_the_abortive_scenarios_red(tmp_path: Path) -> None:
    caught = run(tmp_path / "run", "--twin", "ignores-flag", "linger-zero", "close-graceful", "unread-then-close")
    assert caught.code == 1
    assert caught.verdicts == {
        "linger-zero": "fail",
        "close-graceful": "pass",
        "unread-then-close": "fail",
        "driver-unload": "pass",
    }
    assert caught.results["driver"]["twin"] == "ignores-flag"
    row = caught.scenario("linger-zero")
    told = re.search(r"The peer's RST \(frame (\d+), .*must be set \(R5\)\.", row["story"]["text"])
    assert told and told[0] in caught.stdout and "BF55" in row["story"]["hint"]
    tshark = ["tshark", "-r", str(caught.folder / row["evidence"] / "wire.pcapng"), "-Y", f"frame.number == {told[1]}"]
    fields = ["-e", "tcp.flags.reset", "-e", "frame.interface_name", "-e", "ip.src_host", "-e", "frame.comment"]
    command = [*tshark, "-N", "n", "-T", "fields", *fields]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\t")
    assert shown[0] in ("1", "True") and shown[1:3] == ["peer", "peer"]
    assert told[0] in shown[3] and "WskDisconnectEvent, flags 0x0" in shown[3]


def test_endings_swapped_for_each_other_are_the_labs_fault(tmp_path: Path) -> None:
    swaps = {
        "close-graceful": ("peer: close\n", "peer: {close: {linger: 0}}\n"),
        "linger-zero": ("peer: {close: {linger: 0}}\n", "peer: close\n"),
    }
    for name, (old, new) in swaps.items():
        text = (BUILT_IN / f"{name}.yaml").read_text()
        assert old in text
        (tmp_path / f"{name}.yaml").write_text(text.replace(old, new))
    swapped = run(tmp_path / "run", str(tmp_path / "close-graceful.yaml"), str(tmp_path / "linger-zero.yaml"))
    assert swapped.code == 3
    assert swapped.verdicts == {"close-graceful": "infra", "linger-zero": "infra", "driver-unload": "pass"}
    reason = swapped.scenario("close-graceful")["reasons"][0]
    assert reason == "the peer should have sent FIN, the wire shows RST"


@pytest.fixture
def running(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Provide a run that would go on for long, at the moment its first verdict is out, and its second lab begins."""
    process = start(tmp_path / "run", "--repeat", "1000", "close-graceful", "--jobs", "2")
    read_until(process, "close-graceful")
    assert processes_of(tmp_path / "run")
    yield process, tmp_path / "run"
    process.kill()
    process.wait()


def test_a_killed_run_goes_on_in_its_folder(tmp_path: Path) -> None:
    process = start(tmp_path / "run", "--repeat", "2", "close-graceful", "linger-zero")
    read_until(process, "linger-zero")
    process.kill()
    process.communicate()
    done = wsklab("run", "--resume", str(tmp_path / "run"))
    done.folder = tmp_path / "run"
    rows = [f"{row['name']} {row['repeat']}" for row in done.results["scenarios"]]
    wanted = ["close-graceful 1", "linger-zero 1", "close-graceful 2", "linger-zero 2", "driver-unload 1"]
    assert rows == wanted, done.stdout
    assert (done.code, done.results["state"]) == (0, "complete")
    assert "close-graceful  " not in done.stdout.partition("scenario  ")[0], "a row that was there was run again"


def test_interrupted_it_stops_the_guests_and_keeps_the_results(running: tuple[subprocess.Popen[str], Path]) -> None:
    process, folder = running
    send(process, signal.SIGINT)
    said, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert errors.strip() == "wsklab: interrupted; what was done until then is kept."
    assert processes_of(folder) == []
    assert disks(folder) == []
    assert len(list(folder.glob("lab-*"))) <= 2, "no lab was begun after it"
    document = json.loads((folder / "results.json").read_text())
    assert document["scenarios"][0]["verdict"] == "pass"
    assert (document["state"], document["asked"], document["exit_code"]) == ("interrupted", 1000, 130)
    run = sum(row["name"] != "driver-unload" for row in document["scenarios"])
    assert f"{run} of 1000 run; {1000 - run} not run: interrupted" in said
    assert f"{run} of 1000 run; {1000 - run} not run: interrupted</h1>" in (folder / "report.html").read_text()
    assert 'type="not-run"' in (folder / "junit.xml").read_text()


def disks(folder: Path) -> list[Path]:
    """Return the disks of a run's labs."""
    return list(folder.rglob("*.qcow2"))


def test_killed_it_is_not_green_and_the_next_run_clears_away(
    running: tuple[subprocess.Popen[str], Path], tmp_path: Path
) -> None:
    process, folder = running
    assert any(line.startswith("qemu-system") for line in processes_of(folder))
    with deaths_of(folder, but=process.pid) as deaths:
        process.kill()
        process.wait()
        deaths(within(10))
    assert processes_of(folder) == []
    assert json.loads((folder / "results.json").read_text())["state"] == "running"
    report = wsklab("report", str(folder))
    assert report.code == 3
    assert "of 1000 run" in report.stdout and "aborted: the run was killed" in report.stdout
    document = json.loads((folder / "results.json").read_text())
    assert (document["state"], document["scenarios"][0]["verdict"]) == ("aborted", "pass")
    assert disks(folder) != []
    assert run(tmp_path / "next", "linger-zero").code == 0
    assert disks(folder) == []
    assert (folder / document["scenarios"][0]["evidence"] / "wire.pcapng").exists()


def test_a_run_whose_reader_leaves_goes_on_and_its_exit_code_is_true(tmp_path: Path) -> None:
    process = start(tmp_path / "run", "linger-zero")
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=120) == 0
    assert Finished(0, "", "", tmp_path / "run").verdicts == {"linger-zero": "pass", "driver-unload": "pass"}


def test_a_run_that_can_write_no_more_ends_and_is_not_green(running: tuple[subprocess.Popen[str], Path]) -> None:
    process, folder = running
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (4096, 4096))
    said, errors = process.communicate(timeout=120)
    assert process.returncode == 3
    assert "File too large" in errors and len(errors.splitlines()) == 1
    assert "of 1000 run" in said and "Traceback" not in said
    assert json.loads((folder / "results.json").read_text())["exit_code"] == 3
    assert processes_of(folder) == [] and disks(folder) == []


def test_a_run_whose_folder_is_moved_says_so(running: tuple[subprocess.Popen[str], Path], tmp_path: Path) -> None:
    process, folder = running
    now = folder.rename(tmp_path / "elsewhere")
    said, errors = process.communicate(timeout=60)
    assert process.returncode == 3
    assert errors == f"wsklab: the run's folder {folder} was moved to {now} while the run went on\n"
    assert "Traceback" not in said
    assert json.loads((now / "results.json").read_text())["state"] == "aborted"
    assert disks(now) == []


def test_two_runs_side_by_side_do_not_disturb_each_other(tmp_path: Path) -> None:
    both = [start(tmp_path / str(n), "linger-zero", "close-graceful") for n in range(2)]
    outputs = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs


WAITING = """
name: waiting
title: A story about time, long enough to be interrupted
steps:
  - driver: {connect: peer}
  - driver: {enable: [disconnect]}
  - lab: {wait: 3}
  - peer: close
  - driver: {await: disconnect}
expect:
  wire: {peer: fin, driver: none}
  disconnect: [{abortive: clear}]
"""


def test_of_two_labs_one_falls_silent_and_only_its_scenario_is_run_again(tmp_path: Path) -> None:
    (tmp_path / "waiting.yaml").write_text(WAITING)
    folder = tmp_path / "run"
    others = ["linger-zero", "half-close", "close-graceful"]
    process = start(folder, str(tmp_path / "waiting.yaml"), *others, "--jobs", "2")
    read_until(process, "lab")  # the first has one, and begins with the first scenario
    log = folder / "lab-1" / "target" / "debug.log"
    with subprocess.Popen(["tail", "-n", "+1", "-F", str(log)], stdout=subprocess.PIPE, text=True) as tail:
        assert tail.stdout is not None
        assert any("op=connect" in line for line in tail.stdout)
        tail.kill()
    (peer,) = pids_of(folder / "lab-1" / "peer")
    os.kill(peer, signal.SIGSTOP)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    finished = Finished(process.returncode, said, "", folder)
    assert {name: verdict for name, verdict in finished.verdicts.items() if verdict != "pass"} == {}
    again = [row for row in finished.results["scenarios"] if row["findings"]]
    assert [row["name"] for row in again] == ["waiting"]
    assert "QEMU of the peer has been stopped by a signal" in again[0]["findings"][0]
    assert (folder / "evidence" / "waiting" / "crash").is_dir(), "the evidence of the first attempt stays"
    assert [row["name"] for row in finished.results["scenarios"][:4]] == ["waiting", *others]
    assert processes_of(folder) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["linger-zreo"], "wsklab: no scenario, tag or file 'linger-zreo'; did you mean linger-zero"),
        (["--target", "windows-99"], "wsklab: there is no target 'windows-99'"),
        (["--twin", "nonesuch"], "wsklab: there is no twin 'nonesuch'"),
        (["--repeat", "0"], "wsklab: Invalid value for '--repeat'"),
    ],
)
def test_wrong_words_are_answered_in_one_sentence_before_anything_boots(
    tmp_path: Path, words: list[str], message: str
) -> None:
    refused = wsklab("run", *words, cwd=tmp_path)
    assert refused.code == 2
    assert refused.stderr.startswith(message), refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def a_qemu_that(folder: Path, does: str) -> dict[str, str]:
    """Return an environment in which QEMU tells its version, and else does this."""
    real = shutil.which("qemu-system-x86_64")
    program = folder / "bin" / "qemu-system-x86_64"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\n[ "$1" = --version ] && exec {real} --version\n{does}\n')
    program.chmod(0o755)
    return {"PATH": f"{program.parent}:{os.environ['PATH']}", "WSKLAB_ACCEL": "tcg"}


def test_a_qemu_that_does_not_start_is_no_verdict_on_the_driver(tmp_path: Path) -> None:
    broken = a_qemu_that(tmp_path, "echo cannot allocate memory >&2; echo giving up >&2; exit 1")
    ended = run(tmp_path / "run", "linger-zero", "--cold", **broken)
    assert ended.code == 3, "1 would say that the driver failed"
    assert ended.stderr == ("wsklab: qemu-system-x86_64 ended at once with code 1: cannot allocate memory; giving up\n")
    assert ended.results["scenarios"] == []


def test_without_qemu_one_sentence_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    for tool in ("qemu-img", "gcc", "x86_64-w64-mingw32-gcc"):
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool) or "/nowhere")
    ended = run(tmp_path / "run", "linger-zero", PATH=str(tmp_path / "bin"))
    assert ended.code == 3
    assert ended.stderr.startswith("wsklab: qemu-system-x86_64 does not run")
    assert ended.stderr.endswith("`apt-get install qemu-system-x86`\n")
    assert len(ended.stderr.splitlines()) == 1


def test_an_accelerator_that_there_is_not_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    refused = run(tmp_path / "run", "linger-zero", WSKLAB_ACCEL="fast", WSKLAB_CACHE=str(tmp_path / "cache"))
    assert refused.code == 2
    assert refused.stderr == "wsklab: WSKLAB_ACCEL is 'fast': set it to kvm or tcg, or not at all\n"
    assert not (tmp_path / "cache" / "images").exists()
