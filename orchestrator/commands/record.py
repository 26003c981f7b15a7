"""What `wsklab run --record` asks before anything boots, and what it keeps when the machines have ended."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from wsklab.orchestrator.errors import LabError, UsageError
from wsklab.qemu import accel, recording

if TYPE_CHECKING:
    from wsklab.drivers.build import BuiltDriver
    from wsklab.orchestrator.commands.run_options import Options
    from wsklab.orchestrator.results.console import Console
    from wsklab.orchestrator.results.results import Results
    from wsklab.orchestrator.run.preparation import Preparation
    from wsklab.orchestrator.run.selection import Selection
    from wsklab.qemu.profile import Profile

_OWN, _STANDIN = "wsklab", "standin"


def asked(options: Options) -> Options:
    """Return the options of a recorded run, which boots and goes back to no snapshot. Raises UsageError."""
    others = {
        "--repeat": options.repeat != 1,
        "--until-fail": options.until_fail is not None,
        "--jobs": options.jobs != 1,
        "--fleet": options.fleet is not None,
        "--resume": options.resume is not None,
        "--twins": options.twins,
        "--scarcity": options.scarcity,
        "--variant": bool(options.variant_names or options.variants),
    }
    if wrong := next((word for word, given in others.items() if given), None):
        raise UsageError(f"--record records one target from its boot to its end, in one scenario: leave out {wrong}.")
    if options.target != _STANDIN:
        raise UsageError("--record is the stand-in's: the recording of a Windows target was never tried.")
    if options.driver_name != _OWN:
        raise UsageError("--record is for the lab's own driver and its twins: another driver was never recorded.")
    return replace(options, isolate=False, cold=True)


def check(options: Options, selected: Selection, machine: Profile) -> None:
    """See that it can be recorded. Raises UsageError, MachineError."""
    if len(selected.scenarios) != 1:
        raise UsageError(
            f"--record records one scenario, as a recording begins with the machine's boot; these are "
            f"{len(selected.scenarios)}: run them one by one."
        )
    why = recording.refusal(machine, accel.wanted() or "tcg")
    if why is None and not recording.available():
        why = recording.UNAVAILABLE
    if why is not None:
        raise UsageError(f"--record: {why}")


def keep(folder: Path, preparation: Preparation, driver: BuiltDriver, results: Results, console: Console) -> None:
    """Put the recording into the scenario's evidence folder. Raises LabError where there is none."""
    from wsklab.orchestrator.field.replay import recorded

    if not results.scenarios:
        return
    row, machine = results.scenarios[0], folder / "lab-1" / "target"
    guest = preparation.guest
    try:
        manifest = recorded.keep(
            machine, folder / row.evidence, row.name, guest.profile, guest.image, guest.files(driver, machine)
        )
    except OSError as error:
        raise LabError(f"the recording could not be kept: {error.filename}: {error.strerror}") from None
    console.line(f"Recorded: {recorded.words(manifest)}.")
    console.line(f"Again: wsklab replay {folder / row.evidence}")
