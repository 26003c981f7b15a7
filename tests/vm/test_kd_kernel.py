"""The kernel debugger's line on a real UART of QEMU: a kernel of a few lines that speaks KD, and snapshots of it."""

from __future__ import annotations

import queue
import random
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wsklab.qemu.deadline import within
from wsklab.qemu.kd.events import TextLine
from wsklab.qemu.kd.line import read_transcript
from wsklab.qemu.kd.pump import Pump
from wsklab.qemu.machine import Machine
from wsklab.qemu.profile import ImageFiles, load_profile

pytestmark = [
    pytest.mark.vm,
    pytest.mark.timeout(120),
    pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc"),
]


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("kd")
    kernel = folder / "kernel.elf"
    subprocess.run(
        [
            "gcc",
            "-m32",
            "-std=c11",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-O1",
            "-ffreestanding",
            "-fno-pie",
            "-fno-builtin",
            "-fno-stack-protector",
            "-fcf-protection=none",
            "-mgeneral-regs-only",
            "-nostdlib",
            "-static",
            "-no-pie",
            "-Wl,-Ttext=0x100000,--build-id=none,--section-start=.multiboot=0xff000",
            "-o",
            str(kernel),
            str(Path(__file__).with_name("kd_kernel.c")),
        ],
        check=True,
    )
    profile = load_profile("peer").model_copy(update={"debug": "kd", "memory_mib": 64})
    with Machine("target", profile, ImageFiles(kernel=kernel), folder / "target", "tcg") as one:
        one.start()
        one.debug.expect("line 000100", within(60))
        yield one


def boots(machine: Machine) -> list[list[dict[str, Any]]]:
    """Return what was told from each Attached to the next."""
    found: list[list[dict[str, Any]]] = []
    for event in read_transcript(machine.folder / "kd.jsonl"):
        if event["event"] == "Attached":
            found.append([])
        found[-1].append(event)
    return found


def numbers(boot: list[dict[str, Any]]) -> list[int]:
    return [int(event["text"].removeprefix("line ")) for event in boot if event["event"] == "TextLine"]


def goes_on(machine: Machine) -> None:
    """Wait for some twenty more lines."""
    with machine.debug.watch() as watch:
        for _ in range(2):
            watch.expect(r"line \d{5}0\b", within(30))


def test_every_line_comes_once_and_a_break_in_says_where_it_was(machine: Machine) -> None:
    goes_on(machine)
    assert machine.locate(within(30)) == "processor 0 at 0xffffffff80406070"
    goes_on(machine)
    (boot,) = boots(machine)
    assert numbers(boot) == list(range(1, len(numbers(boot)) + 1))


def test_a_snapshot_taken_anywhere_goes_on(machine: Machine) -> None:
    """In the middle of packets and stops, and with what its debugger said since still unread (kd.md, "Seen since")."""
    draw = random.Random(1)
    before = len(boots(machine))
    for number in range(5):
        machine.debug.expect(rf"line \d{{5}}{draw.randrange(10)}\b", within(30))
        machine.qmp.hmp(f"savevm any{number}")  # not `save`, which waits for a place between packets
        machine.restore(f"any{number}")
        goes_on(machine)
    for boot in boots(machine)[before:]:
        said = numbers(boot)
        assert said == list(range(said[0], said[0] + len(said)))
        assert {event["event"] for event in boot} <= {"Attached", "TextLine", "ExceptionSeen", "Resynced"}


def test_a_snapshot_of_ours_lies_between_packets_and_no_line_is_lost(machine: Machine) -> None:
    machine.save("ours")
    goes_on(machine)
    said = numbers(boots(machine)[-1])
    for _ in range(2):
        machine.restore("ours")
        goes_on(machine)
        first = numbers(boots(machine)[-1])[0]
        assert {first - 1, first} <= set(said), "it goes on where the lines before the snapshot end"


def test_what_was_said_to_it_before_is_gone_after_a_restore(machine: Machine) -> None:
    """An ACK of another time would cost it a line."""
    machine.save("clean")
    machine.pause()
    machine.debug.offer(b"b" * 4096)  # a break-in each, if it came to it
    machine.restore("clean")
    machine.resume()
    goes_on(machine)
    assert not [
        event
        for event in boots(machine)[-1]
        if event.get("cause") == "break-in" or event.get("pc") == 0xFFFFFFFF80406070
    ]


def test_another_debugger_has_the_line_and_gives_it_back(machine: Machine) -> None:
    heard: queue.Queue[str] = queue.Queue()
    other = Pump()
    other.subscribe(lambda _t, event: heard.put(event.text) if isinstance(event, TextLine) else None)
    other.attach(socket.create_connection(("127.0.0.1", machine.lend_debugger(0))))
    his = [int(heard.get(timeout=30).removeprefix("line ")) for _ in range(40)]
    assert his == list(range(his[0], his[0] + 40)), "it answers the stops in between"
    goes_on(machine)  # it is heard here as well
    other.close()
    machine.debug.expect(rf"line {his[-1] + 100:06}", within(30))
