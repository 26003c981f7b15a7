"""`wsklab fleet`: a scheduler, workers, their certificates, and what they need in the store."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

import click

from wsklab import images
from wsklab.orchestrator.commands.fleet_run import STORE
from wsklab.orchestrator.commands.options import jobs_of
from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.fleet import extra

tls_option = click.option(
    "--tls",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="FOLDER",
    help="The certificates, for tls:// (WSKLAB_FLEET_TLS says it for all commands).",
)
log_option = click.option("-v", "--verbose", is_flag=True, help="Show what dask logs.")


@click.group("fleet")
def command() -> None:
    """Run scenarios on more machines than one, by dask.distributed (docs/fleet.md)."""


@command.command("scheduler")
@click.argument("address", default="tcp://127.0.0.1:8786")
@click.option("--dashboard", metavar="HOST:PORT", help="Serve dask's dashboard there (plain HTTP).")
@tls_option
@log_option
def scheduler(address: str, dashboard: str | None, tls: Path | None, verbose: bool) -> None:
    """Be the scheduler, at tcp://HOST:PORT or tls://HOST:PORT, until Ctrl-C or SIGTERM.

    Over tcp:// everybody who can reach it can run programs on all workers: name an address that only they can reach.
    """
    _prepare(verbose)
    from wsklab.orchestrator.fleet import serving

    _, host, _ = serving.split(address)
    if address.startswith("tcp://") and host not in ("127.0.0.1", "localhost", "::1"):
        click.echo(
            f"wsklab: {address} is not encrypted, and whoever reaches it may run programs on every worker; "
            "tls:// lets only those in who have a certificate.",
            err=True,
        )
    asyncio.run(serving.scheduler(address, dashboard, tls, click.echo))


@command.command("worker")
@click.argument("scheduler")
@click.option("--labs", default="auto", metavar="N|auto", callback=jobs_of, help="Lab slots  [default: auto]")
@click.option("--windows", is_flag=True, help="Its licences allow Windows guests here.")
@click.option(
    "--images",
    "images_gib",
    type=click.FloatRange(0, min_open=True),
    metavar="GIB",
    help="Keep no more images than that: the longest unused goes first, never one in use.",
)
@click.option("--name", metavar="NAME", help="What it is called  [default: the host's name and its process]")
@click.option("--host", metavar="ADDRESS", help="Where it listens, on this host.")
@tls_option
@log_option
def worker(
    scheduler: str,
    labs: int | None,
    windows: bool,
    images_gib: float | None,
    name: str | None,
    host: str | None,
    tls: Path | None,
    verbose: bool,
) -> None:
    """Play scenarios for a scheduler, until Ctrl-C or SIGTERM; wait for the scheduler when it is away.

    Its cache is $WSKLAB_CACHE; the store is what the client says, or $WSKLAB_FLEET_STORE where it has another name.
    """
    _prepare(verbose)
    from wsklab.orchestrator.fleet import serving
    from wsklab.orchestrator.fleet.transport import shipping, store
    from wsklab.orchestrator.fleet.worker import machine

    if images_gib is not None:
        os.environ[shipping.ROOM] = str(images_gib)  # for the processes that have the labs
    found = machine.slots(labs, windows, store.of(os.environ.get(STORE)))
    asyncio.run(serving.worker(scheduler, found, name, host, tls, click.echo))


@command.command("certificates")
@click.argument("folder", type=click.Path(path_type=Path))
def certificates(folder: Path) -> None:
    """Make a fleet's certificates in an empty FOLDER: ca.pem, and one with its key for each role.

    Give each machine ca.pem and the two files of its role; ca-key.pem stays where it is.
    """
    from wsklab.orchestrator.fleet.security import make

    for path in make(folder):
        click.echo(str(path))


@command.command("publish")
@click.argument("names", nargs=-1, metavar="[IMAGE]...")
@click.option("--snapshots", is_flag=True, help="The kept snapshots of labs with these images, too.")
def publish(names: tuple[str, ...], snapshots: bool) -> None:
    """Put images into the store ($WSKLAB_FLEET_STORE); none named: the newest of each that is here.

    A run does that itself where it may write there. A worker takes a snapshot where it would have kept the same one.
    """
    _prepare(False)
    from wsklab.orchestrator.fleet.transport import kept_snapshots, shipping, store
    from wsklab.orchestrator.lab.snapshots import Snapshots

    if not os.environ.get(STORE):
        raise UsageError(f"set {STORE} to the store's URL.")
    newest = {image.name: image for image in reversed(images.listing())}
    for name in names:
        if name not in newest:
            raise UsageError(f"there is no image '{name}'; there is {', '.join(sorted(newest)) or 'none'}.")
    chosen = [newest[name] for name in names or sorted(newest)]
    into = store.Store(os.environ[STORE])
    shipping.publish(into, chosen, click.echo)
    if snapshots:
        targets = {image.key for image in chosen if image.name != shipping.PEER}
        kept_snapshots.publish(into, Snapshots(images.cache_folder()), targets, click.echo)


def _prepare(verbose: bool) -> None:
    extra.needed()
    if verbose:
        extra.hush(logging.INFO)
        logging.basicConfig(format="%(asctime)s %(name)s %(message)s")
