"""`wsklab doctor`: the host, and with `--target` a target, step by step, with a file that can be sent."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from wsklab import images
from wsklab.drivers.build import build_driver
from wsklab.drivers.errors import DriverError
from wsklab.images.errors import ImageError
from wsklab.orchestrator import commands, doctor, runner, suite
from wsklab.orchestrator.console import Console
from wsklab.orchestrator.doctor import Finding
from wsklab.orchestrator.errors import LabError, UsageError
from wsklab.orchestrator.judge import judge
from wsklab.orchestrator.lab import Lab
from wsklab.orchestrator.play import play, unload
from wsklab.orchestrator.results import write_atomically
from wsklab.qemu.errors import MachineError

MARKS = {"ok": ("✓ ok", "green"), "warn": ("? warn", "yellow"), "fail": ("✗ fail", "red")}

# What `Lab.boot` says when a part of it is done, in its order, and what to look at where it is not.
BOOTING = (
    ("SSH", "the peer answers over SSH", "see lab-*/peer/console.log and qemu.stderr"),
    ("agent", "the agent answers, the driver is in place", "see lab-*/target/console.log and agent.log"),
    ("driver loads", "", "see lab-*/target/debug.log; `wsklab driver check` inspects the file"),
)
ENDINGS = (("one FIN", "close-graceful"), ("one RST", "linger-zero"))


def run(target: str | None, out: Path | None, as_json: bool) -> int:
    """Examine, print, and write doctor.json where a target was booted. Returns the exit code."""
    if target not in (None, "standin"):
        raise UsageError(f"there is no target '{target}'; there is: standin.")
    console = Console(quiet=as_json)
    findings: list[Finding] = []

    def tell(finding: Finding) -> None:
        findings.append(finding)
        mark, colour = MARKS[finding.verdict]
        console.line(f"{mark:7} {finding.what}: {finding.detail}", colour)
        if finding.next and finding.verdict != "ok":
            console.line(f"        -> {finding.next}")

    for finding in doctor.host(images.cache_folder(), Path.cwd()):
        tell(finding)
    document: dict[str, Any] = {"schema": 1, "started": datetime.now(UTC).isoformat(timespec="seconds"),
                                "versions": {}, "host": doctor.as_document(findings), "target": None}
    if target is not None:
        folder = runner.new_folder(out)
        first = len(findings)
        try:
            Examination(folder, console, tell, document).run()
        except _Ended:
            pass  # what comes after the step that failed cannot be looked at
        finally:
            document["target"] = {"name": target, "steps": doctor.as_document(findings[first:])}
            write_atomically(folder / "doctor.json", json.dumps(document, indent=1) + "\n")
            console.line(f"Report, to be sent where help is asked for: {folder / 'doctor.json'}")
    if as_json:
        click.echo(json.dumps(document, indent=1))
    return doctor.exit_code(findings)


class _Ended(Exception):
    """A step failed without which the others mean nothing."""


class Examination:
    """One target from its boot to the unload of the driver."""

    def __init__(self, folder: Path, console: Console, tell: Callable[[Finding], None],
                 document: dict[str, Any]) -> None:
        self._folder = folder
        self._console = console
        self._tell = tell
        self._document = document

    def run(self) -> None:
        with self._step("images and drivers", "`wsklab image build peer standin` says more") as done:
            driver = build_driver(None, images.cache_folder(), self._console.progress)
            ground = commands.Ground.prepare(self._folder, Console(quiet=True), cold=True)
            results = ground.results(driver, 1)
            self._document |= {"versions": results.run["versions"], "accelerator": ground.accelerator,
                               "image": results.target}
            done.append(f"accelerator {ground.accelerator}, {results.target['version']}")
        lab = self._boot(Lab(self._folder / "lab-1", ground.accelerator, ground.guest, ground.peer), driver)
        try:
            self._examine(lab)
        finally:
            lab.stop()

    def _boot(self, lab: Lab, driver: Any) -> Lab:
        steps, began = iter(BOOTING), time.monotonic()
        what, _, look = next(steps)

        def progress(text: str) -> None:
            nonlocal what, look
            self._tell(Finding(what, "ok", f"{text} ({time.monotonic() - began:.1f} s after power-on)"))
            what, _, look = next(steps)

        try:
            lab.boot(driver, progress)
        except (LabError, MachineError, TimeoutError) as error:
            self._tell(Finding(what, "fail", str(error) or "not in the time allowed", look))
            raise _Ended from None
        self._tell(Finding(what, "ok", f"its first line came on the debug line ({time.monotonic() - began:.1f} s)"))
        return lab

    def _examine(self, lab: Lab) -> None:
        with self._step("canary", "nothing that the driver prints is seen: see lab-1/target/debug.log") as done:
            if not lab.target.canary(time.monotonic() + 5 * lab.slowness):
                raise LabError("the driver was told to print a token, and it was not seen on the debug line.")
            done.append("a token printed by the driver came on the debug line")
        with self._step("wire", "the address of the target's NIC on the wire must be 10.77.0.10") as done:
            lab.wire.barrier(time.monotonic() + 5 * lab.slowness)
            done.append("target and peer answer on it")
        for what, name in ENDINGS:
            with self._step(what, f"see evidence/{name}, or run `wsklab run {name}`") as done:
                done.append(self._ending(lab, name))
        with self._step("unload", "a driver that cannot be unloaded keeps sockets or IRPs") as done:
            verdict, reasons = unload(lab)
            if verdict != "pass":
                raise LabError("; ".join(reasons))
            done.append("the driver unloads and leaves nothing")

    def _ending(self, lab: Lab, name: str) -> str:
        (scenario,) = suite.select([name], [], [])
        folder = self._folder / "evidence" / name
        folder.mkdir(parents=True)
        judgement = judge(scenario, play(lab, scenario, folder / "wire.pcapng"))
        if judgement.verdict != "pass":
            raise LabError(f"{judgement.verdict}: {'; '.join(judgement.reasons)}")
        (event,) = judgement.observed["disconnects"]
        return f"reported {'abortive' if event['abortive'] else 'graceful'}, as the wire shows"

    @contextmanager
    def _step(self, what: str, look: str) -> Iterator[list[str]]:
        """A step that tells its finding; what the list holds at its end is the detail of an ok."""
        done: list[str] = []
        try:
            yield done
        except (LabError, MachineError, ImageError, DriverError, TimeoutError) as error:
            self._tell(Finding(what, "fail", str(error) or "not in the time allowed", look))
            raise _Ended from None
        self._tell(Finding(what, "ok", "; ".join(done)))
