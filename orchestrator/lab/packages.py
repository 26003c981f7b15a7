"""The packages of a driver's profile: found, and checked before anything is booted."""

from __future__ import annotations

from collections.abc import Sequence

from wsklab.drivers import package
from wsklab.drivers.errors import DriverError
from wsklab.drivers.package import Package
from wsklab.drivers.profile import DriverProfile
from wsklab.orchestrator.errors import UsageError


def of_profile(profile: DriverProfile, standin: bool) -> tuple[Package, ...]:
    """Return the packages that are installed, the older version first. Raises UsageError."""
    if profile.inf is None:
        return ()
    try:
        found = [package.find(inf, profile.service) for inf in (profile.upgrade_from, profile.inf) if inf is not None]
    except DriverError as error:
        raise UsageError(str(error)) from None
    *older, mine = found
    if mine.service.start == "disabled":
        raise UsageError(f"the INF file {mine.inf} makes the service {mine.service.name} disabled (StartType 4).")
    if older and not package.newer(mine, older[0]):
        raise UsageError(
            f"{older[0].inf} is to be upgraded by {mine.inf}, and is not older by its DriverVer "
            f"({older[0].about.date},{older[0].about.version} and {mine.about.date},{mine.about.version}); "
            "Windows would keep it."
        )
    if not standin and not mine.about.primitive:
        raise UsageError(
            f"the INF file {mine.inf} is for a device ([Manufacturer]), and the lab has none to install it on; "
            "a WSK driver needs none: add its service below [DefaultInstall.NTamd64.Services]."
        )
    return tuple(found)


def beyond_standin(profile: DriverProfile, packages: Sequence[Package]) -> str | None:
    """Return what of a driver's installation only Windows can do, in one sentence; None if nothing."""
    start = packages[-1].service.start if packages else profile.start
    parts = []
    if packages:
        parts.append(f"the service of {packages[-1].inf.name} is made by the lab, without pnputil and catalog")
    if start != "demand":
        parts.append(f"its start '{start}' is recorded, and the lab starts it: nothing starts by itself here")
    return f"the stand-in is not Windows: {'; '.join(parts)}" if parts else None
