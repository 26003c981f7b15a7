"""Whether a signed statement holds: on any machine, without a network, with a key that does not come with it.

Nothing in the file is believed before its signature is; and nothing that can be computed is believed at all: hashes,
cells and the decision are made again from the plan and the rows.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from securesystemslib.signer import Key  # type: ignore[attr-defined]  # it has no __all__

from wsklab.common import document, files
from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.release import certificates, conduct, envelope, index, plan, release, statement
from wsklab.orchestrator.release.envelope import Refused
from wsklab.orchestrator.release.records import Unreadable, read_cell
from wsklab.orchestrator.release.statement import Predicate

SKEW = timedelta(minutes=10)
"""How much two clocks may differ."""


@dataclass(frozen=True)
class Trust:
    """Whom the verifier believes: keys, or the roots of certificates. It comes from outside of what is verified."""

    keys: tuple[Key, ...] = ()
    roots: tuple[x509.Certificate, ...] = ()


@dataclass(frozen=True)
class Verified:
    """A statement that holds."""

    predicate: Predicate
    signer: str
    pruned: int
    """Files of evidence that are not there any more, which may be."""


def verify(
    path: Path,
    trust: Trust,
    now: datetime,
    *,
    rehearsal: bool = False,
    alone: bool = False,
    drivers: Sequence[Path] = (),
) -> Verified:
    """Check a statement, and the folder that it lies in unless it is `alone`. Raises Refused, UsageError."""
    content, chain = release.read_envelope(path), list[x509.Certificate]()
    keys = list(trust.keys)
    if trust.roots:
        chain = certificates.parse(_read(path.parent / release.CHAIN))
        keys.append(certificates.key_of(chain[0]))
    predicate = statement.parse(envelope.opened(content, keys))
    signer = f"key {envelope.keyid(content)}"
    if chain:
        signer = certificates.check(chain, trust.roots, predicate.finished)
    _believable(predicate, now, rehearsal)
    for driver in drivers:
        digest = hashlib.sha256(_read(driver)).hexdigest()
        if digest not in statement.subjects(predicate).values():
            raise Refused(f"{driver} ({digest[:16]}...) is none of the drivers that it is about")
    pruned = 0 if alone else _folder(path, predicate, keys)
    return Verified(predicate, signer, pruned)


def _believable(predicate: Predicate, now: datetime, rehearsal: bool) -> None:
    if predicate.rehearsal and not rehearsal:
        raise Refused("it is a rehearsal, which qualifies nothing; check it all the same with --rehearsal")
    if predicate.finished > now + SKEW:
        raise Refused(f"it says that it was signed on {predicate.finished:%Y-%m-%d %H:%M} UTC, which is to come")
    if not statement.subjects(predicate):
        raise Refused("it is about no driver")
    if statement.again(predicate, predicate.cells).result != predicate.result:
        raise Refused(f"its rules do not come to {predicate.result}")


def _folder(path: Path, predicate: Predicate, keys: Sequence[Key]) -> int:
    """Check all that lies beside the statement; returns how many files of evidence were pruned."""
    folder = path.parent
    listed = _read(folder / index.NAME)
    if hashlib.sha256(listed).hexdigest() != predicate.evidence.sha256:
        raise Refused(f"{index.NAME} is not what it was when it was signed")
    try:
        compared = index.compare(folder, index.parse(listed))
    except OSError as error:
        raise Refused(f"{error.filename}: {files.why(error)}") from None
    if compared.problem:
        raise Refused(compared.problem)
    for problem in _contradictions(folder, predicate):
        raise Refused(problem)
    beside = folder / release.names(predicate)[1]
    if envelope.opened(_read(beside), keys) != statement.test_result(predicate):
        raise Refused(f"{beside.name} is of another qualification")
    return len(compared.pruned)


def _contradictions(folder: Path, predicate: Predicate) -> Iterator[str]:
    """Yield what the statement says otherwise than the files that it names: somebody may have signed a mistake."""
    begun, content = predicate.begun, _read(folder / conduct.PLAN)
    errata = _read(folder / conduct.KNOWN) if begun.errata_sha256 else None
    try:
        if hashlib.sha256(content).hexdigest() != begun.plan_sha256:
            yield "its plan is not the one with which it began"
        elif plan.parse(content, conduct.PLAN) != predicate.plan:
            yield "it states another plan than plan.yaml"
        if errata is not None and hashlib.sha256(errata).hexdigest() != begun.errata_sha256:
            yield "its errata are not those with which it began"
        elif (plan.errata_of(errata, conduct.KNOWN) if errata is not None else ()) != predicate.errata:
            yield "it states other errata than known.yaml"
        if conduct.begun_in(folder) != begun:
            yield "it states another beginning than begun.json"
        for number, driver in enumerate(predicate.plan.drivers, 1):
            for name, digest in begun.scenarios.get(driver, {}).items():
                said = _read(conduct.scenario_file(folder, number, name))
                if hashlib.sha256(said).hexdigest() != digest:
                    yield f"the scenario {name} is not the one with which it began"
        day = predicate.finished.date()
        cells = tuple(read_cell(folder, place, predicate.errata, day) for place in plan.places(predicate.plan))
        if cells != predicate.cells:
            yield "the rows of its runs come to other counts than it states"
    except (document.Refused, Unreadable, UsageError) as error:
        yield str(error).splitlines()[0]


def _read(path: Path) -> bytes:
    try:
        return files.read_bytes(path, files.RESULT)
    except OSError as error:
        raise Refused(f"{path}: {files.why(error)}") from None
