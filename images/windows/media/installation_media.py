"""The two media that a user brings: the Windows installation disc and the virtio-win drivers."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from wsklab.common import files
from wsklab.images.errors import ImageError
from wsklab.images.windows.media import catalogue
from wsklab.images.windows.media.catalogue import EVALUATION, VIRTIO_WHERE, WHERE_TO_GET, Medium, Version
from wsklab.images.windows.media.disc import Disc, DiscError, open_disc
from wsklab.images.windows.media.wim import WimError, WimImage, read_images

BOOT_FILES = {"ovmf": "efi/boot/bootx64.efi", "seabios": "bootmgr"}
DRIVERS = {
    "viostor": "viostor.inf",
    "vioscsi": "vioscsi.inf",
    "NetKVM": "netkvm.inf",
    "viorng": "viorng.inf",
    "pvpanic": "pvpanic.inf",
    "fwcfg": "fwcfg.inf",
}
"""Folders of virtio-win that go into a guest, and the file without which each is none. `qemufwcfg` claims the same
device as `fwcfg` and stays out: only the latter lets QEMU write a dump that WinDbg reads."""
SETUP_DRIVERS = ("viostor", "vioscsi", "NetKVM")
"""What Setup needs to see disk and network; the rest is installed later."""


class WrongMedium(ImageError):
    """A file that the user brought, or did not bring, will not do."""


@dataclass(frozen=True)
class WindowsMedium:
    """A Windows installation disc."""

    path: Path
    label: str
    images: tuple[WimImage, ...]
    boots_on: frozenset[str]
    """The firmware that it carries a boot loader for."""


def inspect(path: Path) -> WindowsMedium:
    """Return what is on a Windows disc. Raises WrongMedium, which names what the file is when it is no such disc."""
    with _disc(path) as disc:
        held = {name.lower() for name in disc.names("sources")}
        wim = next((name for name in ("install.wim", "install.esd") if name in held), None)
        if "install.swm" in held:
            raise DiscError("holds a split install.swm, which is not supported: take a disc with install.wim")
        if wim is None:
            raise DiscError(f"is a disc that does not install Windows: it has no sources/install.wim{_guess(disc)}")
        with disc.open(f"sources/{wim}") as file:
            try:
                images = read_images(file)
            except WimError as error:
                raise DiscError(f"is damaged or not complete: sources/{wim} {error}") from None
        boots_on = frozenset(firmware for firmware, file in BOOT_FILES.items() if disc.has(file))
        return WindowsMedium(path, disc.label, tuple(images), boots_on)


def choose(medium: WindowsMedium, name: str, version: Version) -> WimImage:
    """Return the system to install from a medium for an image. Raises WrongMedium, which says what there is instead."""
    usable = [image for image in medium.images if image.architecture == "x64"]
    if medium.images and not usable:
        raise WrongMedium(f"{medium.path} installs Windows for {medium.images[0].architecture}; the lab needs x64")
    fitting = [image for image in usable if catalogue.version_of(image.build, image.kind) == name]
    if not fitting:
        found = sorted({f"{image.title} (build {image.build})" for image in usable}) or ["nothing"]
        others = sorted({other for image in usable if (other := catalogue.version_of(image.build, image.kind))})
        advice = f"; `wsklab image build {others[0]} --iso {medium.path}` makes an image of it" if others else ""
        raise WrongMedium(f"{medium.path} does not install {version.title}: it has {'; '.join(found)}{advice}")
    for edition in version.editions:
        for image in fitting:
            if image.edition.removesuffix(EVALUATION) == edition and image.installation != "Server Core":
                return image
    held = ", ".join(sorted({f"{image.edition} ({image.installation})" for image in fitting}))
    wanted = ", ".join(version.editions)
    raise WrongMedium(f"{medium.path} has no edition that the lab installs ({wanted}, with desktop): it has {held}")


def require_boot(medium: WindowsMedium, firmware: str) -> None:
    """Raise WrongMedium when the disc cannot be started by this firmware."""
    if firmware not in medium.boots_on:
        raise WrongMedium(f"{medium.path} has no {BOOT_FILES[firmware]}: it cannot be started; take the original ISO")


def read_drivers(path: Path, version: Version) -> tuple[str, dict[str, bytes]]:
    """Return the label of the virtio-win disc, and the drivers for this version: `viostor/viostor.inf` and so on.

    Raises WrongMedium.
    """
    found: dict[str, bytes] = {}
    with _disc(path) as disc:
        missing = []
        for driver, sign in DRIVERS.items():
            folder = f"{driver}/{version.virtio}/amd64"
            names = disc.names(folder)
            if sign not in [name.lower() for name in names]:
                missing.append(f"{folder}/{sign}")
            # Symbols are for a debugger on the host, and are most of the bytes.
            found |= {f"{driver}/{n}": disc.read(f"{folder}/{n}") for n in names if not n.lower().endswith(".pdb")}
        if missing:
            raise DiscError(
                f"is not a virtio-win disc with drivers for {version.title}: it has no {', '.join(missing)}. "
                f"A recent one is at {VIRTIO_WHERE}"
            )
        return disc.label, found


def remark(path: Path, sha256: str) -> str:
    """Return what is known of a file of this hash, in one line. An unknown one is no fault, and never stops a build."""
    if known := catalogue.recorded(sha256):
        return f"known medium: {known.title} (recorded by {known.source})"
    if named := catalogue.recorded_as(path.name):
        return f"careful: the name is that of {named.title}, but the SHA-256 is not: {_differs(named, sha256)}"
    return f"not among the recorded media (SHA-256 {sha256}); that alone is no fault"


def hash_of(path: Path) -> str:
    """SHA-256, in hex. Raises WrongMedium."""
    try:
        with files.open_file(path, files.DISC) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WrongMedium(f"{path} cannot be read: {files.why(error)}") from None


def ask_for(name: str, version: Version, iso: Path | None, virtio_win: Path | None) -> tuple[Path, Path]:
    """Both media. Raises WrongMedium with where to get them when one was not given."""
    if iso is None:
        raise WrongMedium(
            f"{name} is made from your own ISO of {version.title}: get one from {WHERE_TO_GET}, then run "
            f"`wsklab image build {name} --iso FILE.iso --virtio-win virtio-win.iso`"
        )
    if virtio_win is None:
        raise WrongMedium(
            f"{name} needs the virtio-win drivers: get virtio-win-0.1.285.iso or newer from {VIRTIO_WHERE}, then run "
            f"`wsklab image build {name} --iso {iso} --virtio-win virtio-win.iso`"
        )
    return iso, virtio_win


def _differs(named: Medium, sha256: str) -> str:
    return f"{sha256}, recorded by {named.source} is {named.sha256}"


def _guess(disc: Disc) -> str:
    if disc.has("casper") or disc.has("isolinux") or disc.has("live") or disc.has("install.amd"):
        return "; it looks like a Linux disc"
    if disc.has("NetKVM"):
        return "; it looks like the virtio-win disc, which belongs behind --virtio-win"
    return ""


@contextmanager
def _disc(path: Path) -> Iterator[Disc]:
    try:
        with open_disc(path) as disc:
            yield disc
    except DiscError as error:
        raise WrongMedium(f"{path} {error}") from None
    except OSError as error:
        raise WrongMedium(f"{path} cannot be read: {files.why(error)}") from None
