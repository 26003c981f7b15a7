"""From the word after `--target` to the guest: the stand-in, or an image of Windows in the store."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from wsklab import images
from wsklab.images.errors import ImageError
from wsklab.images.store import Image, Store
from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.guest import verifier
from wsklab.orchestrator.guest.guest import Guest, StandinGuest, WindowsGuest
from wsklab.orchestrator.guest.windows_tools import require_tools
from wsklab.qemu import enlightenments
from wsklab.qemu.errors import MachineError
from wsklab.qemu.profile import Accelerator, Profile, load_profile

if TYPE_CHECKING:  # most runs build nothing
    from wsklab.images.packages import Progress

STANDIN = "standin"


def check(word: str, verify: str | None = None, strict: int | None = None) -> None:
    """See that there is such a target, and that it can do what is asked. Raises UsageError; builds nothing."""
    verifier.chosen(verify)
    if strict is not None and word != STANDIN:
        raise UsageError("--strict is the stand-in's; on Windows it is Driver Verifier: --verifier standard.")
    if word == STANDIN:
        if verify is not None:
            raise UsageError(verifier.NO_VERIFIER)
        return
    _stored(word)
    require_tools()


def machine(word: str) -> Profile:
    """Return the machine of a target, with its variants. Raises UsageError, ImageError.

    An image that is older than the variants has those of its namesake.
    """
    if word == STANDIN:
        return load_profile(STANDIN)
    return with_variants(Profile.model_validate(_about(_stored(word))["profile"]), word)


def with_variants(profile: Profile, name: str) -> Profile:
    """Return a machine as an image recorded it, with the variants that its namesake has now."""
    try:
        return profile.model_copy(update={"variants": load_profile(name).variants})
    except MachineError:
        return profile


def find(
    word: str,
    accelerator: Accelerator,
    inputs: Mapping[str, Path],
    progress: Progress,
    verify: str | None = None,
    strict: int | None = None,
) -> Guest:
    """Return the guest, its image built where that can be done without the user. Raises UsageError, ImageError."""
    check(word, verify, strict)
    if word == STANDIN:
        return of_image(images.ensure(STANDIN, inputs, progress), accelerator, progress, verify, strict)
    image = _stored(word)
    store = Store(images.cache_folder())
    store.hold(image)
    store.check(image)
    return of_image(image, accelerator, progress, verify, strict)


def of_image(
    image: Image, accelerator: Accelerator, progress: Progress, verify: str | None = None, strict: int | None = None
) -> Guest:
    """Return the guest of an image that is here and whole. Raises UsageError, ImageError."""
    if image.name == STANDIN:
        return StandinGuest(image, load_profile(STANDIN), _standin_version(image), strict)
    from wsklab.images.windows.install import report  # the stand-in has no use for it

    about = _about(image)
    guest = report.Report.model_validate(about["guest"])
    if warning := report.licence_warning(guest, age_days(image, datetime.now(UTC))):
        progress(warning)
    profile = with_variants(Profile.model_validate(about["profile"]), image.name)
    if accelerator == "kvm":
        profile = enlightenments.fit(profile)  # the image may have been made on another host
    version = f"{guest.caption}, {guest.edition}, build {guest.build}.{guest.revision}"
    return WindowsGuest(image, profile, version, verifier.chosen(verify))


def age_days(image: Image, now: datetime) -> float:
    """For how many days an image has been there; its licence runs meanwhile."""
    return (now - datetime.fromisoformat(image.manifest.built)).total_seconds() / 86400


def lasts(image: Image, now: datetime) -> str:
    """How old an image of Windows is, and how long its licence still lasts, for `image list`."""
    from wsklab.images.windows.install import report

    try:
        guest = report.Report.model_validate(_about(image)["guest"])
    except ImageError:
        return ""
    age = age_days(image, now)
    left = report.licence_days(guest, age)
    if left is None:
        lasts = "licensed"
    elif report.is_activated(guest):
        lasts = f"expires in {left} days" if left else "its licence is over: build it again"
    else:
        lasts = (
            f"to be activated on line within {left} days"
            if left
            else "its days without activation are over: build it again"
        )
    return f"built {int(age)} days ago, {lasts}"


def _stored(word: str) -> Image:
    """Return the newest image of Windows with this name. Raises UsageError, which says how to make one."""
    from wsklab.images.windows import names

    found = [image for image in images.listing() if image.manifest.kind == "windows"]
    for image in found:
        if image.name == word:
            return image
    if word in names():
        raise UsageError(
            f"there is no image {word} yet; make it from your own ISO: `wsklab image build {word} "
            "--iso FILE --virtio-win FILE` (docs/windows.md)."
        )
    there = ", ".join([STANDIN, *dict.fromkeys(image.name for image in found)])
    unmade = [name for name in names() if name not in {image.name for image in found}]
    raise UsageError(
        f"there is no target '{word}'; there is: {there}"
        + (f"; `wsklab image build` can make {', '.join(unmade)}." if unmade else ".")
    )


def _about(image: Image) -> dict[str, Any]:
    """`windows.json`, as the build wrote it. Raises ImageError."""
    from wsklab.images.windows.install import report

    try:
        about: dict[str, Any] = json.loads((image.folder / "windows.json").read_text(encoding="utf-8"))
        Profile.model_validate(about["profile"])
        report.Report.model_validate(about["guest"])
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        first = str(error).splitlines()[0]
        raise ImageError(
            f"{image.folder / 'windows.json'} does not say what the image is ({first}); "
            f"run `wsklab image build {image.name} --force` with its media"
        ) from None
    return about


def _standin_version(image: Image) -> str:
    packages = image.manifest.packages
    return f"Wine {packages.get('wine64', '?')}, Linux {packages.get('linux-image-amd64', '?')}"
