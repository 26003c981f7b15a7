"""Makes a Windows image out of the user's own media, in steps that are kept when one fails.

    install    Windows Setup, unattended, until the first logon has switched the guest off; its disk is a checkpoint
    provision  an overlay of that disk is made ready for tests by our scripts, and switches itself off
    pack       the disk without its holes
    verify     a cold boot of an overlay, which must answer

Not yet run with Windows (docs/windows.md says what was).
"""

import hashlib
import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from wsklab.common import files
from wsklab.images.errors import ImageError
from wsklab.images.keys import ADDRESS, KeyPair, write_private
from wsklab.images.packages import Progress
from wsklab.images.secure import sha256
from wsklab.images.store import Image, Manifest, Store
from wsklab.images.windows.answers import contents
from wsklab.images.windows.answers.settings import DISC_LABEL, Nic, Settings, random_nonce, random_password
from wsklab.images.windows.disk import logs
from wsklab.images.windows.install import report, verify
from wsklab.images.windows.install.runner import SCREEN, SetupFailed, install
from wsklab.images.windows.install.stages import STAGES, Setup
from wsklab.images.windows.install.work import Work
from wsklab.images.windows.media import installation_media
from wsklab.images.windows.media.catalogue import Version, version
from wsklab.images.windows.media.disc import write_disc
from wsklab.images.windows.media.wim import WimImage
from wsklab.qemu import enlightenments, network
from wsklab.qemu.accel import Choice, qemu_version
from wsklab.qemu.errors import MachineError
from wsklab.qemu.machine import Machine
from wsklab.qemu.profile import ImageFiles, Profile, load_profile

DISK = "64G"
SPACE = 40 << 30
"""Bytes needed while an image is made: the disk twice."""
SLOWNESS = {"kvm": 1.0, "tcg": 12.0}
_FILES = ("disk.qcow2", "variables.qcow2", "windows.json")


@dataclass(frozen=True)
class Media:
    """The files that a user brings."""

    iso: Path | None = None
    virtio_win: Path | None = None
    openssh: Path | None = None
    """OpenSSH-Win64.zip of github.com/PowerShell/Win32-OpenSSH; without it the agent on COM2 is the only way in."""


def _archive(path: Path) -> bytes:
    """Return the bytes of an OpenSSH archive. Raises ImageError."""
    try:
        return files.read_bytes(path, files.DRIVER)
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {files.why(error)}") from None


def build(name: str, brought: Media, inputs: Mapping[str, bytes], accelerator: Callable[[], Choice], store: Store,
          progress: Progress, fresh: bool = False, again: str | None = None) -> Image:  # fmt: skip
    """Make the image, or go on where an earlier attempt failed. Raises ImageError.

    What the store has of the same media and files is not made again, unless `fresh`; `again` names a step of `STEPS`
    that is done again with all after it, whatever is done.

    `inputs` are those of `contents.INPUTS`. `accelerator` is asked when the first machine is needed, not before.
    """
    iso, virtio_win = require(name, brought)
    wanted = version(name)
    missing = [one for one in contents.INPUTS if one not in inputs]
    if missing:
        raise ImageError(f"the image {name} needs {', '.join(missing)}; run `wsklab driver build` first")
    profile = load_profile(name)
    image = _inspect(name, iso, wanted, profile, progress)
    label, drivers = installation_media.read_drivers(virtio_win, wanted)
    progress(f"drivers: {len(drivers)} files of {label}")
    progress("hashing the media")
    hashes = {
        str(field): installation_media.hash_of(path) for field, path in asdict(brought).items() if path is not None
    }
    progress(installation_media.remark(iso, hashes["iso"]))
    openssh = None if brought.openssh is None else _archive(brought.openssh)
    total = hashlib.sha256(json.dumps([contents.digest(), hashes, asdict(image)]).encode())
    for one in contents.INPUTS:
        total.update(hashlib.sha256(inputs[one]).digest())
    if not fresh and not again and (kept := store.find(total.hexdigest())):
        store.check(kept)
        return kept
    with store.building(name, progress) as partial:
        work = Work(work_folder(store, name))
        if again:
            work.forget(again)
        settings = _settings(work, wanted, image, profile, openssh is not None)
        discs = Discs(contents.for_setup(settings, drivers),
                      contents.for_provisioning(settings, drivers, inputs, openssh))  # fmt: skip
        progress(f"our discs: {len(discs.setup)} and {len(discs.provision)} files, answer file checked")
        install = _key(hashes["iso"], profile.model_dump_json(), discs.setup)
        provision = _key(install, "", discs.provision)
        choice = accelerator()
        fitted = enlightenments.fit(profile) if choice.name == "kvm" else profile
        progress(f"accelerator {choice.name}: {choice.reason}")
        maker = _Maker(name, iso, work, settings, discs, fitted, choice, progress)
        for step, key, action in (("install", install, maker.install), ("provision", provision, maker.provision),
                                  ("pack", provision, maker.pack), ("verify", provision, maker.verify)):  # fmt: skip
            if work.done(step, key):
                progress(f"{step}: done by an earlier attempt")
            else:
                with work.step(step, key) as folder:
                    action(folder)
        published = _publish(name, work, partial, store, total.hexdigest(), hashes, maker)
        work.finish()
        progress(f"the installed disk stays in {work.folder} for `--from provision`; "
                 f"`wsklab image remove {name}` deletes it")  # fmt: skip
    return published


def work_folder(store: Store, name: str) -> Path:
    """Where unfinished work for an image is, and the checkpoint of a finished one."""
    return store.images.parent / "windows" / name


@dataclass(frozen=True)
class Discs:
    """The files of the lab's own two discs."""

    setup: Mapping[str, bytes]
    provision: Mapping[str, bytes]


def _key(first: str, second: str, files: Mapping[str, bytes]) -> str:
    """Return what a step depends on, as one hash."""
    hashed = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    return hashlib.sha256(json.dumps([first, second, hashed], sort_keys=True).encode()).hexdigest()


def _write(files: Mapping[str, bytes], disc: Path) -> Path:
    """One of our discs, for its owner's eyes alone: a password is on it."""
    with os.fdopen(os.open(disc, os.O_WRONLY | os.O_CREAT, 0o600)):
        write_disc(files, DISC_LABEL, disc)
    return disc


def require(name: str, brought: Media) -> tuple[Path, Path]:
    """Return the two media that every build needs. Raises WrongMedium, which says where to get what was not given."""
    return installation_media.ask_for(name, version(name), brought.iso, brought.virtio_win)


def _inspect(name: str, iso: Path, wanted: Version, profile: Profile, progress: Progress) -> WimImage:
    medium = installation_media.inspect(iso)
    image = installation_media.choose(medium, name, wanted)
    installation_media.require_boot(medium, profile.firmware)
    progress(f"{iso.name} ({medium.label}): {image.title}, {image.edition}, build {image.build}, {image.language}")
    return image


def _settings(work: Work, wanted: Version, image: WimImage, profile: Profile, ssh_zip: bool) -> Settings:
    """Fresh secrets for a new image; those of the earlier attempt when one is continued."""
    if not work.facts:
        pair = KeyPair.generate()
        work.facts |= {
            "nonce": random_nonce(),
            "password": random_password(),
            "ssh_key": pair.private.decode(),
            "ssh_key_pub": pair.public.decode(),
        }
    return Settings(
        version=wanted,
        image=image,
        firmware=profile.firmware,
        nonce=work.facts["nonce"],
        password=work.facts["password"],
        ssh_key=work.facts["ssh_key_pub"].strip(),
        nics=(
            Nic("wire", profile.wire_mac, network.MACHINES["target"].networks),
            Nic("management", profile.management_mac, (f"{network.MANAGEMENT_ADDRESS}/{network.MANAGEMENT_PREFIX}",)),
        ),
        ssh_zip=ssh_zip,
    )


@dataclass
class _Maker:
    """The steps that need machines."""

    name: str
    iso: Path
    work: Work
    settings: Settings
    discs: Discs
    profile: Profile
    choice: Choice
    progress: Progress

    @property
    def slowness(self) -> float:
        return SLOWNESS[self.choice.name]

    @property
    def _has_ssh(self) -> bool:
        return self.settings.ssh_zip or self.settings.version.brings_ssh

    def install(self, folder: Path) -> None:
        """Run Setup on an empty disk."""
        free = shutil.disk_usage(folder).free
        if free < SPACE:
            raise ImageError(f"{folder} has {free >> 30} GiB free, but making a Windows image takes {SPACE >> 30} GiB; "
                             "free some, or set WSKLAB_CACHE to a folder on another disk")  # fmt: skip
        blank = folder / "blank.qcow2"
        _qemu_img("create", "-q", "-f", "qcow2", str(blank), DISK)
        files = ImageFiles(disk=blank, cdroms=(self.iso, _write(self.discs.setup, folder / "setup.iso")))
        self._run(files, folder, Setup(self.settings.nonce, time.monotonic(), self.slowness, goal="installed"))
        # Nothing was ever on the disk below it: what is made on top has one file less to open.
        _qemu_img("rebase", "-q", "-u", "-b", "", str(folder / "overlay.qcow2"))

    def provision(self, folder: Path) -> None:
        """Have our scripts make an overlay of the installed disk ready for tests."""
        made = self.work.folder / "install"
        ours = _write(self.discs.provision, folder / "provision.iso")
        # The same drives as before, for the same letters; the disk comes before the disc of Windows.
        files = ImageFiles(disk=made / "overlay.qcow2", variables=made / "variables.qcow2", cdroms=(self.iso, ours))
        setup = Setup(self.settings.nonce, time.monotonic(), self.slowness, stage="installed")
        self._run(files, folder, setup)
        guest = report.read(setup.report)
        wrong = [check for check in report.check(guest, self.settings) if not check.ok]
        if wrong:
            seen = "; ".join(f"{check.name}: {check.seen}" for check in wrong)
            raise ImageError(f"Windows was installed but is not as it must be ({seen}); the report: {guest}. "
                             "`--from provision` tries again from the installed disk")  # fmt: skip
        if warning := report.licence_warning(guest, 0.0):
            self.progress(warning)
        self.work.facts["report"] = guest.model_dump(mode="json")

    def _run(self, files: ImageFiles, folder: Path, setup: Setup) -> None:
        with _cable() as wire:
            # Nobody debugs Setup, and what a debugger says on COM1 would be a key pressed in the firmware.
            quiet = self.profile.model_copy(update={"debug": "text"})
            machine = Machine(f"{self.name}-setup", quiet, files, folder, self.choice.name, wire)
            self.progress(f"  0:00  {STAGES[setup.stage]}")
            try:
                install(machine, setup, self.progress)
            except SetupFailed as failure:
                raise ImageError(self._tell(failure, machine)) from None

    def pack(self, folder: Path) -> None:
        """Write the disk out without the blocks that are not used."""
        self.progress("packing the disk")
        made = self.work.folder / "provision"
        _qemu_img("convert", "-q", "-O", "qcow2", str(made / "overlay.qcow2"), str(folder / "disk.qcow2"))
        shutil.copyfile(made / "variables.qcow2", folder / "variables.qcow2")

    def verify(self, folder: Path) -> None:
        """Start it as a lab does."""
        packed = self.work.folder / "pack"
        files = ImageFiles(disk=packed / "disk.qcow2", variables=packed / "variables.qcow2")
        with _cable() as wire:
            machine = Machine(self.name, self.profile, files, folder, self.choice.name, wire)
            try:
                checks = verify.boot(machine, self.slowness, self._has_ssh, self.progress)
            except MachineError as error:
                raise ImageError(f"the finished image does not start: {error}; what it left is in {folder}") from None
        verify.save(checks, folder / "checks.json")
        self.work.facts["checks"] = [asdict(check) for check in checks]
        wrong = [f"{check.name}: {check.seen}" for check in checks if not check.ok]
        if wrong:
            raise ImageError(f"the finished image does not pass its verification boot ({'; '.join(wrong)}); "
                             f"what it left is in {folder}")  # fmt: skip

    def _tell(self, failure: SetupFailed, machine: Machine) -> str:
        """Return what a user needs to go on: how far it came, why it stopped, where to look."""
        found = logs.pull(machine.overlay, machine.folder / "logs") if failure.stage != "firmware" else ""
        screen = machine.folder / SCREEN
        return (
            f"{self.name} was not made: {failure}. "
            f"{f'Last screen: {screen}. ' if screen.exists() else ''}{f'{found}. ' if found else ''}"
            f"Serial lines and QMP log: {machine.folder}. The same command tries again, and keeps what was done before"
        )


def _publish(name: str, work: Work, partial: Path, store: Store, digest: str, hashes: Mapping[str, str],
             maker: _Maker) -> Image:  # fmt: skip
    """Make the finished work an image of the store."""
    for file in _FILES[:2]:
        (work.folder / "pack" / file).rename(partial / file)
    guest = work.facts["report"]
    about = {
        "media": dict(hashes),
        "installed": asdict(maker.settings.image),
        "qemu": qemu_version(),
        "profile": maker.profile.model_dump(mode="json"),
        "accelerator": maker.choice.name,
        "guest": guest,
        "checks": work.facts["checks"],
    }
    (partial / _FILES[2]).write_text(json.dumps(about, indent=1) + "\n")
    write_private(partial / "ssh_key", work.facts["ssh_key"].encode())
    write_private(partial / "password", maker.settings.password.encode())
    (partial / "ssh_key.pub").write_text(work.facts["ssh_key_pub"])
    host_key = " ".join(guest["ssh_host_key"].split()[:2])
    (partial / "known_hosts").write_text(f"{ADDRESS} {host_key}\n" if host_key else "")
    files = {file: sha256(partial / file) for file in _FILES}
    manifest = Manifest(
        name=name,
        kind="windows",
        key=hashlib.sha256(json.dumps([digest, files]).encode()).hexdigest(),
        recipe_sha256=digest,
        packages={},
        files=files,
        size_bytes=sum((partial / file).stat().st_size for file in _FILES),
        built=datetime.now(UTC).isoformat(timespec="milliseconds"),
        kernel_args="",
    )
    return store.publish(partial, manifest)


@contextmanager
def _cable() -> Iterator[socket.socket]:
    """Give a wire with nobody at its far end: a card that came after the first boot would be new to Windows."""
    near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with near, far:
        yield near


def _qemu_img(*words: str) -> None:
    done = subprocess.run(["qemu-img", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ImageError(f"qemu-img {words[0]} failed: {done.stderr.strip()}")
