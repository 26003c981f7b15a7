"""The end of a qualification: the decision, the page, the index of all files, and the two signed statements."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from securesystemslib.signer import CryptoSigner  # type: ignore[attr-defined]  # it has no __all__

from wsklab.common import files
from wsklab.orchestrator.errors import LabError, UsageError
from wsklab.orchestrator.release import conduct, envelope, index, page, plan, statement
from wsklab.orchestrator.release.deviations import deviations
from wsklab.orchestrator.release.records import Cell, Unreadable, read_cell
from wsklab.orchestrator.release.statement import Evidence, Predicate, Previous
from wsklab.orchestrator.results.results import write_atomically

CHAIN = "signer-certificates.pem"
"""The signer's chain of certificates, where there is one."""

PUBLIC = "signer.pub.pem"

UNKNOWN = Evidence(sha256="", files=0)


@dataclass(frozen=True)
class Signer:
    """Who signs: a key, and the chain of its certificate if it has one (PEM)."""

    key: CryptoSigner
    chain: bytes | None = None


@dataclass(frozen=True)
class Earlier:
    """The last qualified release, verified."""

    predicate: Predicate
    sha256: str

    def told(self) -> Previous:
        """As the statement names it."""
        return Previous(name=self.predicate.name, sha256=self.sha256, finished=self.predicate.finished)


@dataclass(frozen=True)
class Released:
    """What has been made."""

    predicate: Predicate
    files: tuple[Path, ...]
    remark: str | None
    """Why there is no PDF."""


def names(predicate: Predicate) -> tuple[str, str]:
    """Return the names of the two signed statements."""
    return f"{predicate.name}.qualification{index.ENVELOPE}", f"{predicate.name}.test-result{index.ENVELOPE}"


def cells_in(folder: Path, loaded: plan.Loaded, day: datetime) -> list[Cell]:
    """Return the cells of a plan as they are on disk. Raises LabError."""
    try:
        return [read_cell(folder, place, loaded.errata, day.date()) for place in plan.places(loaded.plan)]
    except Unreadable as error:
        raise LabError(f"{error}; a qualification stands on all of its rows, so begin again.") from None


def conclude(
    folder: Path,
    now: datetime,
    signer: Signer | None,
    earlier: Earlier | None = None,
    printed: Callable[[Path, Path], str | None] = page.printed,
) -> Released:
    """Decide, write the page and the index, and sign when there is a signer. Raises UsageError, LabError, OSError.

    `printed` makes a PDF of the page, or says why not.
    """
    begun = conduct.begun_in(folder)
    loaded = plan.load(folder / conduct.PLAN, folder / conduct.KNOWN)
    if loaded.sha256 != begun.plan_sha256:
        raise UsageError(f"{folder / conduct.PLAN}: it was changed since this began; begin again with another --out.")
    cells = cells_in(folder, loaded, now)
    told = tuple(deviations(earlier.predicate, cells, begun.lab)) if earlier else ()

    def made(evidence: Evidence) -> Predicate:
        previous = earlier.told() if earlier else None
        return statement.made(loaded.plan, loaded.errata, begun, cells, now, evidence, previous, told)

    for path in folder.glob(f"*{index.ENVELOPE}"):
        path.unlink()  # of an earlier end, which is none any more
    (folder / CHAIN).unlink(missing_ok=True)
    if signer is not None and signer.chain is not None:
        (folder / CHAIN).write_bytes(signer.chain)
    write_atomically(folder / page.HTML, page.render(made(UNKNOWN)))
    (folder / page.PDF).unlink(missing_ok=True)
    remark = printed(folder / page.HTML, folder / page.PDF)
    listed = index.made(folder)
    write_atomically(folder / index.NAME, listed)
    predicate = made(Evidence(sha256=sha256(listed.encode()).hexdigest(), files=listed.count("\n")))
    paths = [folder / page.HTML, *([] if remark else [folder / page.PDF])]
    if signer is not None:
        for name, payload in zip(names(predicate), _payloads(predicate), strict=True):
            write_atomically(folder / name, envelope.signed(payload, signer.key).decode())
            paths.append(folder / name)
    return Released(predicate, tuple(paths), remark)


def _payloads(predicate: Predicate) -> Iterator[bytes]:
    yield statement.payload(predicate)
    yield statement.test_result(predicate)


def read_envelope(path: Path) -> bytes:
    """Return a signed file's bytes. Raises UsageError."""
    try:
        return files.read_bytes(path, files.RESULT)
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {files.why(error)}.") from None
