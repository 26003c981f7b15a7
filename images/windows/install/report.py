"""What a finished guest says of itself (`finish.ps1`), and what must be true of it."""

import base64
import binascii
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, ValidationError

from wsklab.images.errors import ImageError
from wsklab.images.windows.answers.settings import Settings
from wsklab.images.windows.media.catalogue import family

TEST_SIGNING = 0x2
MEMORY_INTEGRITY = 0x400
ALL_LEVELS = 0xF
_LICENSED, _SHORT_DAYS, _DAY = 1, 14, 24 * 60


class Card(BaseModel):
    """A network card."""

    model_config = ConfigDict(frozen=True)

    name: str
    mac: str
    driver: str | None = None
    status: str = ""


class Report(BaseModel):
    """The report of a guest; what it says beyond this is kept out."""

    model_config = ConfigDict(frozen=True)

    caption: str
    edition: str
    build: int
    revision: int = 0
    code_integrity: int
    """CodeIntegrityOptions of the running system."""
    print_filter: int
    sshd: str = "absent"
    ssh_host_key: str = ""
    nics: tuple[Card, ...] = ()
    licence_status: int = -1
    licence_minutes: int = 0


@dataclass(frozen=True)
class Check:
    """One thing that was looked at, and what was seen."""

    name: str
    ok: bool
    seen: str


def read(text: str) -> Report:
    """Return the report that came over the serial line. Raises ImageError."""
    try:
        return Report.model_validate_json(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError, ValidationError) as error:
        problem = str(error)[:200]
        raise ImageError(f"the report of the guest is not readable ({problem}); build the image again") from None


def check(report: Report, settings: Settings) -> list[Check]:
    """Return what must be true before drivers are tested there."""
    macs = {card.mac.replace("-", ":").lower() for card in report.nics if card.name in {n.name for n in settings.nics}}
    return [
        Check("build", family(report.build) == family(settings.image.build),
              f"{report.caption}, {report.build}.{report.revision}"),
        Check("test signing", bool(report.code_integrity & TEST_SIGNING), f"options {report.code_integrity:#x}"),
        Check("memory integrity off", not report.code_integrity & MEMORY_INTEGRITY, f"{report.code_integrity:#x}"),
        Check("debug print filter", report.print_filter & ALL_LEVELS == ALL_LEVELS, f"{report.print_filter:#x}"),
        Check("network cards", macs == {n.mac for n in settings.nics}, ", ".join(sorted(macs)) or "none of ours"),
        Check("SSH server", report.sshd == "Running" or not (settings.ssh_zip or settings.version.brings_ssh),
              report.sshd),
    ]  # fmt: skip


def licence_days(report: Report, age_days: float) -> int | None:
    """Return the days that the licence of an image of this age still lasts, never below 0; None when it has no end."""
    if is_activated(report) and not report.licence_minutes:
        return None
    return max(0, int(report.licence_minutes / _DAY - age_days))


def is_activated(report: Report) -> bool:
    """Whether it is licensed; an evaluation that is not must be activated on line, at first within ten days."""
    return report.licence_status == _LICENSED


def licence_warning(report: Report, age_days: float) -> str | None:
    """Windows switches itself off every hour when its licence is over, which looks like a crash."""
    left = licence_days(report, age_days)
    if left is None or (is_activated(report) and left >= _SHORT_DAYS):
        return None
    return (
        f"licence: status {report.licence_status}, {left} days left; an evaluation that is over, or was never "
        "activated on line, may switch the guest off every hour, so build the image again in time"
    )
