"""What a run stands on: images, accelerator and folder; from them come its labs, as many as the host has room for."""

from __future__ import annotations

import itertools
import json
import platform
import shlex
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from wsklab import images
from wsklab.drivers.build import BuiltDriver, build_standin
from wsklab.images.errors import ImageError
from wsklab.images.secure import sha256
from wsklab.images.store import Store
from wsklab.orchestrator.errors import LabError
from wsklab.orchestrator.guest import find
from wsklab.orchestrator.guest.guest import Guest
from wsklab.orchestrator.lab.lab import Lab
from wsklab.orchestrator.lab.peer import PEER_PROFILE
from wsklab.orchestrator.lab.snapshots import Snapshots, key_of
from wsklab.orchestrator.results.console import Console
from wsklab.orchestrator.results.results import Plan, Results
from wsklab.orchestrator.run import capacity, janitor, runner
from wsklab.orchestrator.run.ahead import Ahead
from wsklab.orchestrator.run.hold import Hold
from wsklab.orchestrator.run.stopping import Stop
from wsklab.orchestrator.run.supply import LabSupply
from wsklab.qemu import accel, profile
from wsklab.qemu.errors import MachineError
from wsklab.qemu.profile import Accelerator, load_profile
from wsklab.qemu.recording import SLOWER

if TYPE_CHECKING:  # what other drivers need is loaded with the first of them
    from wsklab.orchestrator.lab.foreign_driver import Foreign


class ImageWatch:
    """Looks at the images of a run again whenever a verdict is odd."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: list[str] = []
        self._look_again = 0.0  # `time.monotonic`

    def damage(self, used: Sequence[images.Image]) -> list[str]:
        """Return what is wrong with them, in sentences.

        Every file is hashed, but for no more than a fiftieth of the run's time. What was found once stays found.
        """
        with self._lock:
            began = time.monotonic()
            if not self._found and began >= self._look_again:
                store = Store(images.cache_folder())
                for image in used:
                    try:
                        store.verify(image)
                    except ImageError as error:
                        self._found.append(
                            f"the image was damaged while the run used it, so this verdict may come of that: {error}"
                        )
                self._look_again = time.monotonic() + 50 * (time.monotonic() - began)
            return list(self._found)


@dataclass(frozen=True)
class Preparation:
    """What every run stands on, made once by `prepare`: images, accelerator, the run's folder, a foreign driver."""

    folder: Path
    console: Console
    guest: Guest
    peer: images.Image
    accelerator: Accelerator
    cold: bool = False
    labs: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    foreign: Foreign | None = None  # the driver under test, when it is not ours
    stop: Stop = field(default_factory=Stop)
    watch: ImageWatch = field(default_factory=ImageWatch)
    hold: Hold | None = None
    debugger_port: int | None = None
    elsewhere: Callable[[Snapshots, str], None] = lambda _snapshots, _key: None
    """Fetches the kept snapshot of a key that is not here, if somebody else has it."""
    recorded: bool = False

    @classmethod
    def prepare(
        cls,
        folder: Path,
        console: Console,
        cold: bool = False,
        target: str = find.STANDIN,
        verify: str | None = None,
        foreign: Foreign | None = None,
        meanwhile: Callable[[], object] = lambda: None,
        *,
        strict: int | None = None,
        stop: Stop | None = None,
        hold: Hold | None = None,
        debugger_port: int | None = None,
    ) -> Preparation:
        """Build what is missing, the images beside everything else; `meanwhile` makes what the caller needs besides.

        `cold` labs neither start from a kept snapshot nor leave one; `foreign` is the driver under test when it is not
        ours; `hold` keeps labs for people to look at, `debugger_port` (on 127.0.0.1) lends their debug line.
        Raises DriverError, ImageError, MachineError.
        """
        accel.wanted()  # a wrong word is refused before anything is built for it
        for line in janitor.tidy(images.cache_folder()):
            console.line(f"          {line}", "dim")
        with Ahead(lambda note: console.line(note, "dim")) as ahead:
            if not images.stored("peer", {}):
                ahead.start("peer")
            with console.step("provider and agent", makes=True):
                inputs = build_standin(images.cache_folder(), console.progress).inputs
            if target == find.STANDIN and not images.stored(find.STANDIN, inputs):
                ahead.start(find.STANDIN)
            meanwhile()
            with _image("peer", "image of the peer", ahead, console):
                peer = images.ensure("peer", inputs, console.progress)
            with console.step("accelerator") as found:  # tried with a guest, which takes a while where KVM hangs
                accelerator, why = accel.choose(peer.kernel, peer.initrd, images.cache_folder())
                found(f"{accelerator}: {why}")
            title = "image of the stand-in" if target == find.STANDIN else f"image {target}"
            with _image(target, title, ahead, console):
                guest = find.find(target, accelerator, inputs, console.progress, verify, strict)
        prepared = foreign and foreign.prepared(guest.prepare, guest.pack)
        if prepared and verify:
            guest.watched = prepared.file_name
        return cls(
            folder,
            console,
            guest,
            peer,
            accelerator,
            cold,
            foreign=prepared,
            stop=stop or Stop(),
            hold=hold,
            debugger_port=debugger_port,
        )

    def damage(self) -> list[str]:
        """Return what is wrong with the images now, in sentences; they were whole when the run began."""
        return self.watch.damage((self.peer, self.guest.image))

    def strictly(self, seed: int) -> Preparation:
        """Return the same preparation, whose stand-in is strict; the labs of both are numbered together."""
        guest = copy(self.guest)
        guest.strict = seed
        return replace(self, guest=guest)

    def recording(self) -> Preparation:
        """Return the same preparation, whose labs boot, under TCG, and have their target recorded."""
        guest = copy(self.guest)
        guest.slow = {name: SLOWER * slow for name, slow in guest.slow.items()}
        return replace(self, guest=guest, accelerator="tcg", cold=True, recorded=True)

    def quietly(self) -> Preparation:
        """Return the same preparation, of whose labs the user is shown nothing."""
        return replace(self, console=Console(quiet=True))

    def results(self, driver: BuiltDriver, seed: int, plan: Plan | None = None) -> Results:
        """Empty results for a run of `driver`, from which the rows of `plan` are asked."""
        command = shlex.join(["wsklab", *sys.argv[1:]])
        return Results(
            run=runner.describe(command, seed, self.accelerator, _versions(), self.folder),
            target=self.guest.describe(),
            driver=self.foreign.document()
            if self.foreign
            else {"name": driver.name, "sha256": driver.sha256, "twin": driver.twin, "profile": "wsklab"},
            plan=plan or Plan(),
        )

    def admitted(self, wanted: int | None, lab_cores: float = capacity.LAB_CORES) -> int:
        """How many labs this host carries of those that are wanted (None: as many as it can)."""
        if wanted == 1:
            return 1
        count, why = capacity.admit(wanted, self.guests_mib, capacity.host(), lab_cores)
        if why:
            self.console.line(f"          labs side by side: {count}, as {why}")
        return count

    @property
    def guests_mib(self) -> int:
        """Memory of a lab's two guests."""
        return self.guest.profile.memory_mib + load_profile(PEER_PROFILE).memory_mib

    def room(self) -> str | None:
        """Why there is no room for one more lab on this host now; None when there is."""
        return capacity.room(self.guests_mib, capacity.host())

    def supply(
        self,
        driver: BuiltDriver,
        isolate: bool = False,
        booted: Callable[[Lab], None] = lambda lab: None,
        variant: str = "",
    ) -> LabSupply:
        """Return a supply of labs with `driver` loaded, one at a time, all on one variant of the machine."""

        def tell(reason: str) -> None:
            self.console.line(f"          {reason}: the next scenario gets a fresh lab", "yellow")

        return LabSupply(lambda: self.boot(driver, variant), self.folder, isolate, self.stop, tell, booted)

    def boot(self, driver: BuiltDriver, variant: str = "") -> Lab:
        """Return a lab with `driver` loaded, from the kept snapshot if there is a good one.

        Raises LabError, MachineError. A foreign driver is put in afterwards: what is kept serves every driver.
        """
        lab = self._boot(driver, self.guest.varied(variant))
        if self.foreign is not None:
            with self.console.step(f"driver {self.foreign.profile.name}"):
                for remark in lab.install_foreign(self.foreign).remarks:
                    self.console.progress(remark)
        return lab

    def _boot(self, driver: BuiltDriver, guest: Guest) -> Lab:
        title = f"lab, variant {guest.profile.variant_name}" if guest.profile.variant_name else "lab"
        if self.cold:
            with self.console.step(title):
                return self._lab(guest).boot(driver, self.console.progress)
        snapshots, ingredients = Snapshots(images.cache_folder()), self._ingredients(driver, guest)
        key = key_of(ingredients)
        with self.console.step(title) as found:
            lab = self._resume(snapshots, key, driver, guest)
            if lab is not None:
                found(f"from the kept snapshot {key[:12]}")
                return lab
            return self._boot_and_keep(snapshots, key, ingredients, driver, guest)

    def _lab(self, guest: Guest) -> Lab:
        """Return a lab to be booted. Raises Stopped when none is to be any more."""
        lab = Lab(self.folder / f"lab-{next(self.labs)}", self.accelerator, guest, self.peer)
        lab.debugger_port, lab.recorded = self.debugger_port, self.recorded
        if self.hold is not None:
            lab.failed = self.hold.failed
        self.stop.watch(lab)
        return lab

    def _resume(self, snapshots: Snapshots, key: str, driver: BuiltDriver, guest: Guest) -> Lab | None:
        """Return a lab from the kept snapshot; None if there is none, or if it was of no use and is gone now."""
        try:
            self.elsewhere(snapshots, key)
            kept = snapshots.find(key)
            if kept is None:
                return None
            return self._lab(guest).resume(kept, driver)
        except (LabError, MachineError, TimeoutError) as error:
            if self.stop.requested:  # which is no fault of the snapshot's
                raise
            snapshots.remove(key)
            reason = str(error).strip().partition("\n")[0] or "it did not come to life in time"
            self.console.line(f"          the kept snapshot is removed, a cold boot follows: {reason}", "yellow")
            return None

    def _boot_and_keep(
        self, snapshots: Snapshots, key: str, ingredients: Mapping[str, str], driver: BuiltDriver, guest: Guest
    ) -> Lab:
        with snapshots.saving(key) as partial:
            lab = self._lab(guest).boot(driver, self.console.progress, partial)
            if partial is not None and not lab.complaints():  # who takes it up would not hear of them
                try:
                    snapshots.publish(partial, key, ingredients)
                except OSError as error:
                    self.console.line(f"          the snapshot is not kept: {error}", "yellow")
        return lab

    def _ingredients(self, driver: BuiltDriver, guest: Guest) -> dict[str, str]:
        """All that a saved lab depends on."""
        machine = {"target": guest.profile.model_dump_json(), "peer": load_profile(PEER_PROFILE).model_dump_json()}
        host = "" if self.accelerator == "tcg" else platform.processor() + platform.release()
        return {
            **guest.ingredients(),
            "peer": self.peer.key,
            "driver": driver.sha256,
            "file": driver.path.name,
            "profiles": json.dumps(machine, sort_keys=True),
            "machine": sha256(Path(profile.__file__)),
            "qemu": accel.qemu_version(),
            "accelerator": self.accelerator,
            "host": host,
        }


@contextmanager
def _image(name: str, title: str, ahead: Ahead, console: Console) -> Iterator[None]:
    """Show the step in which an image is taken, which may have to be waited for."""
    with console.step(title, makes=True) as found:
        took = ahead.finish(name)
        if took is not None:
            found(f"made in {took:.1f} s beside the rest")
        yield


def _versions() -> dict[str, str]:
    return {"wsklab": version("wsklab"), "python": platform.python_version(), "qemu": accel.qemu_version()}
