"""Faults of a run as a whole: its process, its folder, its disk, its cache, and the files that people hand to it."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from wsklab import images
from wsklab.drivers.build import build_driver, build_standin
from wsklab.orchestrator.errors import LabError
from wsklab.orchestrator.trials.child import Child
from wsklab.orchestrator.trials.fault import Case, Do, Seen, Setup

RUN = "run"
MOVED = "elsewhere"
"""What the folder of the run is called, in the folder of the case."""

FILES = ("results.json", "results.jsonl", "junit.xml", "report.html", "evidence")
"""What a run leaves."""

ORDERLY = 10.0
"""Seconds in which the machines of a run end with it."""

FULL = 4096
"""Bytes beyond which no file of the run can grow: to write more fails, as it does on a disk that is full."""


def _seen(child: Child, says: str, at: float, folder: Path, more: tuple[str, ...] = ()) -> Seen:
    """Return what became of a command that has ended, or ends now by itself."""
    child.end()
    ended = time.monotonic()
    named = child.when(says)
    outlived = child.outlived(ORDERLY)
    disks = len(list(folder.rglob("overlay.qcow2")))
    left = (
        *((f"{outlived} of its processes outlive it",) if outlived else ()),
        *((f"{disks} disks of its labs are still there",) if disks else ()),
        *more,
    )
    return Seen(
        child.ended_as,
        named[1] if named else child.last,
        round(named[0] - at, 1) if named else None,
        round(ended - at, 1),
        kept_of(folder),
        left=left,
    )


def kept_of(folder: Path) -> tuple[str, ...]:
    """Return what a run has left, wherever its folder is now."""
    return tuple(name for name in FILES if any((folder / place / name).exists() for place in (RUN, MOVED)))


def _in_mid_run(strike: Callable[[Child, Path], object], says: str) -> Do:
    """Strike a run without end when its first verdict is out, and its second scenario begins."""

    def do(_setup: Setup, folder: Path) -> Seen:
        with Child("run", "--repeat", "1000", "close-graceful", "--out", str(folder / RUN)) as child:
            child.until("close-graceful")
            child.meet_family()
            at = time.monotonic()
            strike(child, folder / RUN)
            return _seen(child, says, at, folder)

    return do


def _no_room(child: Child, _folder: Path) -> None:
    resource.prlimit(child.process.pid, resource.RLIMIT_FSIZE, (FULL, FULL))


def _remove(_child: Child, folder: Path) -> None:
    for _ in range(3):  # the run writes into it meanwhile
        with suppress(OSError):
            shutil.rmtree(folder)


def _that_dies(strike: Callable[[Child], object], says: str, prelude: str = "") -> Do:
    """Kill a run that has no time to put anything in order: the report says so, the next run clears away what is left.

    Over is it when the last of its processes has gone.
    """

    def do(_setup: Setup, folder: Path) -> Seen:
        words = ("run", "--repeat", "1000", "close-graceful", "--out", str(folder / RUN))
        with Child(*words, prelude=prelude) as child:
            child.until("close-graceful")
            child.meet_family()
            at = time.monotonic()
            strike(child)
            child.end()
            outlived, ended = child.outlived(ORDERLY), time.monotonic()
            named = child.when(says)
        with Child("report", str(folder / RUN)) as report:
            report.end()
        with Child("run", "linger-zero", "--out", str(folder / "next")) as following:
            passed = following.end() == 0
        more = (
            *((f"{outlived} of its processes outlive it",) if outlived else ()),
            *(() if passed else (f"the next run does not pass: {following.last}",)),
            *(() if following.when("a run that was killed left") else ("the next run clears nothing away",)),
        )
        seen = _seen(report, says, at, folder, more)
        return replace(
            seen,
            reason=named[1] if named else seen.reason,
            named_after_s=round(named[0] - at, 1) if named else None,
            ended_after_s=round(ended - at, 1),
        )

    return do


HOLD = "import re, signal; signal.signal(signal.SIGUSR2, lambda *_: re.match('(a+)+$', 'a' * 99 + 'b'))"
"""On SIGUSR2, C code holds the interpreter: no other thread, and no signal handler, runs any more."""


def _reader_leaves(_setup: Setup, folder: Path) -> Seen:
    with Child("run", "linger-zero", "--out", str(folder / RUN)) as child:
        child.until("drivers")
        assert child.process.stdout is not None
        at = time.monotonic()
        child.process.stdout.close()
        child.process.wait()
        ended = round(time.monotonic() - at, 1)
        return Seen(child.ended_as, "", None, ended, kept_of(folder))


def _with_damage(damage: Callable[[Setup, Path], None], says: str) -> Do:
    """Do a run with a cache of its own, in which one byte is another."""

    def do(setup: Setup, folder: Path) -> Seen:
        cache = folder / "cache"
        try:
            private_cache(setup, cache)
            damage(setup, cache)
            at = time.monotonic()
            with Child("run", "linger-zero", "--out", str(folder / RUN), WSKLAB_CACHE=str(cache)) as child:
                seen = _seen(child, says, at, folder / RUN)
            return replace(seen, kept=kept_of(folder))
        finally:
            shutil.rmtree(cache, ignore_errors=True)  # hundreds of MiB

    return do


def private_cache(setup: Setup, cache: Path) -> None:
    """Make a cache whose images are the usual ones, and whose drivers and snapshots are copies."""
    usual = images.cache_folder()
    (cache / "drivers").mkdir(parents=True, mode=0o700)
    standin = build_standin(usual)
    for built in {one.path.parent for one in (setup.driver, standin.netio, standin.agent)}:
        shutil.copytree(built, cache / "drivers" / built.name)
    for name in ("images", "packages", "signing", "accelerator.json"):
        if (usual / name).exists():
            (cache / name).symlink_to(usual / name)
    (cache / "snapshots").mkdir(mode=0o700)
    for kept in (usual / "snapshots").glob("*/manifest.json"):
        with suppress(OSError):  # it may be removed just now
            if json.loads(kept.read_text())["ingredients"]["driver"] == setup.driver.sha256:
                shutil.copytree(kept.parent, cache / "snapshots" / kept.parent.name)


def flip(file: Path) -> None:
    """Change one byte in the middle of a file as a failing disk does: nothing that `stat` would show tells of it."""
    before = file.stat()
    with file.open("r+b") as opened:
        opened.seek(before.st_size // 2)
        byte = opened.read(1)[0]
        opened.seek(before.st_size // 2)
        opened.write(bytes([byte ^ 0xFF]))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def _damaged_driver(_setup: Setup, cache: Path) -> None:
    flip(build_driver(None, cache).path)


def _damaged_snapshot(_setup: Setup, cache: Path) -> None:
    disks = list(cache.glob("snapshots/*/target.qcow2"))
    if not disks:
        raise LabError("no snapshot is kept that could be damaged.")
    for disk in disks:
        flip(disk)


def _damaged_image(setup: Setup, cache: Path) -> None:
    usual = setup.preparation.peer.folder
    (cache / "images").unlink()
    shutil.copytree(usual, cache / "images" / usual.name)
    shutil.copytree(usual.parent / "refs", cache / "images" / "refs")
    for part in (cache, cache / "images", cache / "images/refs"):
        part.chmod(0o700)
    flip(cache / "images" / usual.name / setup.preparation.peer.disk.name)


def _hostile(make: Callable[[Path], object], says: str, *words: str) -> Do:
    """Give a command a file which nobody should read, or not to its end."""

    def do(_setup: Setup, folder: Path) -> Seen:
        make(folder / "it.yaml")
        at = time.monotonic()
        with Child(*(word.format(file=folder / "it.yaml") for word in words)) as child:
            return _seen(child, says, at, folder)

    return do


def _bomb(path: Path) -> None:
    """Each line is nine times the one before: some 200 bytes of YAML that stand for three thousand million words."""
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    path.write_text("\n".join(lines) + "\n")


def _backtracking(path: Path) -> None:
    """Try a pattern for which a backtracking engine tries 2^64 ways before it knows that the sample does not match."""
    line = "a" * 64 + "!"
    path.write_text(
        "name: hostile\ntitle: Hostile\nbuild: echo\nservice: echo\ntarget_path: C:\\wsklab\\echo.sys\n"
        "provoke: {by: peer, port: 7007, replies: true}\n"
        f"patterns:\n  - {{kind: load, line: '(a+)+$', samples: {{'{line}': {{}}}}}}\n"
    )


def _run_case(
    part: str, name: str, verdict: str, says: str, strike: Callable[[Child, Path], object], kept: tuple[str, ...]
) -> Case:
    return Case(part, name, verdict, says, _in_mid_run(strike, says), kept)


def _cache_case(
    name: str, verdict: str, says: str, damage: Callable[[Setup, Path], None], kept: tuple[str, ...]
) -> Case:
    return Case("cache", name, verdict, says, _with_damage(damage, says), kept)


def _file_case(name: str, says: str, make: Callable[[Path], object], *words: str) -> Case:
    return Case("hostile input", name, "refused (exit 2)", says, _hostile(make, says, *words), panel=True)


_NO_FILE = "not a regular file"
KILLED = "aborted: the run was killed"
HANGS = "wsklab itself hangs"

CASES = (
    _run_case(
        "orchestrator",
        "the run is interrupted (SIGINT)",
        "interrupted (exit 130)",
        "not run: interrupted",
        lambda child, _folder: child.process.send_signal(signal.SIGINT),
        FILES,
    ),
    Case(
        "orchestrator",
        "the run is killed (SIGKILL)",
        "not proven (exit 3)",
        KILLED,
        _that_dies(lambda child: child.process.kill(), KILLED),
        FILES,
    ),
    Case(
        "orchestrator",
        "Python is held for ever",
        "not proven (exit 3)",
        HANGS,
        _that_dies(lambda child: child.process.send_signal(signal.SIGUSR2), HANGS, HOLD),
        FILES,
    ),
    Case("orchestrator", "the reader of its output leaves", "pass (exit 0)", "", _reader_leaves, FILES),
    _run_case(
        "disk",
        "the disk is full (no file can grow)",
        "not proven (exit 3)",
        "File too large",
        _no_room,
        ("results.json", "results.jsonl", "evidence"),
    ),
    _run_case("folder", "the run's folder is removed", "not proven (exit 3)", "was removed", _remove, ()),
    _run_case(
        "folder",
        "the run's folder is moved",
        "not proven (exit 3)",
        "was moved to",
        lambda _child, folder: folder.rename(folder.with_name(MOVED)),
        FILES,
    ),
    _cache_case(
        "a cached driver is damaged",
        "pass (exit 0)",
        "is not as it was built (SHA-256 differs), so it is built again",
        _damaged_driver,
        FILES,
    ),
    _cache_case(
        "a kept snapshot is damaged",
        "pass (exit 0)",
        "the kept snapshot is removed, a cold boot follows",
        _damaged_snapshot,
        FILES,
    ),
    _cache_case(
        "an image is damaged",
        "not proven (exit 3)",
        "missing or not as it was built (SHA-256 differs)",
        _damaged_image,
        (),
    ),
    _file_case("a fifo as a scenario", _NO_FILE, os.mkfifo, "scenario", "check", "{file}"),
    _file_case(
        "a link to /dev/zero as a driver",
        _NO_FILE,
        lambda path: path.symlink_to("/dev/zero"),
        "driver",
        "check",
        "{file}",
    ),
    _file_case("a YAML bomb as a scenario", "aliases (*a0) are not allowed", _bomb, "scenario", "check", "{file}"),
    _file_case(
        "a profile whose pattern backtracks without end",
        "does not match",
        _backtracking,
        "run",
        "--driver",
        "{file}",
        "--out",
        "{file}.run",
    ),
)
