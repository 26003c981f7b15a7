"""One target from its boot to the unload of the driver, step by step; what is found is told at once."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsklab import images
from wsklab.drivers.build import BuiltDriver, build_driver
from wsklab.orchestrator.errors import LabError, WsklabError
from wsklab.orchestrator.judge.judge import judge
from wsklab.orchestrator.lab.foreign_driver import Foreign
from wsklab.orchestrator.lab.installed_foreign import InstalledForeign
from wsklab.orchestrator.lab.lab import Lab
from wsklab.orchestrator.play.player import play, unload
from wsklab.orchestrator.results.console import Console
from wsklab.orchestrator.run.hold import Hold
from wsklab.orchestrator.run.preparation import Preparation
from wsklab.orchestrator.run.ways_in import ways_into_machine
from wsklab.orchestrator.scenario import catalogue
from wsklab.orchestrator.trials import doctor_driver, doctor_variants, doctor_windows
from wsklab.orchestrator.trials.doctor import Finding
from wsklab.qemu.machine import Machine
from wsklab.qemu.network import MACHINES

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


class Ended(Exception):
    """A step failed without which the others mean nothing."""


@dataclass(frozen=True)
class Asked:
    """What is examined: a target, on a variant of its machine, and a driver of the user's in it."""

    target: str
    variant: str = ""
    driver: Foreign | None = None


class Examination:
    """Told what is asked, and `hold`, which may keep what runs at the end; `url` is where its screens are."""

    def __init__(
        self,
        asked: Asked,
        folder: Path,
        console: Console,
        tell: Callable[[Finding], None],
        document: dict[str, Any],
        facts: dict[str, Any],
        hold: Hold,
        url: Callable[[], str],
    ) -> None:
        self._asked = asked
        self._facts = facts
        self._folder = folder
        self._console = console
        self._told = tell
        self._document = document
        self._hold = hold
        self._url = url
        self._wrong: list[str] = []

    def run(self) -> None:
        """Go through all of it. Raises Ended where the rest would mean nothing."""
        target = self._asked.target
        with self._step("images and drivers", f"`wsklab image build peer {target}` says more") as done:
            driver = build_driver(None, images.cache_folder(), self._console.progress)
            preparation = Preparation.prepare(self._folder, Console(quiet=True), cold=True, target=target)
            driver = preparation.guest.prepare(driver)
            results = preparation.results(driver, 1)
            self._document |= {
                "versions": results.run["versions"],
                "accelerator": preparation.accelerator,
                "image": results.target,
            }
            done.append(f"accelerator {preparation.accelerator}, {results.target['version']}")
        guest = preparation.guest.varied(self._asked.variant)
        if guest.profile.variant.secure_boot:  # without a debugger's line there is no lab, but a machine to look at
            foreign = self._asked.driver and doctor_driver.as_given(self._asked.driver)

            def ending(machine: Machine) -> None:
                self._ended(lambda: ways_into_machine(machine, guest, self._url()))

            self._checks(
                doctor_variants.secure_boot(
                    guest, driver, self._folder, preparation.accelerator, self._facts, foreign, ending
                )
            )
            return
        foreign = self._asked.driver and self._asked.driver.prepared(guest.prepare, guest.pack)
        lab = self._boot(Lab(self._folder / "lab-1", preparation.accelerator, guest, preparation.peer), driver)
        try:
            self._examine(lab, foreign)
        except Ended:
            self._ended(lambda: self._hold.ways(lab))
            raise
        else:
            self._ended(lambda: self._hold.ways(lab))
        finally:
            lab.stop()

    def _ended(self, ways: Callable[[], Sequence[str]]) -> None:
        """Hold what runs still, when it is asked for."""
        self._hold.ended(ways, not self._wrong, ", ".join(self._wrong) or "all is well")

    def _tell(self, finding: Finding) -> None:
        if finding.verdict == "fail":
            self._wrong.append(finding.what)
        self._told(finding)

    def _boot(self, lab: Lab, driver: BuiltDriver) -> Lab:
        steps, began = iter(BOOTING), time.monotonic()
        what, _, look = next(steps)

        def progress(text: str) -> None:
            nonlocal what, look
            self._tell(Finding(what, "ok", f"{text} ({time.monotonic() - began:.1f} s after power-on)"))
            if what == "agent":
                self._checks(doctor_windows.before_load(lab, self._facts))
            what, _, look = next(steps)

        def failed(lab: Lab, error: BaseException) -> None:
            """Look at its screen while it still runs."""
            if not isinstance(error, WsklabError):
                return
            if what == "agent":
                for finding in doctor_windows.after_failure(lab, self._facts):
                    self._tell(finding)
            self._tell(Finding(what, "fail", str(error) or "not in the time allowed", look))
            self._hold.failed(lab, error)

        lab.failed = failed
        try:
            lab.boot(driver, progress)
        except WsklabError:
            raise Ended from None
        self._tell(Finding(what, "ok", f"its first line came on the debug line ({time.monotonic() - began:.1f} s)"))
        return lab

    def _examine(self, lab: Lab, foreign: Foreign | None) -> None:
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
        if foreign is not None:
            installed = InstalledForeign(foreign, lab.target, lab.slowness)
            self._checks(doctor_driver.loads(installed, lab.restart))
        with self._step("unload", "a driver that cannot be unloaded keeps sockets or IRPs") as done:
            verdict, reasons = unload(lab)
            if verdict != "pass":
                raise LabError("; ".join(reasons))
            done.append("the driver unloads and leaves nothing")

    def _checks(self, checks: Iterable[doctor_windows.Check]) -> None:
        try:
            for check in checks:
                with self._step(check.what, check.next, check.vital) as done:
                    done.append(check.look())
        finally:
            if isinstance(checks, Generator):  # what it has begun is ended now, and not when somebody collects it
                checks.close()

    def _snapshot(self, lab: Lab) -> str:
        """Save it, go back, find it alive, and tell it the time."""
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
                raise Ended from None
            return
        self._tell(Finding(what, "ok", "; ".join(done)))
