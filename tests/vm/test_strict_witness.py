"""The provider as a witness: a driver that prints nothing is judged, and each rule that one breaks is named.

The drivers are the sample client without its words, and with one thing wrong each.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from support.command import Finished, run

from wsklab.drivers import build
from wsklab.drivers.profile import PROFILES

pytestmark = pytest.mark.vm

SAMPLES = build.HOME / "samples"
MUTE = (
    (
        '#define SAY(Format, ...) DbgPrintEx(DPFLTR_IHVDRIVER_ID, DPFLTR_ERROR_LEVEL, "<pinger> " Format "\\n", '
        "##__VA_ARGS__)",
        "#define SAY(Format, ...) ((void)(Format), ##__VA_ARGS__)",
    ),
    ("Pinger.Rounds = 3;", "Pinger.Rounds = 1;"),
    ("Pinger.Lines = 2;", "Pinger.Lines = 0;"),
    ("Pinger.Patience = 5000;", "Pinger.Patience = 20000;"),
)
CONTEXT_USED = (
    "    PING_ROUND *round = Context;\n\n    InterlockedExchange(&round->Flags, (LONG)Flags);\n"
    "    KeSetEvent(&round->PeerLeft, IO_NO_INCREMENT, FALSE);\n"
)
CONTEXT_UNUSED = "    UNREFERENCED_PARAMETER(Context);\n    UNREFERENCED_PARAMETER(Flags);\n"
EVENT_END = "    return STATUS_SUCCESS;\n}\n\nstatic const WSK_CLIENT_CONNECTION_DISPATCH"
CLOSE = "    (void)Wsk(Round)->WskCloseSocket(Round->Socket, Begin(&Round->Call));\n    return End(&Round->Call);"
CLOSED = '        SAY("#%u closed: 0x%08x", (unsigned)Number, (unsigned)PingClose(round));\n'

THREE_FAULTS = (
    (EVENT_END, EVENT_END.replace("STATUS_SUCCESS", "STATUS_UNSUCCESSFUL")),
    (" 0, Round, &PingEvents,", " 0, &local, &PingEvents,"),
    (CONTEXT_USED, CONTEXT_UNUSED),
    (CLOSED, "        (void)PingClose(round);\n        (void)PingSend(round, 1);\n"),
)
NEVER_CLOSED = ((CLOSE, "    (void)Wsk(Round);\n    return STATUS_SUCCESS;"),)

WRONG: dict[str, tuple[tuple[tuple[str, str], ...], tuple[str, ...]]] = {
    "return value, context, call after the close": (
        THREE_FAULTS,
        (
            "the driver breaks R10: WskDisconnectEvent returned c0000001",
            "the driver breaks R4: WskSocketConnect is given a socket context that lies on the stack of its caller",
            "the driver breaks R72: WskSend on a socket that is closed",
        ),
    ),
    "socket left open": (NEVER_CLOSED, ("of my.sys, made by WskSocketConnect, was never closed",)),
}


def compiled(folder: Path, *changes: tuple[str, str]) -> Path:
    """Return the sample client with these changes, compiled as its author would."""
    text = (SAMPLES / "pinger/pinger.c").read_text()
    for old, new in changes:
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    (folder / "source").mkdir()
    (folder / "source/pinger.c").write_text(text)
    if shutil.which("make") is None:
        pytest.skip("needs make")
    command = ["make", "-s", "-f", str(SAMPLES / "Makefile"), "SOURCES=source", "DRIVER=my", "CFLAGS=-O2 -w"]
    subprocess.run(command, cwd=folder, check=True)
    return folder / "build/my.sys"


def judged(folder: Path, driver: Path, *scenarios: str) -> Finished:
    return run(folder / "run", "--driver", str(driver), "--provoke", "start:7007", "--strict", *scenarios)


def test_a_driver_of_which_there_is_only_the_file(tmp_path: Path) -> None:
    done = judged(tmp_path, compiled(tmp_path, *MUTE), "any-close", "any-linger-zero")
    assert done.code == 0, done.stdout + done.stderr
    for name, abortive in (("any-close", False), ("any-linger-zero", True)):
        assert [d["abortive"] for d in done.scenario(name)["observed"]["disconnects"]] == [abortive]


@pytest.mark.parametrize("wrong", WRONG)
def test_each_rule_that_it_breaks_is_named(wrong: str, tmp_path: Path) -> None:
    changes, says = WRONG[wrong]
    done = judged(tmp_path, compiled(tmp_path, *changes, *MUTE), "any-linger-zero")
    reasons = [reason for row in done.results["scenarios"] for reason in row["reasons"]]
    assert done.code == 1, done.stdout + done.stderr
    assert [words for words in says if not any(words in reason for reason in reasons)] == [], reasons


def test_a_driver_that_says_something_else_than_it_was_told(tmp_path: Path) -> None:
    driver = compiled(tmp_path, ('"broke off"', '"hung up"'))
    profile = (PROFILES / "pinger.yaml").read_text().replace("build: pinger", f"path: {driver}")
    (tmp_path / "mine.yaml").write_text(profile)
    done = run(tmp_path / "run", "--driver", str(tmp_path / "mine.yaml"), "--strict", "any-linger-zero")
    assert done.code == 1, done.stdout + done.stderr
    (reason, *_) = done.scenario("any-linger-zero")["reasons"]
    assert reason.startswith(
        "WSK told the driver abortive, the driver says graceful: 'pinger.sys: WskDisconnectEvent on"
    )
    assert "then '<pinger> #1 peer hung up: flags 0x" in reason
