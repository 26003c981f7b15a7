"""The command line (a contract: scripts rely on its words and its exit codes). A command is loaded when it is named."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

import click

from wsklab.orchestrator.errors import UsageError

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}

COMMANDS = {
    "bench": ("bench:command", "Measure starts, restores, scenarios, the wire and the KD session; writes bench.json."),
    "bisect": ("bisect:command", "Find the build that broke a driver, by running builds between a good and a bad one."),
    "bundle": (
        "bundle:command",
        "Put a failure into one file for the bug tracker; EVIDENCE is a folder RUN/evidence/NAME.",
    ),
    "compare": ("compare:command", "Compare two runs, each a folder, or a number or name in the history, or `last`."),
    "doctor": ("doctor:command", "Say what works on this host, what does not, and what to do about it."),
    "driver": ("driver:command", "Build our drivers, and inspect any."),
    "fleet": ("fleet:command", "Run scenarios on more machines than one, by dask.distributed (docs/fleet.md)."),
    "history": (
        "history:command",
        "Show what earlier runs were: `wsklab history`, `wsklab history SCENARIO`, `wsklab history --html DIR`.",
    ),
    "image": ("image:command", "Guest images: built from recipes, kept in a store, verified before use."),
    "init": (
        "init:command",
        "Make a folder of tests for a driver: profile, scenario, test in Python, CI file, README.",
    ),
    "judge": ("judge:command", "Give the verdicts of a run, or of one evidence folder, again from the evidence alone."),
    "minimise": (
        "minimise:command",
        "Make a scenario that fails as small as it can be: the same verdict and reason, and no element to spare.",
    ),
    "mutate": (
        "mutate:command",
        "Put small faults into the lab's own driver, one at a time, and see whether the scenarios catch them.",
    ),
    "qualify": (
        "qualify:command",
        "Qualify a driver's release: run a plan, decide by its rules, sign; or check what was signed.",
    ),
    "replay": (
        "replay:command",
        "Play a recorded target again, bit for bit, with neither peer nor wire, and compare what its serial lines say.",
    ),
    "report": (
        "results:report_command",
        "Make results.json, junit.xml and report.html anew from the rows of a run, also of one that was killed.",
    ),
    "repro": (
        "repro:command",
        "List the connections and endings of captures from the field, and make one of them again.",
    ),
    "results": ("results:results_command", "Print the contract of results.json, or check a file against it."),
    "run": ("run:command", "Run scenarios, named by name, tag, file or folder; none named is the built-in suite."),
    "scenario": ("scenario:command", "List the catalogue of scenarios, and check your own."),
    "shell": (
        "shell:command",
        "Boot a lab and open a Python prompt with its parties: lab, target, peer, wire, driver.",
    ),
}
"""Word on the command line -> module of this room and the click command in it, and the first sentence of its help."""

NEEDS = {"fleet": "distributed", "mutate": "tree_sitter"}
"""Libraries that are not there unless they were asked for."""


class LazyGroup(click.Group):
    """A group whose commands are imported by name: `wsklab run` need not know how Windows images are made."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the words, in the order in which help shows them."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command; None for a word that is none."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        try:
            found = getattr(import_module(f"{__package__}.{module}"), name)
        except UsageError as error:  # it needs what is not installed, which the help of all others does not
            return _missing(cmd_name, error)
        assert isinstance(found, click.Command)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them, which would take ten times as long."""
        room = formatter.width - 6 - max(map(len, COMMANDS))
        with formatter.section("Commands"):
            formatter.write_dl([(word, _summary(word, room)) for word in self.list_commands(ctx)])


def _summary(word: str, room: int) -> str:
    """Return what the list of commands says of one, in `room` characters."""
    if word in NEEDS and find_spec(NEEDS[word]) is None:
        return "(not installed)"
    return click.Command(word, help=COMMANDS[word][1]).get_short_help_str(room)


def _missing(name: str, why: UsageError) -> click.Command:
    """Return a command that says what it lacks, whatever it is asked for."""

    def refuse(**_: object) -> None:
        raise why

    words = click.Argument(["words"], nargs=-1, type=click.UNPROCESSED)
    settings = {"ignore_unknown_options": True}
    return click.Command(name, settings, refuse, [words], help=str(why))


@click.group(cls=LazyGroup, context_settings=CONTEXT)
@click.version_option(package_name="wsklab")
def main() -> None:
    """wsklab ends TCP connections in every way they end in the field, and judges what a WSK driver was told.

    It boots a target that runs the driver and a Linux peer under QEMU, joins them by a wire of its own, and compares
    the flags of WskDisconnectEvent with what was on the wire.

    Exit codes: 0 every verdict pass; 1 some fail or flaky; 2 wrong usage; 3 something is inconclusive, the lab's own
    fault, or was not run at all; 130 interrupted.
    """
