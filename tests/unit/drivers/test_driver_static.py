"""What can be read from the driver's file without running it: where its callbacks live, and what they can reach."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from wsklab import images
from wsklab.drivers import build

OBJDUMP = "x86_64-w64-mingw32-objdump"
CALLBACKS = ("on_disconnect", "on_receive", "on_backlog", "on_accept", "completed")
WAITS = re.compile(r"KeWait\w+|KeDelayExecutionThread|ZwWaitFor\w+|KeAcquire\w*Mutex|ExAcquire\w+|WskDeregister")

pytestmark = pytest.mark.skipif(shutil.which(OBJDUMP) is None, reason="needs mingw-w64")


@pytest.fixture(scope="module")
def symbols() -> Path:
    return build.build_driver(None, images.cache_folder()).symbols


def calls(symbols: Path) -> dict[str, set[str]]:
    """Return function -> what it calls or jumps to, by name.

    Calls through pointers (WSK's own functions) are not followed.
    """
    listing = subprocess.run([OBJDUMP, "-d", "--no-show-raw-insn", symbols], capture_output=True, text=True, check=True)
    graph: dict[str, set[str]] = {}
    here: set[str] = set()
    for line in listing.stdout.splitlines():
        if start := re.match(r"[0-9a-f]+ <(\S+)>:$", line):
            here = graph.setdefault(start[1], set())
        elif target := re.search(r"\s(?:call|jmp)\s.*<(?:__imp_)?([^>+]+)>", line):
            here.add(target[1])
    return graph


def reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    """Everything that `start` can come to."""
    seen, waiting = set(), [start]
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += graph.get(name, ())
    return seen


@pytest.mark.parametrize("callback", CALLBACKS)
def test_no_callback_can_come_to_a_wait(symbols: Path, callback: str) -> None:
    """R15, BF38: neither an event callback nor a completion routine waits."""
    graph = calls(symbols)
    assert callback in graph
    found = reachable(graph, callback)
    assert len(found) > 3, "the calls were not read"
    assert [name for name in found if WAITS.fullmatch(name)] == []


def test_the_reading_finds_waits_where_there_are_some(symbols: Path) -> None:
    graph = calls(symbols)
    assert any(WAITS.fullmatch(name) for name in reachable(graph, "on_unload"))


def test_nothing_of_the_driver_is_pageable(symbols: Path) -> None:
    """R14, R42, BF2: callbacks run at up to DISPATCH_LEVEL, so neither they nor what they touch may be paged out."""
    listing = subprocess.run([OBJDUMP, "-h", symbols], capture_output=True, text=True, check=True).stdout
    names = re.findall(r"^ *\d+ (\S+)", listing, re.MULTILINE)
    assert ".text" in names
    assert [name for name in names if name.startswith(("PAGE", "INIT"))] == []


def test_the_disconnect_callback_returns_success_alone() -> None:
    """R10: every `return` of on_disconnect is STATUS_SUCCESS; the one deviation is a twin's."""
    source = (build.HOME / "wsklab" / "events.c").read_text()
    body = re.search(r"^static NTSTATUS WSKAPI on_disconnect\(.*?^}", source, re.MULTILINE | re.DOTALL)
    assert body is not None
    returned = re.findall(r"return (.*?);", body[0])
    assert len(returned) == 2
    assert set(returned) == {"STATUS_SUCCESS", "TWIN(RETURNS_FAILURE) ? STATUS_UNSUCCESSFUL : STATUS_SUCCESS"}
