"""Logs of guests that print without end: bounded disk, bounded memory, and a word on what is missing."""

from __future__ import annotations

import errno
import re
import resource
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsklab.orchestrator.judge.integrity import silence
from wsklab.orchestrator.judge.reading import Facts
from wsklab.orchestrator.observe.foreign_lines import ForeignNote
from wsklab.orchestrator.observe.journal import Journal
from wsklab.orchestrator.observe.lab_notes import Overflow
from wsklab.orchestrator.observe.machine_events import KernelStops
from wsklab.orchestrator.run.evidence import Slice
from wsklab.orchestrator.scenario import catalogue
from wsklab.qemu.deadline import within
from wsklab.qemu.errors import MachineError
from wsklab.qemu.logfile import COPIED_HEAD, COPIED_TAIL, HEAD, TAIL, LogFile
from wsklab.qemu.process import Child
from wsklab.qemu.serial import MAX_LINE, LineSplitter, SerialLine

MARKER = re.compile(rb"\n\[wsklab: (\d+) bytes are left out here; [^\n]*\]\n")


@given(st.lists(st.binary(max_size=30), max_size=30), st.integers(0, 400))
def test_a_log_is_its_beginning_and_its_end_and_says_what_lies_between(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes], since: int
) -> None:
    folder = tmp_path_factory.mktemp("log")
    log, written = LogFile(folder / "a.log", head=20, tail=40), b"".join(pieces)
    for piece in pieces:
        log.write(piece)
    kept = (folder / "a.log").read_bytes() if pieces else b""
    assert len(kept) <= 20 + 2 * 40 + 100
    assert log.position == len(written)
    if marker := MARKER.search(kept):
        assert kept[: marker.start()] == written[:20]
        tail = kept[marker.end() :]
        assert len(tail) >= 40 and written.endswith(tail)
        assert 20 + int(marker[1]) + len(tail) == len(written)
    else:
        assert kept == written
    log.copy(folder / "part", since)
    part = (folder / "part").read_bytes() if pieces else b""
    lost = sum(int(count) for count in MARKER.findall(part))
    assert len(MARKER.sub(b"", part)) + lost >= max(0, len(written) - since)
    assert written.endswith(part[-10:]) or MARKER.search(part)


def test_a_part_after_the_marker_is_exact(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "a.log", head=20, tail=40)
    log.write(b"x" * 500)
    log.copy(tmp_path / "nothing", log.position)
    since = log.position
    log.write(b"the part")
    log.copy(tmp_path / "part", since)
    assert (tmp_path / "nothing").read_bytes() == b""
    assert (tmp_path / "part").read_bytes() == b"the part"


def test_a_machine_that_starts_again_goes_on_in_its_log(tmp_path: Path) -> None:
    first = LogFile(tmp_path / "a.log")
    first.write(b"one ")
    first.close()
    second = LogFile(tmp_path / "a.log")
    since = second.position
    second.write(b"two")
    second.copy(tmp_path / "part", since)
    assert (tmp_path / "a.log").read_bytes() == b"one two"
    assert (tmp_path / "part").read_bytes() == b"two"


def test_a_full_disk_costs_bytes_and_says_so(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "a.log")
    log.write(b"before")
    file = log._file
    log._file = Path("/dev/full").open("ab", buffering=0)  # noqa: SIM115
    log.write(b"lost")
    log._file.close()
    log._file = file
    log.write(b"after")
    assert (tmp_path / "a.log").read_bytes() == (
        b"before\n[wsklab: 4 bytes are left out here; they could not be written]\nafter"
    )


def test_without_room_for_a_second_file_the_beginning_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, target: Path) -> Path:
        raise OSError(errno.ENOSPC, "No space left on device")

    log = LogFile(tmp_path / "a.log", head=20, tail=40)
    monkeypatch.setattr(Path, "replace", full)
    for _ in range(10):
        log.write(b"0123456789" * 5)
    kept = (tmp_path / "a.log").read_bytes()
    assert kept.startswith(b"0123456789" * 2 + b"\n[wsklab: ")
    assert len(kept) < 200 and log.position == 500
    assert list(tmp_path.iterdir()) == [tmp_path / "a.log"]


def flood(amount: int, piece: bytes, hear: Callable[[SerialLine], object], log: LogFile) -> None:
    """Print `amount` bytes as a guest does, as fast as it is drained."""
    ours, guest = socket.socketpair()
    line = SerialLine("debug", ours, log)
    hear(line)
    line.start()
    for _ in range(amount // len(piece)):
        guest.sendall(piece)
    guest.close()
    line._thread.join(120)
    line.close()


@pytest.mark.parametrize(
    ("mib", "piece", "most"),
    [(256, b"x" * 65536, 2), (32, b"a long line of debug text 01234567890" * 28 + b"\n", 10**9)],
)
def test_a_flood_takes_neither_memory_nor_disk(tmp_path: Path, mib: int, piece: bytes, most: int) -> None:
    """One endless line, or endless lines."""
    log, heard = LogFile(tmp_path / "debug.log"), 0

    def hear(_t: int, text: str) -> None:
        nonlocal heard
        heard += 1
        assert len(text) <= MAX_LINE + 100

    log.write(b"the boot\n")
    part = Slice.begin(log)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    flood(mib << 20, piece, lambda line: line.on_line(hear), log)
    part.save(tmp_path / "debug.raw")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 48 << 10  # KiB
    assert 0 < heard <= most
    assert (tmp_path / "debug.log").stat().st_size <= HEAD + 2 * TAIL + 200
    copied = (tmp_path / "debug.raw").read_bytes()
    assert len(copied) <= COPIED_HEAD + COPIED_TAIL + 200
    assert MARKER.search(copied)
    assert (tmp_path / "debug.log").read_bytes().startswith(b"the boot\n")


def test_of_an_endless_line_the_beginning_and_the_end_are_heard() -> None:
    splitter = LineSplitter(10)
    assert splitter.feed(b"beginning.") == []
    assert splitter.feed(b"x" * 5) == ["beginning."]
    assert splitter.feed(b"y" * 1000) == []
    assert splitter.feed(b"canary 17\nnext\n") == ["[1004 bytes of this line are left out] ycanary 17", "next"]
    assert splitter.feed(b"z" * 12) == ["z" * 10]
    assert splitter.flush() == ["zz"]


def test_a_watch_over_a_flood_ends_with_a_sentence(tmp_path: Path) -> None:
    ours, guest = socket.socketpair()
    line = SerialLine("console", ours)
    line.start()
    feeder = threading.Thread(target=guest.sendall, args=(b"no word of it\n" * 4096 * 100,))
    feeder.start()
    with line.watch() as watch, pytest.raises(MachineError, match="said more than a watch holds"):
        watch.expect("the word", within(60))
    feeder.join()
    line.close()
    guest.close()


def test_what_a_process_says_on_stderr_is_bounded_and_whole_at_its_end(tmp_path: Path) -> None:
    ended = threading.Event()
    child = Child(["sh", "-c", "echo first >&2; yes | head -c 40000000 >&2; echo last words >&2; exit 3"],
                  tmp_path / "err", on_exit=lambda _code: ended.set())  # fmt: skip
    assert child.wait(within(60)) == 3
    assert child.stderr_tail().endswith("y\nlast words\n")
    assert (tmp_path / "err").stat().st_size <= HEAD + 2 * TAIL + 200
    assert (tmp_path / "err").read_bytes().startswith(b"first\n")
    assert ended.wait(5)


@pytest.mark.parametrize(("count", "text"), [(101, "x"), (10_000, "x"), (20, "x" * 100), (1, "x" * 1001)])
def test_the_journal_of_a_scenario_is_bounded_and_the_judge_is_told(
    monkeypatch: pytest.MonkeyPatch, count: int, text: str
) -> None:
    [any_scenario] = catalogue.select(["linger-zero"])
    monkeypatch.setattr("wsklab.orchestrator.observe.journal.MOST_ENTRIES", 100)
    monkeypatch.setattr("wsklab.orchestrator.observe.journal.MOST_TEXT", 1000)
    journal = Journal()
    for number in range(count):
        journal.add(ForeignNote(t=number, text=text))
    journal.add(KernelStops(t=1, machine="target", detail=""))
    kept = journal.since(0)
    assert len(kept) <= 102 and sum(len(o.text) for o in kept if isinstance(o, ForeignNote)) <= 1000
    assert isinstance(kept[-1], KernelStops), "what a machine has to say is always heard"
    assert isinstance(kept[-2], Overflow)
    assert ("inconclusive", kept[-2].detail) in list(silence(Facts(any_scenario, kept)))
    journal.forget()
    journal.add(ForeignNote(t=2))
    assert [o.kind for o in journal.since(0)] == ["note"]
