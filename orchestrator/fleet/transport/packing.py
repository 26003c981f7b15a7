"""The evidence of a row on its way back: one packed file, by content through the store, or with the row itself."""

from __future__ import annotations

import base64
import io
import shutil
import tarfile
import tempfile
from contextlib import suppress
from pathlib import Path

from wsklab.orchestrator.errors import LabError
from wsklab.orchestrator.fleet.job import Evidence
from wsklab.orchestrator.fleet.transport.store import Store
from wsklab.orchestrator.results.results import ScenarioResult
from wsklab.orchestrator.run.order import AGAIN

HEAVY = ("wire.pcapng", "debug.raw", "qmp.log")
"""What a repetition that passed may leave behind: its observations give the same verdict again."""

INLINE = 256 << 10
"""Bytes that come with the row; more goes through the store, where that takes files."""

MOST = 2 << 30
"""Bytes of one row's evidence, unpacked."""


def pack(folder: Path, name: str, row: ScenarioResult, lean: bool, store: Store | None) -> Evidence:
    """Pack `evidence/NAME` of a run's folder, and that of a second attempt, and remove it there. Raises OSError.

    `lean`: of a repetition that passed only what gives the verdict again.
    """
    left_behind = HEAVY if lean and row.again else ()
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".evidence-") as file:
        with tarfile.open(fileobj=file, mode="w:gz", compresslevel=4) as archive:
            for part in (name, name + AGAIN):
                source = folder / "evidence" / part
                if source.is_dir():
                    for path in sorted(source.rglob("*")):
                        if path.is_file() and path.name not in left_behind:
                            archive.add(path, f"{part}/{path.relative_to(source)}", recursive=False)
        file.flush()
        digest = None
        if file.tell() > INLINE and store is not None and store.writable:
            with suppress(PermissionError):  # a folder that this user may only read
                digest = store.put(Path(file.name))
        file.seek(0)
        found = Evidence(sha256=digest) if digest else Evidence(inline=base64.b64encode(file.read()).decode())
    for part in (name, name + AGAIN):
        shutil.rmtree(folder / "evidence" / part, ignore_errors=True)
    return found


def unpack(evidence: Evidence | None, packed_as: str, name: str, folder: Path, store: Store | None) -> None:
    """Write the evidence of a row, packed under a name, into the run's folder as `NAME`. Raises LabError, OSError.

    A worker says what is in it, and nothing of that is believed: only files below `NAME` and `NAME-again` are written,
    no links, no more than a bound.
    """
    for part in (name, name + AGAIN):
        shutil.rmtree(folder / "evidence" / part, ignore_errors=True)  # of an attempt whose row was not kept
    (folder / "evidence").mkdir(exist_ok=True)
    (folder / "evidence" / name).mkdir()
    if evidence is None:
        return
    try:
        if evidence.inline:
            _write(io.BytesIO(base64.b64decode(evidence.inline)), packed_as, name, folder)
        elif evidence.sha256:
            if store is None:
                raise LabError("its evidence is in a store, and none is named.")
            with tempfile.NamedTemporaryFile(dir=folder, prefix=".evidence-") as file:
                store.get(evidence.sha256, Path(file.name))
                store.remove(evidence.sha256)
                with Path(file.name).open("rb") as packed:
                    _write(packed, packed_as, name, folder)
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise LabError(f"the evidence that came with {name} is damaged: {error}") from None


def _write(packed: io.BytesIO | io.BufferedReader, packed_as: str, name: str, folder: Path) -> None:
    written, names = 0, {packed_as: name, packed_as + AGAIN: name + AGAIN}
    with tarfile.open(fileobj=packed, mode="r:gz") as archive:
        for member in archive:
            parts = Path(member.name).parts
            if not member.isreg() or parts[0] not in names or ".." in parts:
                raise LabError(f"the evidence that came with {name} holds {member.name!r}, which is not of it.")
            written += member.size
            if written > MOST:
                raise LabError(f"the evidence that came with {name} is larger than {MOST >> 30} GiB.")
            target = folder / "evidence" / Path(names[parts[0]], *parts[1:])
            target.parent.mkdir(parents=True, exist_ok=True)
            source = archive.extractfile(member)
            assert source is not None, "it is a regular file"
            with target.open("wb") as file:
                shutil.copyfileobj(source, file)
