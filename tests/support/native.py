"""C code of ours as a Linux program, compiled once: what tests of C code run, kept until something in it changes.

Under sanitizers a compiler takes longer for the provider than all of its tests take. Objects and programs are kept in
`<cache>/tests`, by a hash of all that they are made of; what does not compile is not kept.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

from wsklab import images

KEPT = 14 * 24 * 3600
"""Seconds for which something stays that no test has used."""


def program(name: str, sources: Sequence[Path], flags: Sequence[str], compiler: str = "gcc") -> Path:
    """Return the program of these C files, each compiled and all linked with `flags`; `-I` is part of its word.

    Fails with what the compiler says.
    """
    folder = images.cache_folder() / "tests"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    ordered = sorted(sources)
    headers = _headers([path.parent for path in ordered], flags)
    keys = [_key(compiler, [*flags, str(path)], [path, *headers]) for path in ordered]
    made = folder / f"{_key(compiler, [name, *keys, *flags], [])}-{name}"
    if not _used(made):
        _tidy(folder)
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            objects = [folder / f"{key}.o" for key in keys]
            list(pool.map(lambda pair: _compiled(compiler, flags, *pair), zip(ordered, objects, strict=True)))
        _make([compiler, *flags, *map(str, objects)], made)
    return made


def _compiled(compiler: str, flags: Sequence[str], source: Path, made: Path) -> None:
    if not _used(made):
        _make([compiler, *flags, "-c", str(source)], made)


def _make(command: list[str], made: Path) -> None:
    """Have the compiler make it, so that nobody ever sees half of it."""
    partial = made.with_name(f"{made.name}.{os.getpid()}")
    done = subprocess.run([*command, "-o", str(partial)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    partial.rename(made)


def _headers(folders: Sequence[Path], flags: Sequence[str]) -> list[Path]:
    """Return every header that a source could include, in the sources' folders and in those of `-I`."""
    searched = {*folders, *(Path(flag[2:]) for flag in flags if flag.startswith("-I"))}
    return sorted({path for folder in searched for path in folder.rglob("*.h")})


def _key(compiler: str, words: Sequence[str], files: Sequence[Path]) -> str:
    digest = hashlib.sha256(_tools(compiler).encode())
    for word in words:
        digest.update(word.encode() + b"\0")
    for path in files:
        digest.update(str(path).encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:20]


@cache
def _tools(compiler: str) -> str:
    """Return the versions of the compiler, and of the library whose headers it includes."""
    said = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True).stdout
    return f"{shutil.which(compiler)} {said} {os.confstr('CS_GNU_LIBC_VERSION')}"


def _used(made: Path) -> bool:
    """Return whether it is there, and note that it is used."""
    try:
        os.utime(made)
    except FileNotFoundError:
        return False
    return True


def _tidy(folder: Path) -> None:
    for path in folder.iterdir():
        if time.time() - path.stat().st_mtime > KEPT:
            path.unlink(missing_ok=True)
