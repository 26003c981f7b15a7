"""The process that has a lab on a worker: it is told a job and then items, a line of JSON each, and answers with rows.

A process of its own, so that a lab that is wanted no more can be ended at once, whatever it is doing, and so that its
work never keeps the worker from saying that it lives. It ends when its standard input does. What it prints goes to
stderr; the answers have a descriptor of their own.
"""

from __future__ import annotations

import functools
import os
import shutil
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, cast

from wsklab import images
from wsklab.common import json_line
from wsklab.drivers.build import BuiltDriver
from wsklab.orchestrator import unexpected
from wsklab.orchestrator.errors import LabError
from wsklab.orchestrator.fleet.job import Back, ImageRef, Job, back_as_json, job_of
from wsklab.orchestrator.fleet.transport import kept_snapshots, packing, shipping
from wsklab.orchestrator.fleet.transport.store import Cache, Store, StoreError, of
from wsklab.orchestrator.guest import find
from wsklab.orchestrator.lab.lab import Lab
from wsklab.orchestrator.lab.snapshots import Snapshots
from wsklab.orchestrator.results.console import Console
from wsklab.orchestrator.results.results import UNLOAD, ScenarioResult
from wsklab.orchestrator.run import janitor
from wsklab.orchestrator.run.evidence import NEEDED_FREE
from wsklab.orchestrator.run.order import Item, evidence_name
from wsklab.orchestrator.run.preparation import Preparation
from wsklab.orchestrator.run.runner import Done, Run
from wsklab.orchestrator.run.supply import LabSupply
from wsklab.orchestrator.run.workers import judged
from wsklab.orchestrator.scenario.scenario import Scenario
from wsklab.qemu.profile import Accelerator

FULL = 64 << 20
"""Bytes of disk below which an `infra` comes of the disk, whatever else it says."""


@dataclass
class Collected(Run):
    """A run whose rows go to somebody else."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.come: list[Done] = []

    def add(self, done: Done) -> ScenarioResult:
        """Keep a row until it is sent."""
        if done.result.verdict != "pass":
            done = replace(done, result=replace(done.result, findings=(*done.result.findings, *self.damage())))
        self.come.append(done)
        return done.result


class Place:
    """One lab after another, for the items of one job."""

    def __init__(self, job: Job, folder: Path) -> None:
        """Fetch what the job needs. Raises LabError, ImageError, OSError."""
        self._job, self._folder = job, folder
        cache = images.cache_folder()
        # The same store may have another name here: http where the client writes into a folder.
        self._store: Store | None = of(os.environ.get("WSKLAB_FLEET_STORE") or job.store)
        by_name = {ref.name: self._image(ref, cache) for ref in job.images}
        files = Cache(cache)
        assert job.driver is not None, "a job with real labs has one"
        self._driver: BuiltDriver = shipping.driver_of(job.driver, files, self._store)
        foreign = shipping.foreign_of(job.foreign, files, self._store) if job.foreign else None
        accelerator = cast(Accelerator, job.accelerator)
        guest = find.of_image(by_name[job.target], accelerator, lambda _text: None, job.verify, job.strict)
        if foreign and job.verify:
            guest.watched = foreign.file_name
        self._preparation = Preparation(
            folder,
            Console(quiet=True),
            guest,
            by_name["peer"],
            accelerator,
            job.cold,
            foreign=foreign,
            elsewhere=self._fetch_snapshot,
        )
        self._asked_for = set[str]()
        self._run = Collected(
            folder,
            self._preparation.results(self._driver, job.seed),
            Console(quiet=True),
            self._preparation.stop,
            self._preparation.damage,
        )
        self._variant, self._lab, self._suspect, self._unloads = "", cast(Lab | None, None), False, 0
        self._supply = self._supplied("")

    def _image(self, ref: ImageRef, cache: Path) -> images.Image:
        return shipping.fetch_image(ref, cache, self._store)

    def _fetch_snapshot(self, snapshots: Snapshots, key: str) -> None:
        """Fetch a kept snapshot, once: one that was of no use here is not tried again. What is damaged is not used."""
        if self._store is None or key in self._asked_for or (snapshots.folder / key).exists():
            return
        self._asked_for.add(key)
        try:
            kept_snapshots.fetch(self._store, snapshots, key, images.cache_folder() / "images")
        except (StoreError, OSError) as error:
            print(f"no snapshot out of the store, a boot follows: {error}", file=sys.stderr)

    def _supplied(self, variant: str) -> LabSupply:
        return self._preparation.supply(self._driver, self._job.isolate, self._run.learn, variant)

    def play(self, item: Item) -> list[Back]:
        """Play an item; an item that is the driver's unload needs a lab for nothing else.

        Returns its row, and before it that of an unload that it made necessary. Raises whatever a lab may raise, after
        which nothing has come of it.
        """
        self._room()
        if item.variant != self._variant:
            self._conclude()
            self._variant, self._supply = item.variant, self._supplied(item.variant)
        self._lab = None
        self._lab = self._supply.next(self._suspect)
        if item.scenario.name == UNLOAD:
            self._conclude()
            return self._sent()
        try:
            self._lab, row = judged(self._run, self._supply, self._lab, item)
        except BaseException:
            self._run.come.clear()  # it is played again elsewhere
            self._lab = None
            raise
        self._suspect = row.verdict != "pass"
        if row.verdict == "infra" and self._free < FULL:
            self._run.come.clear()
            raise LabError(f"{self._folder}: only {self._free >> 20} MiB of disk are free")
        return self._sent()

    def conclude(self) -> list[Back]:
        """Judge the unload of the lab's driver, and stop the lab."""
        self._conclude()
        return self._sent()

    def _conclude(self) -> None:
        if self._lab is not None:
            self._unloads += 1
            self._run.unload(self._lab, self._unloads, self._variant)
        self._lab = None
        self._supply.retire()

    def stop(self) -> None:
        """Stop the lab."""
        self._supply.retire()

    def _sent(self) -> list[Back]:
        sent = []
        for done in self._run.come:
            row = done.result
            name = evidence_name(row.name, row.repeat, row.variant)
            evidence = packing.pack(self._folder, name, row, self._job.lean, self._store)
            behaviour = cast(dict[str, list[str]] | None, done.behaviour)
            sent.append(Back(row, behaviour, evidence))
        self._run.come.clear()
        self._run.results.scenarios.clear()
        return sent

    @property
    def settings(self) -> dict[str, Any]:
        """What the booted target has told of itself."""
        return dict(self._run.results.target)

    @property
    def _free(self) -> int:
        return shutil.disk_usage(self._folder).free

    def _room(self) -> None:
        if self._free < NEEDED_FREE:
            raise LabError(
                f"{self._folder}: only {self._free >> 20} MiB of disk are free, {NEEDED_FREE >> 20} are needed"
            )


@functools.lru_cache(maxsize=1000)
def _scenario(text: str) -> Scenario:
    return Scenario.model_validate_json(text)


def _item(words: Mapping[str, Any]) -> Item:
    return Item(int(words["number"]), _scenario(words["scenario"]), str(words["variant"]))


def serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answer requests until they end: a job first, then items, and `end` for the unload."""

    def answer(**words: Any) -> None:
        answers.write(json_line.encode(words) + b"\n")
        answers.flush()

    folder = Path(os.environ["WSKLAB_FLEET_WORK"])
    folder.mkdir(mode=0o700, parents=True)
    lease = janitor.Lease(folder, images.cache_folder())
    place: Place | None = None
    try:
        for line in requests:
            words: dict[str, Any] = json_line.decode(line) or {}
            try:
                if "job" in words:
                    place = Place(job_of(words["job"]), folder)
                    answer(ready=True)
                    continue
                assert place is not None, "the job is the first request"
                backs = place.play(_item(words["item"])) if "item" in words else place.conclude()
                answer(rows=[back_as_json(back) for back in backs], target=place.settings)
            except Exception as error:
                answer(failed=unexpected.sentence(error, folder))
    finally:
        if place is not None:
            place.stop()
        lease.end()
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """Be the process."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(1))
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with suppress(BrokenPipeError):
        serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
