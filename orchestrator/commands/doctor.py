"""`wsklab doctor`: the host, and with `--target` a target, step by step, with a file that can be sent."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from wsklab import images
from wsklab.orchestrator.commands.options import Alone, hold_option
from wsklab.orchestrator.commands.screens import Screens, view_option
from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.guest import find
from wsklab.orchestrator.results.console import Console
from wsklab.orchestrator.results.results import write_atomically
from wsklab.orchestrator.run import runner
from wsklab.orchestrator.run.hold import Hold, When
from wsklab.orchestrator.run.stopping import Stop
from wsklab.orchestrator.run.ways_in import ways_in
from wsklab.orchestrator.trials import doctor, doctor_driver, doctor_variants
from wsklab.orchestrator.trials.doctor import Finding
from wsklab.orchestrator.trials.examination import Asked, Ended, Examination

MARKS = {"ok": ("✓ ok", "green"), "warn": ("? warn", "yellow"), "fail": ("✗ fail", "red")}


def run(
    target: str | None,
    out: Path | None,
    as_json: bool,
    variant: str = "",
    driver: str | None = None,
    when: When = "never",
    view: bool = False,
) -> int:
    """Examine, print, and write the report where a target was booted. Returns the exit code.

    `out` is the folder of everything, or, with the suffix .json, the report itself; the same in words lies beside it.
    """
    screens = Screens(lambda text: click.echo(text, err=as_json))
    asked = _checked(target, variant, driver, when)
    if view:
        screens.show()
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
    if asked is not None:
        folder = runner.new_folder(None if report else out)
        report = report or folder / "doctor.json"
        first, facts = len(findings), dict[str, Any]()
        hold = Hold(when, Stop(), screens.say, lambda lab: ways_in(lab, screens.address(), None))
        try:
            with hold.interruptible():
                Examination(asked, folder, console, tell, document, facts, hold, screens.address).run()
        except Ended:
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


def _checked(target: str | None, variant: str, driver: str | None, when: When) -> Asked | None:
    """Return what is to be examined besides the host. Raises UsageError, DriverError."""
    if target is None:
        named = {"--variant": variant, "--driver": driver, "--hold": when != "never"}
        for option in (option for option, value in named.items() if value):
            raise UsageError(f"{option} is of a target; name the target with --target.")
        return None
    find.check(target)
    doctor_variants.check(target, variant)
    if driver is None:
        return Asked(target, variant)
    doctor_driver.check_target(target != find.STANDIN)
    return Asked(target, variant, doctor_driver.find(driver, images.cache_folder(), lambda line: None))


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


@click.command("doctor", cls=Alone)
@click.option("--target", metavar="standin|IMAGE", help="Also boot this target and examine it step by step.")
@click.option(
    "--variant", default="", metavar="NAME", help="With --target: a variant of its machine (docs/variants.md)."
)
@click.option(
    "--driver",
    metavar="PROFILE|FILE.sys",
    help="With a Windows target: also load this driver there, with --variant secure-boot as it is signed.",
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
@hold_option("when a step has failed (--hold=always: in any case)")
def command(
    target: str | None,
    variant: str,
    driver: str | None,
    out: Path | None,
    faults: bool,
    as_json: bool,
    view: bool,
    hold: When,
) -> None:
    """Say what works on this host, what does not, and what to do about it. Exit code 3 when something does not work."""
    if not faults:
        sys.exit(run(target, out, as_json, variant, driver, hold, view))
    if target not in (None, find.STANDIN):
        raise UsageError(f"--faults are done to the stand-in; leave out --target {target}.")
    if driver is not None or hold != "never":
        raise UsageError("--faults goes without --driver and --hold: it boots many labs, one after another.")
    if out is not None and out.suffix == ".json":
        raise UsageError(f"--faults writes a folder; name one with --out instead of {out}.")
    from wsklab.orchestrator.commands import faults as trial

    if view:
        Screens(lambda text: click.echo(text, err=as_json)).show()
    sys.exit(trial.run(out, as_json))
