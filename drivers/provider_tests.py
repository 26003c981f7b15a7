"""The stand-in provider's own tests as a Linux program under sanitizers, with one source file replaced.

The same sources and flags as tests/unit/test_standin_native.py.
"""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .build import HOME
from .errors import DriverError

FLAGS = (
    "-std=gnu11", "-g", "-O1", "-w", "-fshort-wchar", "-fno-omit-frame-pointer", "-pthread", "-DWSKLAB_NATIVE",
    f"-I{HOME / 'native'}", f"-I{HOME / 'include'}", f"-I{HOME / 'standin'}", f"-I{HOME / 'standin/tests'}",
    f"-I{HOME / 'strict'}",
    "-fsanitize=address,undefined", "-fno-sanitize-recover=all",
)  # fmt: skip

PATIENCE = 30.0
"""Seconds for all the tests; the correct provider needs four. What takes longer waits for what does not come."""

_LOOPBACK = """
import fcntl, os, socket, struct, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
    fcntl.ioctl(control, 0x8914, struct.pack("16sh14x", b"lo", 1))  # SIOCSIFFLAGS, IFF_UP: netdevice(7)
os.execv(sys.argv[1], sys.argv[1:])
"""


class ProviderTests:
    """The objects of the correct sources in `work`; raises DriverError when they do not compile or do not pass."""

    def __init__(self, work: Path) -> None:
        self.folder = work
        work.mkdir(exist_ok=True)
        sources = [
            path for folder in ("standin", "standin/tests", "strict", "native") for path in HOME.glob(f"{folder}/*.c")
        ]
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            objects = list(pool.map(lambda path: self._compile(path, work / f"{path.stem}.o"), sources))
        self._objects = {path.stem: made for path, made in zip(sources, objects, strict=True)}
        program = self._link(self._objects, work / "correct")
        self._cases = self._run(program, "list").stdout.split()
        if failed := self._failure(program):
            raise DriverError(f"The provider's own tests fail without a mutant, so they cannot tell one: {failed}")

    def failure(self, name: str, source: str, text: str) -> str | None:
        """Return what fails with `text` as the file `source`; None if nothing does. Raises DriverError: no C."""
        changed = self.folder / f"{name}.c"
        changed.write_text(text, encoding="utf-8")
        made = self._compile(changed, self.folder / f"{name}.o")
        program = self._link({**self._objects, Path(source).stem: made}, self.folder / name)
        try:
            return self._failure(program)
        finally:
            for file in (changed, made, program):
                file.unlink()

    def _failure(self, program: Path) -> str | None:
        """Return the test that fails, and why: each sanitizer's first line says it."""
        try:
            done = self._run(program, *self._cases)
        except subprocess.TimeoutExpired:
            return f"not done within {PATIENCE:.0f} s"
        if done.returncode == 0:
            return None
        said = [line for line in done.stderr.splitlines() if line.strip(" =")]
        return said[0] if said else f"ended with {done.returncode}"

    def _run(self, program: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        """In a network of its own for everybody but root, as some tests may only be run there."""
        alone = (
            []
            if os.geteuid() == 0
            else ["unshare", "--user", "--map-root-user", "--net", sys.executable, "-c", _LOOPBACK]
        )
        return subprocess.run(
            [*alone, str(program), *arguments],
            capture_output=True,
            text=True,
            check=False,
            errors="replace",
            timeout=PATIENCE,
        )

    def _compile(self, source: Path, made: Path) -> Path:
        return _gcc(made, "-c", str(source))

    def _link(self, objects: dict[str, Path], program: Path) -> Path:
        return _gcc(program, *map(str, objects.values()))


def _gcc(made: Path, *arguments: str) -> Path:
    try:
        done = subprocess.run(["gcc", *FLAGS, *arguments, "-o", str(made)], capture_output=True, text=True, check=False)
    except OSError as error:
        raise DriverError(f"gcc cannot be run: {error.strerror}. Install the package gcc.") from error
    if done.returncode:
        raise DriverError(f"gcc {arguments[-1]} failed:\n{done.stderr.strip()}")
    return made
