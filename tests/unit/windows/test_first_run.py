"""The first run on Windows as docs/windows.md scripts it: every command there is one that this checkout has."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import click
import pytest

from wsklab.drivers.twins import twins
from wsklab.orchestrator.commands.cli import main
from wsklab.orchestrator.guest import verifier

PAGE = (Path(__file__).parents[3] / "docs" / "windows.md").read_text(encoding="utf-8")
STEPS = (
    "ISO, key, answer file, WinPE, disk, first logon, provisioning, SSH, report, KD, deployment, agent, test-signed, "
    "package, another card, Memory Integrity, production-signed, verdict, snapshot, Verifier, bugcheck, dump, screen, "
    "another debugger on COM1, held, KVM"
)
"""Words of the steps in which Windows has a part."""

COMMANDS = [shlex.split(line, comments=True) for line in re.findall(r"(?m)^ *\$ \./lab (.*)$", PAGE)]


def parsed(words: list[str]) -> dict[str, Any]:
    """Return the options of a command line; raises what click raises for one that it does not know."""
    command: click.Command = main
    while isinstance(command, click.Group):
        context = click.Context(command)
        found = command.get_command(context, words[0])
        assert found is not None, words
        command, words = found, words[1:]
    return dict(command.make_context(command.name, list(words)).params)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_of_the_page_is_one(words: list[str]) -> None:
    options = parsed(words)
    assert set(options.get("twin_names") or ()) <= set(twins())
    verifier.chosen(options.get("verify"))  # raises for a set that it does not know


def test_the_first_run_takes_no_snapshot_and_has_its_two_deliberate_failures() -> None:
    runs = [options for words in COMMANDS if words[0] == "run" and (options := parsed(words))["cold"]]
    assert all(options["scenarios"] == ("linger-zero",) and not options["isolate"] for options in runs)
    wrong, verified = zip(*((one["twin_names"], one["verify"]) for one in runs), strict=True)
    assert (wrong, verified) == (((), ("crashes",), ("double-completion",)), (None, None, "standard"))


def test_one_table_says_of_each_step_what_was_tried_and_what_only_windows_can_tell() -> None:
    """Every cell is filled, and every step of a build and of the doctor that Windows has a part in is there."""
    _, _, rest = PAGE.partition(
        "\n| step | what could be tried here, and how | what only Windows can tell | what to look"
    )
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in rest.partition("\n\n")[0].split("\n")[2:]]
    assert len(rows) >= 30 and all(len(row) == 4 and all(row) for row in rows)
    steps = " / ".join(row[0] for row in rows)
    for step in STEPS.split(", "):
        assert step in steps, step


def test_the_page_says_that_nothing_on_it_ran_on_windows() -> None:
    assert "**Nothing on this page has been run on Windows yet**" in PAGE and "**Never tried with WinDbg" in PAGE
