"""Builds wsklab.sys, its twins, the sample drivers, netio.sys and wskagent.exe with mingw-w64.

A build is kept in `<cache>/drivers/<key>/`, where the key is a hash of the sources, the flags and the tool's version;
the same key gives the same bytes, and a second call does nothing. Flags: docs/reference/wsk.md section 5.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .errors import DriverError
from .twins import find_twin

HOME = Path(__file__).parent
COMPILER = "x86_64-w64-mingw32-gcc"
DDK = Path("/usr/share/mingw-w64/include/ddk")

Progress = Callable[[str], None]

_WARNINGS = ("-std=c11", "-Wall", "-Wextra", "-Werror")
_WINDOWS_10 = ("-D_WIN32_WINNT=0x0A00", "-DNTDDI_VERSION=0x0A000000")
_KERNEL_COMPILE = (
    *_WARNINGS, *_WINDOWS_10, "-O2", "-g", "-ffreestanding", "-fno-builtin", "-fno-ident",
    "-mno-stack-arg-probe",  # there is no ___chkstk_ms in the kernel, hence the limit on frames
    "-Wframe-larger-than=1024",
    "-fno-stack-protector",  # nor a __stack_chk_fail
)  # fmt: skip
_KERNEL_LINK = (
    "-nostdlib", "-Wl,--subsystem,native:10.0", "-Wl,--major-os-version,10", "-Wl,--image-base,0x140000000",
    "-Wl,--dynamicbase,--nxcompat,--high-entropy-va",
    "-Wl,--disable-auto-import,--disable-runtime-pseudo-reloc",  # nobody would apply such relocations
)  # fmt: skip
_PROGRAM_COMPILE = (*_WARNINGS, *_WINDOWS_10, "-O2", "-g", "-fno-ident")


@dataclass(frozen=True, slots=True)
class BuiltDriver:
    """A file made by this module. `symbols` is the same file before stripping, for a debugger."""

    path: Path
    sha256: str
    name: str
    twin: str | None
    symbols: Path


@dataclass(frozen=True, slots=True)
class BuiltStandin:
    """The two files that the stand-in guest holds in its image."""

    netio: BuiltDriver
    agent: BuiltDriver

    @property
    def inputs(self) -> dict[str, Path]:
        """The same, by the names under which an image's recipe asks for them."""
        return {"driver:netio.sys": self.netio.path, "driver:wskagent.exe": self.agent.path}


@dataclass(frozen=True, slots=True)
class _Recipe:
    """How one file is made: every *.c of `folder`, with its own and the included headers."""

    output: str
    folder: str
    includes: tuple[str, ...]
    compile: tuple[str, ...]
    link: tuple[str, ...]  # before the objects
    inputs: tuple[str, ...]  # files of `folder` that are linked as they are
    libraries: tuple[str, ...]  # after the objects


_DRIVER = _Recipe(
    "wsklab.sys", "wsklab", ("include",), _KERNEL_COMPILE, (*_KERNEL_LINK, "-Wl,--entry,DriverEntry"), (),
    ("-lntoskrnl", "-lhal", "-lnetio"),
)  # fmt: skip
_NETIO = _Recipe(
    "netio.sys", "standin", ("include",), _KERNEL_COMPILE, (*_KERNEL_LINK, "-shared", "-Wl,--entry,NetioEntry"),
    ("netio.def",), ("-lntoskrnl", "-lhal"),
)  # fmt: skip
_SAMPLES = {
    name: _Recipe(
        f"{name}.sys", f"samples/{name}", ("include",), _DRIVER.compile, _DRIVER.link, (), _DRIVER.libraries
    )
    for name in ("echo", "pinger")
}
_AGENT = _Recipe("wskagent.exe", "agent", (), _PROGRAM_COMPILE, (), (), ("-ladvapi32",))


def build_driver(twin: str | None, cache: Path, progress: Progress | None = None) -> BuiltDriver:
    """wsklab.sys, or the wrong build of it that is called `twin`.

    Raises:
        DriverError: there is no such twin, a tool is missing, or the sources do not compile.
    """
    defines = (f"-DWSKLAB_TWIN={find_twin(twin).define}",) if twin else ()
    return _build(_DRIVER, twin, defines, cache, progress)


def build_sample(name: str, cache: Path, progress: Progress | None = None) -> BuiltDriver:
    """One of the drivers in drivers/samples, which know nothing of this lab.

    Raises:
        DriverError: there is no such sample, a tool is missing, or the sources do not compile.
    """
    if name not in _SAMPLES:
        raise DriverError(f"There is no sample driver {name!r}; there are {', '.join(_SAMPLES)}.")
    return _build(_SAMPLES[name], None, (), cache, progress)


def build_standin(cache: Path, progress: Progress | None = None) -> BuiltStandin:
    """The WSK provider for Wine and the agent.

    Raises:
        DriverError: a tool is missing, or the sources do not compile.
    """
    return BuiltStandin(_build(_NETIO, None, (), cache, progress), build_agent(cache, progress))


def build_agent(cache: Path, progress: Progress | None = None) -> BuiltDriver:
    """wskagent.exe, the same for Windows and Wine.

    Raises:
        DriverError: a tool is missing, or the sources do not compile.
    """
    return _build(_AGENT, None, (), cache, progress)


def _build(
    recipe: _Recipe, twin: str | None, defines: tuple[str, ...], cache: Path, progress: Progress | None
) -> BuiltDriver:
    files = _files(recipe)
    key = _key(recipe, defines, files)
    kept = cache / "drivers" / key
    if not (kept / recipe.output).exists():
        if progress:
            progress(f"building {recipe.output}" + (f" ({twin})" if twin else ""))
        cache.joinpath("drivers").mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache / "drivers", prefix=".building-") as work:
            _compile(recipe, defines, files, Path(work))
            _publish(Path(work) / "out", kept)
    path = kept / recipe.output
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return BuiltDriver(path, digest, recipe.output.split(".")[0], twin, kept / "symbols" / recipe.output)


def _files(recipe: _Recipe) -> list[Path]:
    """All files that go into the build, as absolute paths, sorted by name."""
    folders = (recipe.folder, *recipe.includes)
    found = [path for folder in folders for path in (HOME / folder).iterdir() if path.suffix in {".c", ".h", ".def"}]
    if not any(path.suffix == ".c" for path in found):
        raise DriverError(f"The sources of {recipe.output} are missing from {HOME / recipe.folder}.")
    return sorted(found)


def _key(recipe: _Recipe, defines: tuple[str, ...], files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for part in (
        recipe.output,
        *recipe.compile,
        *defines,
        *recipe.link,
        *recipe.inputs,
        *recipe.libraries,
        _version(),
    ):
        digest.update(part.encode() + b"\0")
    for path in files:
        digest.update(str(path.relative_to(HOME)).encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:20]


@cache
def _version() -> str:
    """Compiler and linker, as they call themselves.

    Raises:
        DriverError: there is no compiler, or no driver headers.
    """
    if shutil.which(COMPILER) is None or not DDK.is_dir():
        raise DriverError(f"{COMPILER} or its driver headers are missing: install the package mingw-w64.")
    return _run([COMPILER, "--version"], HOME) + _run([COMPILER, "-Wl,--version"], HOME)


def _compile(recipe: _Recipe, defines: Sequence[str], files: Iterable[Path], work: Path) -> None:
    """Leaves `out/<output>` and `out/symbols/<output>` in `work`.

    All paths the compiler sees are relative or mapped, so that the bytes do not depend on where they were made.
    """
    (work / "src").symlink_to(HOME)
    (work / "out" / "symbols").mkdir(parents=True)
    includes = [f"-Isrc/{folder}" for folder in recipe.includes]
    if recipe.compile is _KERNEL_COMPILE:
        includes.append(f"-I{DDK}")
    stems = [path.stem for path in files if path.suffix == ".c" and path.parent == HOME / recipe.folder]

    def compile_one(stem: str) -> str:
        flags = (*recipe.compile, *defines, *includes, f"-ffile-prefix-map={work}=build")
        _run([COMPILER, *flags, "-c", f"src/{recipe.folder}/{stem}.c", "-o", f"{stem}.o"], work)
        return f"{stem}.o"

    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        objects = list(pool.map(compile_one, stems))
    inputs = [f"src/{recipe.folder}/{name}" for name in recipe.inputs]
    link = [COMPILER, *recipe.link, "-Wl,--no-insert-timestamp"]
    tail = [*objects, *inputs, *recipe.libraries]
    _run([*link, "-o", f"out/symbols/{recipe.output}", *tail], work)
    _run([*link, "-s", "-o", f"out/{recipe.output}", *tail], work)


def _run(command: Sequence[str], directory: Path) -> str:
    environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "SOURCE_DATE_EPOCH": "0"}
    try:
        done = subprocess.run(
            command, cwd=directory, env=environment, capture_output=True, text=True, check=False, timeout=300
        )
    except OSError as error:
        raise DriverError(f"{command[0]} cannot be run: {error.strerror}. Install the package mingw-w64.") from error
    except subprocess.TimeoutExpired as error:
        raise DriverError(f"{command[0]} did not finish within five minutes.") from error
    if done.returncode:
        raise DriverError(f"{' '.join(command)} failed:\n{done.stderr.strip()}")
    return done.stdout


def _publish(made: Path, kept: Path) -> None:
    """Moves a finished build to its place in one step; another process may have been quicker with the same bytes."""
    try:
        made.rename(kept)
    except OSError:
        if not kept.is_dir():
            raise
