"""The options of `wsklab run`: what is not written on the command line is what `Options` has."""

from __future__ import annotations

from wsklab.orchestrator.commands.run import command
from wsklab.orchestrator.commands.run_options import Options


def test_the_command_and_its_options_have_the_same_names_and_defaults() -> None:
    assert Options(**command.make_context("run", []).params) == Options()


def test_what_is_written_is_what_is_asked_for() -> None:
    words = ["linger-zero", "--tag", "quick", "--jobs", "auto", "--shared", "--toolchain", "clang"]
    asked = Options(**command.make_context("run", words).params)
    assert asked == Options(scenarios=("linger-zero",), tags=("quick",), jobs=None, isolate=False, toolchain="clang")
