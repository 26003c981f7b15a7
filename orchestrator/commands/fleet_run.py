"""`wsklab run --fleet`: what it takes, where the workers are, and what they are sent."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from wsklab import images
from wsklab.drivers.build import BuiltDriver
from wsklab.orchestrator.errors import LabError, UsageError
from wsklab.orchestrator.fleet import extra
from wsklab.qemu import accel
from wsklab.qemu.deadline import left, within
from wsklab.qemu.process import Child
from wsklab.qemu.profile import Accelerator

if TYPE_CHECKING:  # dask is imported by who has a fleet
    from wsklab.orchestrator.commands.run_options import Options
    from wsklab.orchestrator.fleet.needs import Needs
    from wsklab.orchestrator.run.order import Item
    from wsklab.orchestrator.run.preparation import Preparation
    from wsklab.orchestrator.run.runner import Run

LOCAL = "local"
STORE = "WSKLAB_FLEET_STORE"
"""In the environment: the URL of the store."""

JOINED = 60.0
"""Seconds for the first worker to be there."""

SETTLED = 10.0
"""Seconds after which those workers that are there are all that there will be, when none of them fits."""

LOOK = 2.0
"""Seconds between two looks at them."""

STARTED = 60.0
"""Seconds for a scheduler and a worker of our own to start."""


def check(options: Options) -> None:
    """See that a fleet can do what is asked, before anything is built. Raises UsageError."""
    if options.view or options.hold != "never" or options.debugger is not None:
        raise UsageError("--view, --hold and --debugger are for a lab on this host: leave out --fleet.")
    extra.needed()
    if options.fleet == LOCAL:
        return
    from wsklab.orchestrator.fleet import serving
    from wsklab.orchestrator.fleet.security import security
    from wsklab.orchestrator.fleet.transport import store

    assert options.fleet is not None
    serving.split(options.fleet)
    security(options.fleet, "client")
    if options.jobs != 1:
        raise UsageError("a worker of a fleet says itself how many labs it has (`wsklab fleet worker --labs`).")
    if not os.environ.get(STORE):
        raise UsageError(
            f"workers get images and drivers out of a store: set {STORE} to a URL that this host and all workers can "
            "reach (a folder, s3://…, gs://…, abfs://…, https://…; docs/fleet.md)."
        )
    store.Store(os.environ[STORE])


@dataclass
class Joined:
    """A fleet that a run has joined."""

    options: Options
    folder: Path
    address: str
    accelerator: Accelerator
    children: Sequence[Child] = ()

    def fitted(self, preparation: Preparation) -> Preparation:
        """Return the preparation as its labs will be: on the workers' accelerator."""
        return replace(preparation, accelerator=self.accelerator)

    def play(
        self, run: Run, preparation: Preparation, driver: BuiltDriver, items: Iterator[Item], total: int | None
    ) -> None:
        """Send the workers what they need, and play; what was started for it is ended. Raises LabError."""
        try:
            self._play(run, preparation, driver, items, total)
        finally:
            for child in self.children:
                child.terminate()
            for child in self.children:
                if child.wait(within(15)) is None:
                    child.kill()

    def _play(
        self, run: Run, preparation: Preparation, driver: BuiltDriver, items: Iterator[Item], total: int | None
    ) -> None:
        from wsklab.orchestrator.fleet.client.dispatch import Dispatch
        from wsklab.orchestrator.fleet.client.link import Link
        from wsklab.orchestrator.fleet.security import security

        job, store = self._job(run, preparation, driver)
        tls = security(self.address, "client")
        Dispatch(
            run,
            job,
            _needs(preparation, self.accelerator),
            lambda: Link(self.address, tls, job.run),
            store,
            self.options.until_fail is not None,
        ).play(items, total)

    def _job(self, run: Run, preparation: Preparation, driver: BuiltDriver) -> tuple[Any, Any]:
        from wsklab.orchestrator.fleet.job import Job, fingerprint
        from wsklab.orchestrator.fleet.transport import shipping
        from wsklab.orchestrator.fleet.transport.store import Cache, Store

        url = self._store_url()
        store = Store(url)
        used = {image.key: image for image in (preparation.peer, preparation.guest.image)}.values()
        cache = Cache(images.cache_folder())
        ship: Callable[[Path], str] = cache.add  # a local fleet's worker has our cache
        if self.options.fleet != LOCAL:
            ship = store.put if store.writable else store.found
            with preparation.console.step("images in the store") as found:
                shipping.publish(store, used, found)
        options = self.options
        job = Job(
            run=f"{str(run.results.run['uuid'])[:8]}-{uuid.uuid4().hex[:8]}",
            lab=fingerprint(),
            target=options.target,
            accelerator=self.accelerator,
            seed=options.seed if not options.resume else int(cast(int, run.results.run["seed"])),
            isolate=options.isolate,
            cold=options.cold,
            strict=options.seed if options.strict else None,
            verify=options.verify,
            store=url,
            lean=options.lean,
            images=tuple(shipping.image_ref(image) for image in used),
            driver=shipping.ship_driver(driver, ship),
            foreign=shipping.ship_foreign(preparation.foreign, ship) if preparation.foreign else None,
        )
        return job, store

    def _store_url(self) -> str:
        if self.options.fleet == LOCAL:
            return str(images.cache_folder() / "fleet" / "store")
        return os.environ[STORE]


def join(options: Options, folder: Path, preparation: Preparation) -> Joined:
    """Find the workers; of a local fleet, start scheduler and worker. Raises UsageError, LabError."""
    assert options.fleet is not None
    if options.fleet != LOCAL:
        return Joined(options, folder, options.fleet, _accelerator(options.fleet, preparation))
    labs = preparation.admitted(options.jobs)
    logs = folder / "fleet"
    logs.mkdir(exist_ok=True)
    children: list[Child] = []
    with preparation.console.step("scheduler and worker") as found:
        scheduler = _child("scheduler", ["tcp://127.0.0.1:0", "--dashboard", "127.0.0.1:0"], logs, children)
        address = _said(scheduler, "scheduler: ", logs)
        words = [address, "--labs", str(labs), "--host", "127.0.0.1"]
        os.environ["WSKLAB_ACCEL"] = preparation.accelerator  # it has been chosen already
        _said(_child("worker", words, logs, children), "worker ", logs)
        found(f"{labs} {'slot' if labs == 1 else 'slots'}")
    return Joined(options, folder, address, preparation.accelerator, tuple(children))


def _child(what: str, words: Sequence[str], logs: Path, children: list[Child]) -> Child:
    command = [sys.executable, "-P", "-m", "wsklab.orchestrator", "fleet", what, *words]
    children.append(Child(command, logs / f"{what}.log", pipes=True, tidies=True))
    return children[-1]


def _said(child: Child, begins: str, logs: Path) -> str:
    """Return what follows after these words in a line that the process says. Raises LabError."""
    for line in child.stdout:
        text = line.decode(errors="replace").strip()
        if text.startswith(begins):
            return text.removeprefix(begins)
    raise LabError(f"the local fleet does not start; {logs} says more: {child.stderr_tail().strip()[-300:]}")


def _accelerator(address: str, preparation: Preparation) -> Accelerator:
    """Return what the workers run guests on: KVM where any of them has it. Raises LabError when nobody is there."""
    from wsklab.orchestrator.fleet.client.link import Link
    from wsklab.orchestrator.fleet.needs import offer_of
    from wsklab.orchestrator.fleet.security import security

    wanted = accel.wanted()
    choices: Sequence[Accelerator] = (wanted,) if wanted else ("kvm", "tcg")
    link = Link(address, security(address, "client"), "joining")
    try:
        deadline, soon = within(JOINED), within(SETTLED)
        with preparation.console.step("workers") as found:
            while True:
                offers = [offer_of(about) for about in link.workers().values()]
                for choice in choices:
                    needs = _needs(preparation, choice)
                    if slots := sum(offer.slots[needs.slot] for offer in offers if needs.unmet(offer) is None):
                        found(f"{needs.slot}: {slots:.0f}")
                        return choice
                if not left(soon if offers else deadline):
                    why = _needs(preparation, choices[-1]).nobody(offers)
                    raise LabError(f"{address}: {why}; start one that can: `wsklab fleet worker {address}`.")
                link.news(LOOK)
    finally:
        link.close()


def _needs(preparation: Preparation, accelerator: Accelerator) -> Needs:
    """Return what a worker has to have for a lab of this run."""
    from wsklab.orchestrator.fleet.job import fingerprint
    from wsklab.orchestrator.fleet.needs import Needs
    from wsklab.orchestrator.fleet.worker.machine import resource

    used = {image.key: image.manifest.size_bytes / 2**20 for image in (preparation.peer, preparation.guest.image)}
    slot = resource(preparation.guest.kind == "windows", accelerator)
    return Needs(slot, fingerprint(), preparation.guests_mib, used)
