"""`wsklab image`: the store of guest images, for people and scripts."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from wsklab import images
from wsklab.drivers.build import build_standin
from wsklab.images import windows
from wsklab.images.errors import ImageError
from wsklab.images.store import Store
from wsklab.images.windows import Media
from wsklab.orchestrator.commands import windows_images
from wsklab.orchestrator.commands.screens import Screens, view_option
from wsklab.orchestrator.errors import NOT_PROVEN, UsageError
from wsklab.orchestrator.guest import find
from wsklab.orchestrator.results import ci, estimate
from wsklab.orchestrator.results.console import Console


def inputs(console: Console) -> Mapping[str, Path]:
    """Return the files of ours that recipes ask for by name."""
    return build_standin(images.cache_folder(), console.progress).inputs


def listing(as_json: bool) -> None:
    """Recipes, and what of them is in the store."""
    stored = images.listing()
    rows = [
        {
            "name": image.name,
            "kind": image.manifest.kind,
            "key": image.manifest.key,
            "built": image.manifest.built,
            "size_bytes": image.manifest.size_bytes,
            "folder": str(image.folder),
            "lasts": find.lasts(image, datetime.now(UTC)) if image.manifest.kind == "windows" else "",
            "packages": len(image.manifest.packages),
        }
        for image in stored
    ]
    unbuilt = [name for name in images.names() if name not in {image.name for image in stored}]
    if as_json:
        click.echo(json.dumps({"images": rows, "not_built": unbuilt, "windows": windows_images.known()}, indent=1))
        return
    for row in rows:
        click.echo(
            f"{row['name']:10} {int(str(row['size_bytes'])) >> 20:5} MiB  built {row['built']}  "
            f"{str(row['key'])[:12]}  {row['folder']}"
        )
        if row["lasts"]:
            click.echo(f"{'':10}     {row['lasts']}")
    for name in unbuilt:
        click.echo(f"{name:10}     not built; `wsklab image build {name}` makes it")
    windows_images.list_known({image.name for image in stored})


def build(names: Sequence[str], force: bool, media: Media, again: str | None = None, quiet: bool = False) -> None:
    """Build by recipe name; what the store has is not built again unless forced."""
    console = Console(verbosity=-quiet, server=ci.detect(os.environ))
    known = [*images.names(), *windows.names()]
    if unknown := [name for name in names if name not in known]:
        raise UsageError(f"there is no image {unknown[0]!r}; there are: {', '.join(known)}")
    strangers = [name for name in names if name not in windows.names()]
    if strangers and (media != Media() or again):
        raise UsageError(f"{strangers[0]} is not made from media: --iso, --virtio-win, --openssh and --from are for "
                         f"{', '.join(windows.names())}")  # fmt: skip
    cache = images.cache_folder()
    for place, name in enumerate(names, 1):
        before = estimate.remembered(cache)
        watch = estimate.Estimate(before.get(name), time.monotonic(), time.monotonic)
        number = f" ({place} of {len(names)})" if len(names) > 1 else ""
        with console.step(f"image {name}{number}", makes=True):
            if name in windows.names():
                image = windows_images.build(name, media, force, again, console)
            else:
                make = images.build if force else images.ensure
                given = inputs(console) if images.load(name).inputs() else {}
                image = make(name, given, _timed(console, watch))
        if made := watch.made():
            estimate.remember(cache, before | {name: made})
        console.line(f"          {image.folder}")


def _timed(console: Console, watch: estimate.Estimate) -> Callable[[str], None]:
    """Return what takes a note, and tells it with the time left."""
    return lambda note: console.progress(watch.tell(note))


def verify(names: Sequence[str], as_json: bool) -> int:
    """Hash every file of the named images, or of all; returns the exit code."""
    findings = []
    _in_store(names)
    for name in names or dict.fromkeys(image.name for image in images.listing()):
        try:
            images.verify(name)
            findings.append({"name": name, "ok": True, "problem": None})
        except ImageError as error:
            findings.append({"name": name, "ok": False, "problem": str(error)})
    if as_json:
        click.echo(json.dumps(findings, indent=1))
    else:
        for finding in findings:
            click.echo(f"{finding['name']}: {'ok' if finding['ok'] else finding['problem']}")
    return 0 if all(finding["ok"] for finding in findings) else NOT_PROVEN


def remove(names: Sequence[str]) -> None:
    """Take images out of the store, and with them what is kept of the making of a Windows image."""
    store = Store(images.cache_folder())
    work = {
        name: folder
        for name in names
        if name in windows.names() and (folder := windows.work_folder(store, name)).exists()
    }
    stored = {image.name for image in images.listing()}
    _in_store([name for name in names if name not in work])
    for name in names:
        if name in stored:
            for image in images.remove(name):
                click.echo(f"removed {image.name} {image.manifest.key[:12]}")
        if name in work:
            with store.building(name, click.echo):  # nobody is at it
                shutil.rmtree(work[name])
            click.echo(f"removed the installed disk and the unfinished work for {name}")


def _in_store(names: Sequence[str]) -> None:
    """Raise UsageError for a name that no image in the store has."""
    known = dict.fromkeys(image.name for image in images.listing())
    for name in names:
        if name not in known:
            raise UsageError(f"there is no image {name!r} in the store; there is: {', '.join(known) or 'none'}")


@click.group("image")
def command() -> None:
    """Guest images: built from recipes, kept in a store, verified before use."""


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_command(as_json: bool) -> None:
    """List the recipes, and which images of them are in the store."""
    listing(as_json)


@command.command("build")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--force", is_flag=True, help="Build even if the store has it; looks for newer packages.")
@click.option("--iso", type=click.Path(path_type=Path), metavar="FILE", help="Windows: your own installation ISO.")
@click.option("--virtio-win", type=click.Path(path_type=Path), metavar="FILE", help="Windows: the drivers' ISO.")
@click.option("--openssh", type=click.Path(path_type=Path), metavar="FILE", help="Windows: OpenSSH-Win64.zip.")
@click.option(
    "--from",
    "again",
    type=click.Choice(["install", "provision", "pack", "verify"]),
    help="Windows: do this step again, and those after it.",
)
@view_option
@click.option("-q", "--quiet", is_flag=True, help="Say only where the images are.")
def build_command(
    names: tuple[str, ...],
    force: bool,
    iso: Path | None,
    virtio_win: Path | None,
    openssh: Path | None,
    again: str | None,
    view: bool,
    quiet: bool,
) -> None:
    """Build images by recipe name; windows-* from the media that you name."""
    from wsklab.images.windows import Media

    if view:
        Screens(click.echo).show()
    build(names, force, Media(iso, virtio_win, openssh), again, quiet)


@command.command("verify")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def verify_command(names: tuple[str, ...], as_json: bool) -> None:
    """Compare every file of the stored images with its SHA-256."""
    sys.exit(verify(names, as_json))


@command.command("remove")
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
def remove_command(names: tuple[str, ...]) -> None:
    """Remove images from the store."""
    remove(names)
