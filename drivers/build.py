"""Build wsklab.sys, its twins, the sample drivers, netio.sys and wskagent.exe with mingw-w64.

A build is kept in `<cache>/drivers/<key>/`, where the key is a hash of the sources, the flags and the tool's version;
the same key gives the same bytes, and a second call does nothing but compare them with the hashes taken when they were
made. What differs is built again. Flags: docs/reference/wsk.md section 5.

Long because every kind of build and both toolchains go through the same few steps.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal

from wsklab.common import JSON_IN_C

from . import clang, kept
from .errors import DriverError
from .kept import read_checked
from .twins import find_twin

HOME = Path(__file__).parent
COMPILER = "x86_64-w64-mingw32-gcc"
DDK = Path("/usr/share/mingw-w64/include/ddk")

Progress = Callable[[str], None]
Toolchain = Literal["mingw", "clang", "msvc"]
"""mingw: gcc, with the functions' names. clang: with a PDB, so with their lines. msvc: clang, as MSVC makes drivers.

The last two are for the driver, its twins and, as MSVC makes them, the samples.
"""

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
    """A file made by this module. `symbols` is the same file before stripping, or its PDB."""

    path: Path
    sha256: str
    name: str
    twin: str | None
    symbols: Path

    def content(self) -> bytes:
        """Return the file's bytes, which are those of `sha256`: what goes into a guest is read through this alone.

        Raises:
            DriverError: the file is gone, or is another than it was.
        """
        return read_checked(self.path, self.sha256)


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
    shared: Path | None = None  # a folder of another layer, whose *.c are part of it, too
    toolchain: Toolchain = "mingw"
    more: tuple[str, ...] = ()  # further folders of *.c; no two files of one name

    @property
    def folders(self) -> tuple[Path, ...]:
        """All whose *.c are compiled."""
        own = (HOME / folder for folder in (self.folder, *self.more))
        return (*own, self.shared) if self.shared else tuple(own)


_DRIVER = _Recipe(
    "wsklab.sys", "wsklab", ("include",), _KERNEL_COMPILE, (*_KERNEL_LINK, "-Wl,--entry,DriverEntry"), (),
    ("-lntoskrnl", "-lhal", "-lnetio"),
)  # fmt: skip
_DRIVER_WITH_PDB = replace(_DRIVER, compile=(*_KERNEL_COMPILE, *clang.COMPILE), link=(), toolchain="clang")
# Not of the native subsystem: Wine calls no entry point of a native library, which then would not see its driver go.
_NETIO = _Recipe(
    "netio.sys", "standin", ("include", "standin", "strict"), _KERNEL_COMPILE,
    (*_KERNEL_LINK, "-shared", "-Wl,--entry,NetioEntry", "-Wl,--subsystem,windows:10.0"),
    ("netio.def",), ("-lntoskrnl", "-lhal", "-lntdll"), more=("strict",),
)  # fmt: skip
_SAMPLES = {
    name: _Recipe(f"{name}.sys", f"samples/{name}", ("include",), _DRIVER.compile, _DRIVER.link, (), _DRIVER.libraries)
    for name in ("echo", "pinger")
}
_AGENT = _Recipe("wskagent.exe", "agent", (), _PROGRAM_COMPILE, (), (), ("-ladvapi32",), JSON_IN_C)


def build_driver(
    twin: str | None, cache: Path, progress: Progress | None = None, toolchain: Toolchain = "mingw"
) -> BuiltDriver:
    """Build wsklab.sys, or the wrong build of it that is called `twin`.

    Raises:
        DriverError: there is no such twin, a tool is missing, or the sources do not compile.
    """
    recipe = _with(_DRIVER_WITH_PDB if toolchain == "clang" else _DRIVER, toolchain)
    return _build(recipe, twin, _defines(twin), cache, progress)


def _defines(twin: str | None) -> tuple[str, ...]:
    return (f"-DWSKLAB_TWIN={find_twin(twin).define}",) if twin else ()


@contextmanager
def twin_builder(cache: Path) -> Iterator[Callable[[str], BuiltDriver]]:
    """Yield what builds twins as build_driver does, the same bytes for less: one after the other, by their names.

    An object is compiled for a twin where its source mentions it. All others are the correct driver's, compiled once.
    """
    drivers, files = cache / "drivers", _files(_DRIVER)
    kept.require_own(drivers)
    with kept.workplace(drivers) as work:

        def build(twin: str) -> BuiltDriver:
            mention = re.compile(rf"\bTWIN\({find_twin(twin).define}\)|TEXT\(WSKLAB_TWIN\)")
            common = [path for path in files if not mention.search(path.read_text(encoding="utf-8"))]
            if any(path.suffix == ".h" for path in set(files).difference(common)):
                common = []  # it may be in all
            return _build(_DRIVER, twin, _defines(twin), cache, None, (work, common))

        yield build


def _with(recipe: _Recipe, toolchain: Toolchain) -> _Recipe:
    """Return how a driver is made as MSVC makes it, where that is asked for."""
    if toolchain != "msvc":
        return recipe
    compiler = (*_KERNEL_COMPILE, *clang.AS_MSVC)
    return replace(recipe, compile=compiler, link=(), toolchain="msvc", more=("msvc",))


def build_sample(
    name: str, cache: Path, progress: Progress | None = None, toolchain: Toolchain = "mingw"
) -> BuiltDriver:
    """Build one of the drivers in drivers/samples, which know nothing of this lab.

    Raises:
        DriverError: there is no such sample, a tool is missing, or the sources do not compile.
    """
    if name not in _SAMPLES:
        raise DriverError(f"There is no sample driver {name!r}; there are {', '.join(_SAMPLES)}.")
    return _build(_with(_SAMPLES[name], toolchain), None, (), cache, progress)


def build_standin(cache: Path, progress: Progress | None = None) -> BuiltStandin:
    """Build the WSK provider for Wine and the agent.

    Raises:
        DriverError: a tool is missing, or the sources do not compile.
    """
    return BuiltStandin(_build(_NETIO, None, (), cache, progress), build_agent(cache, progress))


def build_agent(cache: Path, progress: Progress | None = None) -> BuiltDriver:
    """Build wskagent.exe, the same for Windows and Wine.

    Raises:
        DriverError: a tool is missing, or the sources do not compile.
    """
    return _build(_AGENT, None, (), cache, progress)


def _build(
    recipe: _Recipe,
    twin: str | None,
    defines: tuple[str, ...],
    cache: Path,
    progress: Progress | None,
    common: _Common = (None, ()),
) -> BuiltDriver:
    files = _files(recipe)
    drivers = cache / "drivers"
    build = drivers / _key(recipe, defines, files)
    kept.require_own(drivers)
    outputs = _outputs(recipe)
    hashes = kept.checked(build, outputs, progress)
    if hashes is None:
        if progress:
            progress(f"building {recipe.output}" + (f" ({twin})" if twin else ""))
        with kept.workplace(drivers) as work:
            _compile(recipe, defines, files, work, common)
            hashes = kept.publish(work / "out", build, outputs)
    path, symbols = (build / name for name in outputs)
    return BuiltDriver(path, hashes[recipe.output], recipe.output.split(".")[0], twin, symbols)


def _outputs(recipe: _Recipe) -> tuple[str, str]:
    """Return the files of a build, relative to its folder: what is loaded, and what has its symbols."""
    if recipe.toolchain != "mingw":
        return recipe.output, clang.pdb_of(recipe.output)
    return recipe.output, f"symbols/{recipe.output}"


def _files(recipe: _Recipe) -> list[Path]:
    """All files that go into the build, as absolute paths, sorted by name."""
    folders = dict.fromkeys((*recipe.folders, *(HOME / folder for folder in recipe.includes)))
    found = [path for folder in folders for path in folder.iterdir() if path.suffix in {".c", ".h", ".def"}]
    if not any(path.suffix == ".c" for path in found):
        raise DriverError(f"The sources of {recipe.output} are missing from {HOME / recipe.folder}.")
    return sorted(found)


def _sources(recipe: _Recipe, files: Iterable[Path]) -> list[Path]:
    """Return the files among those of a build that are compiled, in the order in which they are linked."""
    found = [path for path in files if path.suffix == ".c" and path.parent in recipe.folders]
    return sorted(found, key=lambda path: recipe.folders.index(path.parent))


def _place(recipe: _Recipe, source: Path) -> str:
    """Return where a source stands in the folder of a build."""
    return f"shared/{source.name}" if source.parent == recipe.shared else f"src/{source.relative_to(HOME)}"


def _key(recipe: _Recipe, defines: tuple[str, ...], files: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for part in (
        kept.HASHES,  # as a build without them has another key
        recipe.output,
        *recipe.compile,
        *defines,
        *recipe.link,
        *recipe.inputs,
        *recipe.libraries,
        _version(recipe.toolchain),
    ):
        digest.update(part.encode() + b"\0")
    if len(recipe.folders) > 1:  # whose order makes other bytes
        digest.update("".join(_place(recipe, path) for path in _sources(recipe, files)).encode())
    for path in files:
        digest.update(str(path.relative_to(HOME.parent)).encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:20]


@cache
def _version(toolchain: Toolchain) -> str:
    """Return what compiler and linker call themselves.

    Raises:
        DriverError: there is no compiler, or no driver headers.
    """
    if toolchain != "mingw":
        if not (shutil.which(clang.COMPILER) and shutil.which(clang.LINKER) and DDK.is_dir()):
            raise DriverError(
                f"{clang.COMPILER}, {clang.LINKER} or mingw-w64's driver headers are missing: "
                f"install the packages {clang.PACKAGES}."
            )
        return _run([clang.COMPILER, "--version"], HOME) + _run([clang.LINKER, "--version"], HOME)
    if shutil.which(COMPILER) is None or not DDK.is_dir():
        raise DriverError(f"{COMPILER} or its driver headers are missing: install the package mingw-w64.")
    return _run([COMPILER, "--version"], HOME) + _run([COMPILER, "-Wl,--version"], HOME)


_Common = tuple[Path | None, Sequence[Path]]
"""A folder of objects, and the sources whose objects are there, or are put there, for builds without `defines`."""


def _compile(
    recipe: _Recipe, defines: Sequence[str], files: Iterable[Path], work: Path, common: _Common = (None, ())
) -> None:
    """Leave in `work/out` the files that `_outputs` names.

    All paths the compiler sees are relative or mapped, so that the bytes do not depend on where they were made.
    """
    (work / "src").symlink_to(HOME)
    if recipe.shared:
        (work / "shared").symlink_to(recipe.shared)
    (work / "out" / "symbols").mkdir(parents=True)
    includes = [f"-Isrc/{folder}" for folder in recipe.includes]
    if recipe.compile is _KERNEL_COMPILE:
        includes.append(f"-I{DDK}")
    if recipe.shared:
        includes.append("-Ishared")

    def compile_one(source: Path) -> str:
        folder, shared = common
        made = folder / f"{source.stem}.o" if folder and source in shared else None
        if made and made.exists():
            shutil.copyfile(made, work / made.name)
            return made.name
        flags = [*recipe.compile, *(() if made else defines), *includes]
        if recipe.toolchain == "mingw":
            flags.append(f"-ffile-prefix-map={work}=build")
        compiler = COMPILER if recipe.toolchain == "mingw" else clang.COMPILER
        _run([compiler, *flags, "-c", _place(recipe, source), "-o", f"{source.stem}.o"], work)
        if made:
            shutil.copyfile(work / made.name, made)
        return f"{source.stem}.o"

    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        objects = list(pool.map(compile_one, _sources(recipe, files)))
    if recipe.toolchain != "mingw":
        from .check import with_checksum  # which loads what reads PE files

        _run(clang.link_command(f"out/{recipe.output}", objects, recipe.libraries, recipe.toolchain == "msvc"), work)
        made = work / "out" / recipe.output
        made.write_bytes(with_checksum(made.read_bytes()))  # lld-link leaves it zero
        return
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


class Rebuild:
    """One output as it should be, compiled in `work`, and builds that differ from it in one source file.

    Raises DriverError when the correct sources do not compile.
    """

    def __init__(self, output: str, work: Path) -> None:
        self._recipe = {"wsklab.sys": _DRIVER, "netio.sys": _NETIO}[output]
        self._work = work
        files = _files(self._recipe)
        _compile(self._recipe, (), files, work)
        self._stems = [path.stem for path in _sources(self._recipe, files)]
        self._correct = (work / "out" / output).read_bytes()

    def build(self, name: str, source: str, text: str) -> BuiltDriver | None:
        """With `text` as the file `source`; None if that does not compile, or comes to the very same bytes.

        Only what is certainly wrong is refused, such as a pointer for a number: a mistake must not be found by a
        warning.
        """
        recipe, stem = self._recipe, Path(source).stem
        folder = self._work / name
        folder.mkdir()
        (folder / f"{stem}.c").write_text(text, encoding="utf-8")
        compile_flags = [flag for flag in recipe.compile if flag not in _WARNINGS[1:]]
        includes = [f"-Isrc/{part}" for part in (recipe.folder, *recipe.includes)] + [f"-I{DDK}"]
        objects = [f"{name}/{stem}.o" if other == stem else f"{other}.o" for other in self._stems]
        inputs = [f"src/{recipe.folder}/{file}" for file in recipe.inputs]
        path = folder / recipe.output
        try:
            _run(
                [
                    COMPILER,
                    *compile_flags,
                    *_WRONG_TYPES,
                    *includes,
                    "-c",
                    f"{name}/{stem}.c",
                    "-o",
                    f"{name}/{stem}.o",
                ],
                self._work,
            )
            _run(
                [
                    COMPILER,
                    *recipe.link,
                    "-Wl,--no-insert-timestamp",
                    "-s",
                    "-o",
                    f"{name}/{recipe.output}",
                    *objects,
                    *inputs,
                    *recipe.libraries,
                ],
                self._work,
            )
        except DriverError:
            shutil.rmtree(folder)
            return None
        made = path.read_bytes()
        if made == self._correct:
            shutil.rmtree(folder)
            return None
        return BuiltDriver(path, hashlib.sha256(made).hexdigest(), recipe.output.split(".")[0], None, path)


_WRONG_TYPES = ("-Werror=incompatible-pointer-types", "-Werror=int-conversion", "-Werror=implicit-function-declaration")
