"""Builds wsklab.sys, its twins, the sample drivers, netio.sys and wskagent.exe with mingw-w64.

A build is kept in `<cache>/drivers/<key>/`, where the key is a hash of the sources, the flags and the tool's version;
the same key gives the same bytes, and a second call does nothing but compare them with the hashes taken when they were
made. What differs is built again. Flags: docs/reference/wsk.md section 5.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .errors import DriverError
from .twins import find_twin

HOME = Path(__file__).parent
COMPILER = "x86_64-w64-mingw32-gcc"
DDK = Path("/usr/share/mingw-w64/include/ddk")

Progress = Callable[[str], None]

_HASHES = "hashes.json"
"""In the folder of a build: SHA-256 of each file in it, as it left the linker."""

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
    more: tuple[str, ...] = ()  # further folders of *.c; no two files of one name

    @property
    def folders(self) -> tuple[str, ...]:
        """All whose *.c are compiled."""
        return (self.folder, *self.more)


_DRIVER = _Recipe(
    "wsklab.sys", "wsklab", ("include",), _KERNEL_COMPILE, (*_KERNEL_LINK, "-Wl,--entry,DriverEntry"), (),
    ("-lntoskrnl", "-lhal", "-lnetio"),
)  # fmt: skip
# Not of the native subsystem: Wine calls no entry point of a native library, which then would not see its driver go.
_NETIO = _Recipe(
    "netio.sys", "standin", ("include", "standin", "strict"), _KERNEL_COMPILE,
    (*_KERNEL_LINK, "-shared", "-Wl,--entry,NetioEntry", "-Wl,--subsystem,windows:10.0"),
    ("netio.def",), ("-lntoskrnl", "-lhal", "-lntdll"), ("strict",),
)  # fmt: skip
_SAMPLES = {
    name: _Recipe(f"{name}.sys", f"samples/{name}", ("include",), _DRIVER.compile, _DRIVER.link, (), _DRIVER.libraries)
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
    _require_own(cache / "drivers")
    hashes = _kept_hashes(kept, recipe, progress)
    if hashes is None:
        if progress:
            progress(f"building {recipe.output}" + (f" ({twin})" if twin else ""))
        kept.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache / "drivers", prefix=".building-") as work:
            _compile(recipe, defines, files, Path(work))
            hashes = _hashes(Path(work) / "out", recipe)
            (Path(work) / "out" / _HASHES).write_text(json.dumps(hashes, indent=1) + "\n")
            _publish(Path(work) / "out", kept)
    path, symbols = (kept / name for name in _outputs(recipe))
    return BuiltDriver(path, hashes[recipe.output], recipe.output.split(".")[0], twin, symbols)


def read_checked(path: Path, sha256: str) -> bytes:
    """Return the bytes of a file whose hash is known.

    Raises:
        DriverError: the file cannot be read, or has another hash.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DriverError(f"{path} cannot be read ({error.strerror}): run the command again.") from error
    if hashlib.sha256(content).hexdigest() != sha256:
        raise DriverError(
            f"{path} is not what it was when this run began (SHA-256 differs): run the command again; "
            "what the lab has built itself is then built anew."
        )
    return content


def _require_own(folder: Path) -> None:
    """Refuse drivers that somebody else could have put there, hashes and all. Raises DriverError."""
    if folder.exists() and ((status := folder.stat()).st_mode & stat.S_IWOTH or status.st_uid != os.geteuid()):
        raise DriverError(
            f"{folder} is writable by everybody, or is not yours, so nothing in it is run: remove it, or "
            "set WSKLAB_CACHE to a folder of your own."
        )


def _outputs(recipe: _Recipe) -> tuple[str, str]:
    """The files of a build, relative to its folder: the stripped one, and the one with symbols."""
    return recipe.output, f"symbols/{recipe.output}"


def _hashes(folder: Path, recipe: _Recipe) -> dict[str, str]:
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in _outputs(recipe)}


def _kept_hashes(kept: Path, recipe: _Recipe, progress: Progress | None) -> dict[str, str] | None:
    """The hashes of a kept build that is as it was made; None when there is none, or none any more."""
    if not kept.exists():
        return None
    damaged = kept / recipe.output
    try:
        made = json.loads((kept / _HASHES).read_text())
        found = _hashes(kept, recipe)
        if found == made:
            return found
        damaged = next((kept / name for name in found if found[name] != made[name]), damaged)
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not whole
    if progress:
        progress(f"{damaged} is not as it was built (SHA-256 differs), so it is built again")
    with tempfile.TemporaryDirectory(dir=kept.parent, prefix=".damaged-") as away, suppress(FileNotFoundError):
        kept.rename(Path(away) / kept.name)  # gone at once for everybody else, too
    return None


def _files(recipe: _Recipe) -> list[Path]:
    """All files that go into the build, as absolute paths, sorted by name."""
    folders = dict.fromkeys((*recipe.folders, *recipe.includes))
    found = [path for folder in folders for path in (HOME / folder).iterdir() if path.suffix in {".c", ".h", ".def"}]
    if not any(path.suffix == ".c" for path in found):
        raise DriverError(f"The sources of {recipe.output} are missing from {HOME / recipe.folder}.")
    return sorted(found)


def _sources(recipe: _Recipe, files: Iterable[Path]) -> list[Path]:
    """The files among those of a build that are compiled."""
    folders = {HOME / folder for folder in recipe.folders}
    return [path for path in files if path.suffix == ".c" and path.parent in folders]


def _key(recipe: _Recipe, defines: tuple[str, ...], files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for part in (
        _HASHES,  # as a build without them has another key
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

    def compile_one(path: Path) -> str:
        flags = (*recipe.compile, *defines, *includes, f"-ffile-prefix-map={work}=build")
        _run([COMPILER, *flags, "-c", f"src/{path.relative_to(HOME)}", "-o", f"{path.stem}.o"], work)
        return f"{path.stem}.o"

    with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
        objects = list(pool.map(compile_one, _sources(recipe, files)))
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
