"""`wsklab init`: a new user's folder, with a profile that a trial run on the stand-in has filled in."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import click

from wsklab import images
from wsklab.common import files as reading
from wsklab.drivers.build import build_driver
from wsklab.drivers.errors import DriverError
from wsklab.drivers.profile import DriverProfile, load_profile
from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.lab import foreign_driver
from wsklab.orchestrator.results.console import Console
from wsklab.orchestrator.run.preparation import Preparation
from wsklab.orchestrator.starting import binary, folder, trial
from wsklab.orchestrator.starting.course import Course
from wsklab.orchestrator.starting.folder import Project
from wsklab.orchestrator.starting.proposals import proposals

NOT_TRIED = Course("none", why="there was no trial run (--no-trial)")


def _values(_: click.Context, __: click.Parameter, words: tuple[str, ...]) -> dict[str, int | str]:
    """NAME=VALUE of the service's Parameters key; digits are a REG_DWORD."""
    found: dict[str, int | str] = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals:
            raise click.BadParameter(f"'{word}' should be NAME=VALUE")
        found[name] = int(value) if value.isdecimal() else value
    return found


@click.command("init")
@click.argument("file", required=False, type=click.Path(path_type=Path), metavar="[FILE.sys]")
@click.option("--out", default=Path(), type=click.Path(path_type=Path), metavar="DIR", help="Where  [default: here].")
@click.option("--name", metavar="NAME", help="How reports call the driver  [default: the file's name].")
@click.option(
    "--parameter",
    "parameters",
    multiple=True,
    callback=_values,
    metavar="NAME=VALUE",
    help="A value under the service's Parameters key, which the driver needs to run (may be repeated).",
)
@click.option("--trial/--no-trial", default=True, help="Run the driver on the stand-in to hear what it prints.")
def command(file: Path | None, out: Path, name: str | None, parameters: Mapping[str, int | str], trial: bool) -> None:
    """Make a folder of tests for a driver: profile, scenario, test in Python, CI file, README.

    FILE.sys is loaded on the stand-in, connected and disconnected twice; its debug lines become proposed patterns.
    Without a file the tests are for the lab's own driver. Then: `pytest`.
    """
    console = Console()
    if file is None:
        project = Project("wsklab", "wsklab")
        folder.write(out, folder.files(project))
    else:
        project = _project(file, out, name or file.stem, parameters, trial, console)
        folder.write(out, folder.files(project))
        _check(out / project.driver, project)
    for place in folder.files(project):
        console.line(f"          {out / place}")
    for sentence in project.missing:
        console.line(f"to fill in: {sentence}", "yellow")
    console.line(f"Next: {'cd ' + str(out) + ' && ' if out != Path() else ''}pytest")


def _project(
    file: Path, out: Path, name: str, parameters: Mapping[str, int | str], tried: bool, console: Console
) -> Project:
    """Return what the driver's file and a trial run tell. Raises UsageError."""
    driver = f"{name}.yaml"
    if (out / driver).exists():
        raise UsageError(f"{out / driver}: it is there already; name another folder with --out.")
    foreign_driver.loadable(file, True, console.progress)
    told = binary.read(reading.read_bytes(file, reading.DRIVER))
    try:
        profile = DriverProfile(
            name=name,
            service="".join(c if c.isalnum() else "_" for c in name)[:64],
            target_path=rf"C:\wsklab\{name}.sys",
            path=file.absolute(),
            parameters=dict(parameters),
        )
    except ValueError as error:
        raise UsageError(f"{file}: no profile comes of this name or these parameters: {error}") from None
    course = _tried(profile, console) if tried else NOT_TRIED
    found = proposals(course) if course.by != "none" and not course.why else []
    missing = []
    if course.by == "none" or course.why:
        missing.append(f"`provoke` in {driver}: {course.why}.")
    if not any(one.kind == "disc" for one in found):
        missing.append(f"a pattern of kind `disc` in {driver}: the line that the driver prints in WskDisconnectEvent.")
    missing += [f"{driver}, the pattern `{one.line}`: {one.doubt}." for one in found if one.doubt]
    path = _relative(file, out)
    text = folder.profile_text(name, path, told.device, told.settings, parameters, course, found)
    return Project(name, driver, text, missing)


def _relative(file: Path, out: Path) -> str:
    """Return the file as the profile names it: relative where it lies in the folder or near it."""
    return os.path.relpath(file.absolute(), out.absolute())


def _tried(profile: DriverProfile, console: Console) -> Course:
    """Run the driver on the stand-in. Raises LabError, MachineError."""
    foreign = foreign_driver.find(profile.name, profile, True, images.cache_folder(), console.progress)
    with tempfile.TemporaryDirectory(prefix="wsklab-init-") as place:
        preparation = Preparation.prepare(Path(place), console, foreign=foreign)
        supply = preparation.supply(build_driver(None, images.cache_folder(), console.progress))
        try:
            lab = supply.next()
            with console.step("trial run") as said:
                course = trial.run(lab, Path(place))
                said(course.why or f"{_HOW[course.by]} port {course.port}")
            return course
        finally:
            supply.retire()


_HOW = {"peer": "it listens at", "start": "it connects to", "none": ""}


def _check(path: Path, project: Project) -> None:
    """See that the profile is one: what was proposed comes out as its samples say. Raises UsageError."""
    try:
        load_profile(str(path))
    except DriverError as error:
        raise UsageError(f"{path} was written, but is not right yet: {error}") from None
