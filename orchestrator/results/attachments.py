"""One file of evidence for each row that did not pass, under a name that no other has: what build servers attach.

Jenkins attaches files only, and keeps one of each base name in a class; GitLab takes the first of a test case. A folder
of evidence, or the same `wire.pcapng` for each row, would leave one file of two hundred.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from wsklab.orchestrator.results import ci
from wsklab.orchestrator.results.results import ScenarioResult

FOLDER = "attachments"
"""In the run's folder."""

MOST = 200
"""Rows that get one; of a run in which more failed, the run's folder has the rest."""

LARGEST = 32 << 20
"""Bytes of a file that is still packed."""


def pack(folder: Path, rows: Sequence[ScenarioResult], environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Pack the evidence of rows that did not pass; returns where each is, by its folder, as the build server asks.

    That is relative to its workspace where the run's folder is in it, else absolute. Raises OSError.
    """
    server = ci.detect(environment)
    workspace = ((server and server.workspace) or Path.cwd()).resolve()
    packed: dict[str, str] = {}
    for row in rows:
        evidence = folder / row.evidence
        if row.verdict == "pass" or len(packed) >= MOST or not evidence.is_dir():
            continue
        (folder / FOLDER).mkdir(exist_ok=True)
        name = Path(row.evidence).name
        archive = folder / FOLDER / f"{name}.zip"
        _pack(evidence, archive, name)
        path = folder.resolve() / FOLDER / archive.name
        packed[row.evidence] = str(path.relative_to(workspace) if path.is_relative_to(workspace) else path)
    return packed


def _pack(evidence: Path, archive: Path, name: str) -> None:
    """Every file of the folder that is not too large, under the folder's name."""
    beside = archive.with_suffix(f".{os.getpid()}")
    try:
        with zipfile.ZipFile(beside, "w", zipfile.ZIP_DEFLATED) as packed:
            for file in sorted(path for path in evidence.rglob("*") if path.is_file()):
                if file.stat().st_size <= LARGEST:
                    packed.write(file, f"{name}/{file.relative_to(evidence)}")
        beside.replace(archive)
    finally:
        beside.unlink(missing_ok=True)
