"""`wsklab driver`: building our drivers, inspecting anybody's."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import click

from wsklab import images
from wsklab.drivers.build import BuiltDriver, Toolchain, build_driver, build_standin
from wsklab.drivers.check import Report, check_file
from wsklab.drivers.errors import DriverError
from wsklab.drivers.sign import sign as sign_file
from wsklab.drivers.sign import signing_key
from wsklab.drivers.twins import twins
from wsklab.orchestrator.commands.options import toolchain_option
from wsklab.orchestrator.errors import SOME_FAIL, UsageError
from wsklab.orchestrator.results.console import Console


def build(twin: str | None, as_json: bool, toolchain: Toolchain = "mingw") -> None:
    """Build the driver (or a twin, or all of them), the provider and the agent; print where they are."""
    console, cache = Console(quiet=as_json), images.cache_folder()
    with console.step("drivers", makes=True):
        standin = build_standin(cache, console.progress)
        names = [None, *twins()] if twin == "all" else [twin]
        built: list[BuiltDriver] = [standin.netio, standin.agent]
        built += [build_driver(name, cache, console.progress, toolchain) for name in names]
    rows = [{"name": b.name, "twin": b.twin, "path": str(b.path), "sha256": b.sha256} for b in built]
    if as_json:
        click.echo(json.dumps(rows, indent=1))
        return
    for row in rows:
        click.echo(f"{row['name']}{' twin ' + row['twin'] if row['twin'] else ''}  {row['sha256']}  {row['path']}")


def sign(file: Path, out: Path) -> None:
    """Write a copy of a driver, signed with this host's own test certificate (test signing must be on in the guest)."""
    _inspected(file)
    pair = signing_key(images.cache_folder(), datetime.now(UTC))
    sign_file(file, out, pair)
    click.echo(f"{out}: signed with {pair.certificate}")


def _inspected(file: Path) -> Report:
    """Inspect a file; one that is no driver is the user's mistake."""
    try:
        return check_file(file)
    except DriverError as error:
        raise UsageError(f"{file}: {error}") from None


def check(file: Path, as_json: bool) -> int:
    """Print what was found in a .sys file; exit code 1 when something would keep it from loading."""
    findings = _inspected(file).findings
    if as_json:
        click.echo(json.dumps([{"severity": f.severity, "sentence": f.sentence} for f in findings], indent=1))
    else:
        for finding in findings:
            click.echo(f"{finding.severity:8} {finding.sentence}")
    return SOME_FAIL if any(finding.severity == "error" for finding in findings) else 0


@click.group("driver")
def command() -> None:
    """Build our drivers, and inspect any."""


@command.command("build")
@click.option("--twin", metavar="NAME", help="A deliberately wrong build; `all` builds every one.")
@toolchain_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def build_command(twin: str | None, toolchain: Toolchain, as_json: bool) -> None:
    """Build the client driver, the stand-in provider and the agent."""
    build(twin, as_json, toolchain)


@command.command("sign")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--out", required=True, type=click.Path(path_type=Path), metavar="FILE", help="The signed copy.")
def sign_command(file: Path, out: Path) -> None:
    """Sign a copy of any .sys file with a test certificate made for this host."""
    sign(file, out)


@command.command("check")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check_command(file: Path, as_json: bool) -> None:
    """Inspect any .sys file: what would keep it from loading, before anything is booted."""
    sys.exit(check(file, as_json))
