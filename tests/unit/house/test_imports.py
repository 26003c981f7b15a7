"""What a command loads: only what it needs, so that it begins at once."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

from wsklab.orchestrator.commands.cli import COMMANDS, main

ELSEWHERE = ("field", "fleet", "live", "mutation", "pytest_plugin", "release", "starting", "trials")
"""Rooms of the orchestrator that a run on this host has no part in."""

NOT_FOR_A_RUN = {
    "wsklab.images.builder",
    "wsklab.images.packages",
    "wsklab.images.windows.install",
    "wsklab.images.windows.media",
    "wsklab.drivers.check",
    "wsklab.drivers.pdb",
    "wsklab.drivers.profile",
    "wsklab.drivers.sign",
    "wsklab.orchestrator.lab.foreign_driver",
    "wsklab.qemu.kd.line",
    "paramiko",
    "jinja2",
    "cryptography",
    "pycdlib",
    "pexpect",
    "rich.table",
    "difflib",
    *(f"wsklab.orchestrator.{room}" for room in ELSEWHERE),
}
"""Loaded where it is used: by a build, a Windows guest, a foreign driver, the first SSH connection, the report.

pexpect by a machine that boots, the table at the end, difflib by a word that nobody knows.
"""


HEAVY = {
    "alembic",
    "asyncio",
    "cryptography",
    "distributed",
    "dpkt",
    "fsspec",
    "hypothesis",
    "IPython",
    "jinja2",
    "kdmp_parser",
    "mako",
    "paramiko",
    "pefile",
    "pexpect",
    "psycopg",
    "pycdlib",
    "pydantic",
    "qemu.qmp",
    "re2",
    "rich",
    "securesystemslib",
    "sqlalchemy",
    "ssl",
    "websockets",
    "yaml",
}
"""What takes long to load, and what a command's words and its help have no use for."""

LAB = {"images", "drivers.build", "qemu.machine", "orchestrator.lab", "orchestrator.run", "orchestrator.scenario"}


def _left_by(code: str) -> set[str]:
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(found.stdout.splitlines()[-1].split())


def loaded(*modules: str) -> set[str]:
    return _left_by(f"import sys, {', '.join(modules)}; print(*sys.modules)")


@pytest.mark.parametrize(
    ("command", "without"),
    [
        ("run", {*NOT_FOR_A_RUN, *HEAVY, *(f"wsklab.{name}" for name in LAB)}),
        ("judge", {*NOT_FOR_A_RUN, "wsklab.images", "wsklab.drivers.build", "wsklab.orchestrator.lab", "qemu.qmp"}),
    ],
)
def test_a_command_loads_only_what_it_needs(command: str, without: set[str]) -> None:
    assert loaded(f"wsklab.orchestrator.commands.{command}") & without == set()


RUNNING = ("preparation", "runner", "workers", "hold", "ways_in", "selection")


FOR_A_RUN = {"asyncio", "pydantic", "qemu.qmp", "rich", "ssl", "yaml"}
"""What is heavy, and has to be there before a machine runs; asyncio loads ssl."""


def test_a_run_that_boots_loads_only_what_it_needs() -> None:
    modules = loaded(*(f"wsklab.orchestrator.run.{name}" for name in RUNNING), "wsklab.orchestrator.history.recorder")
    assert modules & {*NOT_FOR_A_RUN, *HEAVY - FOR_A_RUN} == set()


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["run", "--help"]])
def test_help_loads_no_more_than_the_words_of_the_commands(words: list[str]) -> None:
    code = (
        "import atexit, sys; atexit.register(lambda: print(*sys.modules));"
        f"sys.argv = ['wsklab', *{words}]; from wsklab.orchestrator.__main__ import entry; entry()"
    )
    assert _left_by(code) & {*HEAVY, *(f"wsklab.{name}" for name in LAB)} == set()


@pytest.mark.parametrize("word", COMMANDS)
def test_the_list_of_commands_says_what_their_help_says(word: str) -> None:
    command = main.get_command(click.Context(main), word)
    assert command is not None
    assert command.get_short_help_str(200).strip() == COMMANDS[word][1]
