"""A scheduler and a worker of dask's, as processes of a fleet: thin, and with no word of dask's own on the console."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from distributed import Scheduler, Worker
from distributed.core import Status
from distributed.worker import DEFAULT_METRICS

from wsklab import images
from wsklab.orchestrator.errors import LabError, UsageError
from wsklab.orchestrator.fleet.needs import TOLD
from wsklab.orchestrator.fleet.security import security
from wsklab.orchestrator.fleet.worker import crew
from wsklab.orchestrator.fleet.worker.machine import Slots
from wsklab.orchestrator.fleet.worker.players import sweep

Say = Callable[[str], None]

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

LOOK = 1.0
"""Seconds between two attempts to reach a scheduler that is not there."""

NOWHERE = "127.0.0.1:0"
"""Where dask's own web server is when nobody has asked for it: it cannot be left out."""


def _stopping() -> asyncio.Event:
    """Set by the first signal that ends a process."""
    stopping, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in SIGNALS:
        loop.add_signal_handler(number, stopping.set)
    return stopping


async def scheduler(address: str, dashboard: str | None, tls: Path | None, say: Say) -> None:
    """Be the scheduler at `tcp://HOST:PORT` or `tls://HOST:PORT` until a signal comes. Raises UsageError, LabError."""
    protocol, host, port = split(address)
    stopping = _stopping()
    try:
        made = await Scheduler(
            host=host,
            port=port,
            protocol=protocol,
            security=security(address, "scheduler", tls),
            dashboard=dashboard is not None,
            dashboard_address=dashboard or NOWHERE,
        )
    except (OSError, ValueError) as error:
        raise LabError(f"{address}: nobody can listen there: {error}; name another address or port.") from None
    if dashboard is None:
        made.services.pop("dashboard", None)  # its web server has other pages; nobody is sent there
    say(f"scheduler: {made.address}")
    if dashboard is not None and "dashboard" in made.services:
        say(f"dashboard: {dashboard_url(made)}")
    waiting = asyncio.ensure_future(stopping.wait())
    await asyncio.wait({waiting, asyncio.ensure_future(made.finished())}, return_when=asyncio.FIRST_COMPLETED)
    with suppress(Exception):
        await made.close()


def dashboard_url(made: Scheduler) -> str:
    """Where a scheduler's dashboard is."""
    port = made.services["dashboard"].port
    return f"http://{made.services['dashboard'].address or '127.0.0.1'}:{port}/status"


async def worker(address: str, slots: Slots, name: str | None, host: str | None, tls: Path | None, say: Say) -> None:
    """Play for the scheduler at `address` until a signal comes; when it is gone, wait for it. Raises UsageError."""
    protocol, _, _ = split(address)
    stopping = _stopping()
    waiting = asyncio.ensure_future(stopping.wait())
    name = name or f"{socket.gethostname()}-{os.getpid()}"
    told = False
    while not stopping.is_set():
        sweep()
        made = Worker(
            address,
            nthreads=slots.labs,
            name=name,
            resources=slots.resources,
            metrics={**DEFAULT_METRICS, TOLD: lambda _worker: asyncio.to_thread(slots.told)},
            security=security(address, "worker", tls),
            protocol=protocol,
            host=host,
            memory_limit=0,
            dashboard=False,
            dashboard_address=NOWHERE,
            death_timeout=None,
            local_directory=str(images.cache_folder() / "fleet" / "dask"),
        )
        starting = asyncio.ensure_future(_started(made))
        await asyncio.wait({waiting, starting}, return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
            break
        if (why := starting.result()) is not None:
            if not told:
                say(f"worker {name}: the scheduler {address} cannot be reached ({why}); it is tried again and again")
            told = True
            await asyncio.wait({waiting}, timeout=LOOK)
            continue
        told = False
        say(f"worker {name}: {slots.labs} {'lab' if slots.labs == 1 else 'labs'} on {slots.accelerator} for {address}")
        await asyncio.wait({waiting, asyncio.ensure_future(made.finished())}, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.to_thread(crew.close, made)
        with suppress(Exception):
            await made.close(timeout=2, reason="it is stopped")
        if not stopping.is_set():
            say(f"worker {name}: the scheduler {address} is gone; waiting for it")
    waiting.cancel()


async def _started(made: Worker) -> str | None:
    """Start a worker; returns why that is not possible now."""
    try:
        await made
    except Exception as error:
        return str(error).splitlines()[0][:200] or type(error).__name__
    return None if made.status == Status.running else made.status.name


def split(address: str) -> tuple[str, str, int]:
    """Protocol, host and port of an address. Raises UsageError."""
    protocol, found, rest = address.partition("://")
    host, _, port = rest.rpartition(":")
    if protocol not in ("tcp", "tls") or not found or not host or not port.isdecimal():
        raise UsageError(f"'{address}' is no address of a scheduler: write tcp://HOST:PORT or tls://HOST:PORT.")
    return protocol, host.strip("[]"), int(port)
