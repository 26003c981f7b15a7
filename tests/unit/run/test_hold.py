"""A lab that is held: for which verdicts, until when, and what Ctrl-C does then; played with a lab that is a name."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from wsklab.orchestrator.commands.run import command
from wsklab.orchestrator.lab.lab import Lab
from wsklab.orchestrator.results.results import ScenarioResult, observed
from wsklab.orchestrator.run.hold import Hold, When
from wsklab.orchestrator.run.stopping import Stop
from wsklab.orchestrator.run.ways_in import ssh_command

LAB = cast(Lab, None)
WAIT = 30.0


def result(verdict: Any) -> ScenarioResult:
    return ScenarioResult("close", "Close", 1, verdict, (), (), {}, observed(), {}, "evidence/close")


class Shown:
    """What was shown, and when something is held."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.held = threading.Event()

    def __call__(self, line: str) -> None:
        self.lines.append(line)
        if "way in" in line:
            self.held.set()


@pytest.fixture
def shown() -> Shown:
    return Shown()


def holding(hold: Hold, act: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=act, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("when", "verdict", "held"),
    [
        ("never", "fail", False),
        ("not-pass", "pass", False),
        ("not-pass", "fail", True),
        ("not-pass", "infra", True),
        ("not-pass", "inconclusive", True),
        ("always", "pass", True),
    ],
)
def test_what_is_held_for(when: When, verdict: str, held: bool, shown: Shown) -> None:
    hold = Hold(when, Stop(), shown, lambda _: ["way in"])
    thread = holding(hold, lambda: hold.after(LAB, result(verdict)))
    if held:
        assert shown.held.wait(WAIT)
        while not hold.release():
            pass
    thread.join(WAIT)
    assert not thread.is_alive()
    assert shown.lines == ([f"          held, until Ctrl-C: close: {verdict}", "            way in"] if held else [])
    assert not hold.release()


def test_a_lab_that_does_not_boot_is_held_as_far_as_it_came(shown: Shown) -> None:
    hold = Hold("not-pass", Stop(), shown, lambda _: ["way in"])
    hold.failed(LAB, KeyboardInterrupt())
    thread = holding(hold, lambda: hold.failed(LAB, TimeoutError("no greeting")))
    assert shown.held.wait(WAIT)
    while not hold.release():
        pass
    thread.join(WAIT)
    assert shown.lines[0].endswith("the lab did not come up: no greeting") and len(shown.lines) == 2


def test_ctrl_c_lets_go_and_only_the_next_one_interrupts(shown: Shown) -> None:
    hold = Hold("always", Stop(), shown, lambda _: ["way in"])
    with hold.interruptible():
        thread = holding(hold, lambda: hold.after(LAB, result("fail")))
        assert shown.held.wait(WAIT)
        while not hold._held:
            pass
        os.kill(os.getpid(), signal.SIGINT)
        thread.join(WAIT)
        assert not thread.is_alive()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_a_run_that_is_stopped_holds_nothing(shown: Shown) -> None:
    stop = Stop()
    hold = Hold("always", stop, shown, lambda _: ["way in"])
    thread = holding(hold, lambda: hold.after(LAB, result("fail")))
    assert shown.held.wait(WAIT)
    stop.request("interrupted", "interrupted")
    thread.join(WAIT)
    assert not thread.is_alive()
    hold.after(LAB, result("fail"))
    assert len(shown.lines) == 2


def test_the_ssh_command_is_one_that_a_shell_and_ssh_understand(tmp_path: Path) -> None:
    folder = tmp_path / "with a space"
    folder.mkdir()
    (folder / "key").touch()
    line = ssh_command(4711, folder / "key", folder / "known_hosts", "wsklab")
    said = subprocess.run(["sh", "-c", line.replace("ssh ", "ssh -G ", 1)], capture_output=True, text=True, check=True)
    known = f"userknownhostsfile {folder / 'known_hosts'}"
    wanted = {
        known,
        "hostname 127.0.0.1",
        "port 4711",
        "user wsklab",
        f"identityfile {folder / 'key'}",
        "identitiesonly yes",
    }
    assert wanted <= set(said.stdout.splitlines())


@pytest.mark.parametrize(
    ("words", "when"),
    [(["--hold", "close"], "not-pass"), (["close", "--hold"], "not-pass"), (["--hold=always", "close"], "always"),
     (["close"], "never")],
)  # fmt: skip
def test_hold_alone_takes_no_scenario_for_its_value(words: list[str], when: str) -> None:
    options = command.make_context("run", words).params
    assert (options["hold"], options["scenarios"]) == (when, ("close",))
