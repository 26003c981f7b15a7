"""`wsklab doctor`: the host, and with `--target` a target, step by step, with a file that can be sent."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from wsklab import images
from wsklab.drivers.build import build_driver
from wsklab.orchestrator.commands.screens import Screens, view_option
from wsklab.orchestrator.errors import LabError, UsageError, WsklabError
from wsklab.orchestrator.guest import find
from wsklab.orchestrator.judge.judge import judge
from wsklab.orchestrator.lab.lab import Lab
from wsklab.orchestrator.play.player import play, unload
from wsklab.orchestrator.results.console import Console
from wsklab.orchestrator.results.results import write_atomically
from wsklab.orchestrator.run import runner
from wsklab.orchestrator.run.preparation import Preparation
from wsklab.orchestrator.scenario import catalogue
from wsklab.orchestrator.trials import doctor, doctor_variants, doctor_windows
from wsklab.orchestrator.trials.doctor import Finding
from wsklab.qemu.network import MACHINES

MARKS = {"ok": ("✓ ok", "green"), "warn": ("? warn", "yellow"), "fail": ("✗ fail", "red")}

# What `Lab.boot` says when a part of it is done, in its order, and what to look at where it is not.
BOOTING = (
    ("SSH", "the peer answers over SSH", "see lab-*/peer/console.log and qemu.stderr"),
    (
        "agent",
        "the agent answers, the driver is in place",
        "see console.log or kd.jsonl, agent.log and screen.png in lab-*/target",
    ),
    ("driver loads", "", "see lab-*/target/debug.log; `wsklab driver check` inspects the file"),
)
CANARY = {
    "standin": "nothing that the driver prints is seen: see lab-1/target/debug.log",
    "windows": "the `Debug Print Filter` of the guest must let IHVDRIVER through (0xF): build the image again, or see "
    "lab-1/target/kd.jsonl for what does come",
}
ENDINGS = (("one FIN", "close-graceful"), ("one RST", "linger-zero"))


CLOCK = 5.0
"""Seconds that a restored guest's clock may be off: it was set a moment ago, by a line that may be slow."""


def run(target: str | None, out: Path | None, as_json: bool, variant: str = "") -> int:
    """Examine, print, and write the report where a target was booted. Returns the exit code.

    `out` is the folder of everything, or, with the suffix .json, the report itself; the same in words lies beside it.
    """
    if variant and target is None:
        raise UsageError("--variant is one of a target's machine; name the target with --target.")
    if target is not None:
        find.check(target)
        doctor_variants.check(target, variant)
    console = Console(quiet=as_json)
    findings: list[Finding] = []
    report = out if out is not None and out.suffix == ".json" else None

    def tell(finding: Finding) -> None:
        findings.append(finding)
        what, *advice = _lines(finding)
        console.line(what, MARKS[finding.verdict][1])
        for line in advice:
            console.line(line)

    for finding in doctor.host(images.cache_folder(), Path.cwd()):
        tell(finding)
    document: dict[str, Any] = {
        "schema": 1,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {},
        "host": doctor.as_document(findings),
        "target": None,
    }
    if target is not None:
        folder = runner.new_folder(None if report else out)
        report = report or folder / "doctor.json"
        first, facts = len(findings), dict[str, Any]()
        try:
            Examination(target, folder, console, tell, document, facts, variant).run()
        except _Ended:
            pass  # what comes after the step that failed cannot be looked at
        finally:
            document["target"] = {"name": target, "steps": doctor.as_document(findings[first:]), "facts": facts}
            _write(report, document, findings)
            console.line(f"Report, to be sent where help is asked for: {report}, in words {report.with_suffix('.txt')}")
    elif report:
        _write(report, document, findings)
    if as_json:
        click.echo(json.dumps(document, indent=1))
    return doctor.exit_code(findings)


def _lines(finding: Finding) -> list[str]:
    """Return what is the case, and what to do about it where it is not well."""
    what = f"{MARKS[finding.verdict][0]:7} {finding.what}: {finding.detail}"
    return [what, f"        -> {finding.next}"] if finding.next and finding.verdict != "ok" else [what]


def _write(report: Path, document: dict[str, Any], findings: Sequence[Finding]) -> None:
    """Write the report twice: for programs, and for people. Raises UsageError."""
    lines = [line for finding in findings for line in _lines(finding)]
    image = document.get("image", {})
    head = [f"wsklab doctor, {document['started']}", *(f"{key}: {value}" for key, value in image.items())]
    try:
        write_atomically(report, json.dumps(document, indent=1) + "\n")
        write_atomically(report.with_suffix(".txt"), "\n".join([*head, "", *lines]) + "\n")
    except OSError as error:
        raise UsageError(f"{report}: cannot be written: {error.strerror}; name another file with --out.") from None


class _Ended(Exception):
    """A step failed without which the others mean nothing."""


class Examination:
    """One target from its boot to the unload of the driver."""

    def __init__(
        self,
        target: str,
        folder: Path,
        console: Console,
        tell: Callable[[Finding], None],
        document: dict[str, Any],
        facts: dict[str, Any],
        variant: str = "",
    ) -> None:
        self._target = target
        self._variant = variant
        self._facts = facts
        self._folder = folder
        self._console = console
        self._tell = tell
        self._document = document

    def run(self) -> None:
        with self._step("images and drivers", f"`wsklab image build peer {self._target}` says more") as done:
            driver = build_driver(None, images.cache_folder(), self._console.progress)
            preparation = Preparation.prepare(self._folder, Console(quiet=True), cold=True, target=self._target)
            driver = preparation.guest.prepare(driver)
            results = preparation.results(driver, 1)
            self._document |= {
                "versions": results.run["versions"],
                "accelerator": preparation.accelerator,
                "image": results.target,
            }
            done.append(f"accelerator {preparation.accelerator}, {results.target['version']}")
        guest = preparation.guest.varied(self._variant)
        if guest.profile.variant.secure_boot:  # without a debugger's line there is no lab, but a machine to look at
            self._checks(doctor_variants.secure_boot(guest, driver, self._folder, preparation.accelerator, self._facts))
            return
        lab = self._boot(Lab(self._folder / "lab-1", preparation.accelerator, guest, preparation.peer), driver)
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
            if what == "agent":
                self._checks(doctor_windows.before_load(lab, self._facts))
            what, _, look = next(steps)

        try:
            lab.boot(driver, progress)
        except WsklabError as error:
            if what == "agent":
                for finding in doctor_windows.after_failure(lab, self._facts):
                    self._tell(finding)
            self._tell(Finding(what, "fail", str(error) or "not in the time allowed", look))
            raise _Ended from None
        self._tell(Finding(what, "ok", f"its first line came on the debug line ({time.monotonic() - began:.1f} s)"))
        return lab

    def _examine(self, lab: Lab) -> None:
        self._checks(doctor_windows.after_load(lab))
        self._checks(doctor_windows.latency(lab, self._facts))
        self._checks(doctor_variants.memory_integrity(lab, self._facts))
        with self._step("canary", CANARY[lab.guest.kind]) as done:
            if lab.target.canary(time.monotonic() + 5 * lab.slowness) is None:
                raise LabError("the driver was told to print a token, and it was not seen on the debug line.")
            done.append("a token printed by the driver came on the debug line")
        advice = f"the address of the target's NIC on the wire must be {MACHINES['target'].ipv4}"
        with self._step("wire", advice) as done:
            lab.wire.barrier(time.monotonic() + 5 * lab.slowness)
            done.append("target and peer answer on it")
        for what, name in ENDINGS:
            with self._step(what, f"see evidence/{name}, or run `wsklab run {name}`") as done:
                done.append(self._ending(lab, name))
        without = "see lab-1/target/qmp.log; `wsklab run --cold --shared` needs no snapshot at all"
        with self._step("snapshot", without) as done:
            done.append(self._snapshot(lab))
        with self._step("unload", "a driver that cannot be unloaded keeps sockets or IRPs") as done:
            verdict, reasons = unload(lab)
            if verdict != "pass":
                raise LabError("; ".join(reasons))
            done.append("the driver unloads and leaves nothing")

    def _checks(self, checks: Iterable[doctor_windows.Check]) -> None:
        for check in checks:
            with self._step(check.what, check.next, check.vital) as done:
                done.append(check.look())

    def _snapshot(self, lab: Lab) -> str:
        """Save it, go back to it, find it alive, and tell it the time."""
        lab.save()
        lab.restore()
        off = lab.target.agent.ask("ping")["time_ms"] / 1000 - time.time()
        if abs(off) > CLOCK * lab.slowness:
            raise LabError(f"after going back to the snapshot the target's clock is off by {off:.1f} s.")
        return f"the target went back to it in {lab.last_restore_s:.1f} s, its clock is off by {abs(off):.1f} s"

    def _ending(self, lab: Lab, name: str) -> str:
        (scenario,) = catalogue.select([name], [], [])
        folder = self._folder / "evidence" / name
        folder.mkdir(parents=True)
        judgement = judge(scenario, play(lab, scenario, folder / "wire.pcapng"))
        if judgement.verdict != "pass":
            raise LabError(f"{judgement.verdict}: {'; '.join(judgement.reasons)}")
        (event,) = judgement.observed["disconnects"]
        return f"reported {'abortive' if event['abortive'] else 'graceful'}, as the wire shows"

    @contextmanager
    def _step(self, what: str, look: str, vital: bool = True) -> Iterator[list[str]]:
        """Yield a list for a step's finding; what the list holds at its end is the detail of an ok."""
        done: list[str] = []
        try:
            yield done
        except WsklabError as error:
            self._tell(Finding(what, "fail", str(error) or "not in the time allowed", look))
            if vital:
                raise _Ended from None
            return
        self._tell(Finding(what, "ok", "; ".join(done)))


@click.command("doctor")
@click.option("--target", metavar="standin|IMAGE", help="Also boot this target and examine it step by step.")
@click.option(
    "--variant", default="", metavar="NAME", help="With --target: a variant of its machine (docs/variants.md)."
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FILE.json|DIR",
    help="The report that can be sent (the same in words lies beside it), or the folder of everything.",
)
@click.option(
    "--faults",
    is_flag=True,
    help="Break every part of the lab on purpose, on the stand-in, and measure how soon it is noticed; takes minutes. "
    "Writes faults.json and faults.md into the folder of --out.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="Print doctor.json (faults.json) on standard output, and nothing else."
)
@view_option
def command(target: str | None, variant: str, out: Path | None, faults: bool, as_json: bool, view: bool) -> None:
    """Say what works on this host, what does not, and what to do about it. Exit code 3 when something does not work."""
    if view:
        Screens(lambda text: click.echo(text, err=as_json)).show()
    if faults:
        if target not in (None, find.STANDIN):
            raise UsageError(f"--faults are done to the stand-in; leave out --target {target}.")
        if out is not None and out.suffix == ".json":
            raise UsageError(f"--faults writes a folder; name one with --out instead of {out}.")
        from wsklab.orchestrator.commands import faults as trial

        sys.exit(trial.run(out, as_json))
    sys.exit(run(target, out, as_json, variant))
