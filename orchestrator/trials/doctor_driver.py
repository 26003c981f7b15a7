"""What the doctor asks of a user's own driver: who has signed it, and whether this Windows loads it as it is.

Not yet run on Windows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from wsklab.drivers import signature
from wsklab.drivers.build import Progress
from wsklab.drivers.errors import DriverError
from wsklab.drivers.signature import Signature
from wsklab.orchestrator.errors import LabError, UsageError
from wsklab.orchestrator.guest import deploy
from wsklab.orchestrator.guest.agent import Refused
from wsklab.orchestrator.lab import foreign_driver
from wsklab.orchestrator.lab.foreign_driver import Foreign
from wsklab.orchestrator.lab.installation import Payload
from wsklab.orchestrator.lab.installed_foreign import InstalledForeign
from wsklab.orchestrator.trials.doctor_windows import Check

_NOBODY_CONNECTS = "peer:1"
"""What a profile made of a file says of connections: there are none here."""

PRODUCTION = (
    "Secure Boot takes drivers that Microsoft has signed (Hardware Dev Center: attestation or WHQL): give the package "
    "as it came from there, with its catalog"
)


def find(name: str, cache: Path, progress: Progress) -> Foreign:
    """Return the driver of a profile or a file. Raises UsageError, DriverError."""
    provoke = _NOBODY_CONNECTS if name.lower().endswith(".sys") else None
    return foreign_driver.find(name, foreign_driver.profile_of(name, provoke), False, cache, progress)


def as_given(foreign: Foreign) -> Foreign:
    """Return the driver with its files as they are: nothing is signed here. Raises DriverError."""
    packages = tuple(Payload(one, one.contents()) for one in foreign.packages)
    return replace(foreign, payloads=packages)


def signed(foreign: Foreign, facts: dict[str, Any]) -> Iterator[Check]:
    """Look whether it carries what Windows asks for under Secure Boot, as far as a host can tell."""

    def look() -> str:
        found = _signatures(foreign)
        facts["signatures"] = [one.text for signatures in found.values() for one in signatures]
        for what, signatures in found.items():
            words = "; ".join(one.text for one in signatures)
            if not signatures:
                raise LabError(f"nobody has signed {what}.")
            if not signature.production(signatures):
                raise LabError(f"Microsoft has not signed {what} as it is: {words}.")
        return f"{'; '.join(facts['signatures'])}. Whether the certificate is genuine, only Windows knows"

    yield Check("production signature", PRODUCTION, look)


def _signatures(foreign: Foreign) -> dict[str, list[Signature]]:
    """Return the signatures of what must have one: a package's catalog, a boot driver's file."""
    content, found = foreign_driver.content_of(foreign.file), dict[str, list[Signature]]()
    try:
        for package in foreign.packages[-1:]:
            given = package.contents().get(package.about.catalog)
            what = f"the catalog of {package.inf.name}"
            found[what] = signature.of_catalog(given, content) if given else []
        if not foreign.packages or foreign.packages[-1].service.start == "boot":
            found[foreign.file_name] = signature.of_driver(content)
    except DriverError as error:
        raise LabError(f"{foreign.file_name}: {error}.") from None
    return found


def loads(installed: InstalledForeign, restart: Callable[[], None]) -> Iterator[Check]:
    """Put the driver in, start and stop it; `restart` starts Windows anew, where that is needed."""
    name, service = installed.foreign.file_name, installed.foreign.profile.service

    def look() -> str:
        remarks = installed.install(True, restart)
        try:
            installed.start()
        except Refused as error:
            why = deploy.why_blocked(installed.agent, error.code)
            raise LabError(f"start {service}: {error}{why}") from None
        installed.stop(heard=False)  # under Secure Boot there is no line on which it could be
        return "; ".join([f"{name} was installed, started and stopped", *remarks])

    yield Check(
        f"your driver {name}",
        "the event logs CodeIntegrity and System in the guest say more; `wsklab driver check` inspects the file",
        look,
    )


def check_target(windows: bool) -> None:
    """Refuse a driver where there is no Windows to load it. Raises UsageError."""
    if not windows:
        raise UsageError("doctor --driver is for a Windows target: on the stand-in, `wsklab run --driver` loads it.")
