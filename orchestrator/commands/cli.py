"""The command line (a contract: scripts rely on its words and its exit codes). A command is loaded when it is named."""

from __future__ import annotations

from importlib import import_module

import click

from wsklab.orchestrator.errors import UsageError

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}

COMMANDS = {
    "bench": "bench:command",
    "bisect": "bisect:command",
    "bundle": "bundle:command",
    "compare": "compare:command",
    "doctor": "doctor:command",
    "driver": "driver:command",
    "fleet": "fleet:command",
    "history": "history:command",
    "image": "image:command",
    "init": "init:command",
    "judge": "judge:command",
    "minimise": "minimise:command",
    "mutate": "mutate:command",
    "qualify": "qualify:command",
    "report": "results:report_command",
    "repro": "repro:command",
    "results": "results:results_command",
    "run": "run:command",
    "scenario": "scenario:command",
    "shell": "shell:command",
}
"""Word on the command line -> module of this room, and the click command in it."""


class LazyGroup(click.Group):
    """A group whose commands are imported by name: `wsklab run` need not know how Windows images are made."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the words, in the order in which help shows them."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command; None for a word that is none."""
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name].partition(":")
        try:
            found = getattr(import_module(f"{__package__}.{module}"), name)
        except UsageError as error:  # it needs what is not installed, which the help of all others does not
            return _missing(cmd_name, error)
        assert isinstance(found, click.Command)
        return found


def _missing(name: str, why: UsageError) -> click.Command:
    """A command that says what it lacks, whatever it is asked for."""

    def refuse(**_: object) -> None:
        raise why

    words = click.Argument(["words"], nargs=-1, type=click.UNPROCESSED)
    settings = {"ignore_unknown_options": True}
    return click.Command(name, settings, refuse, [words], help=str(why), short_help="(not installed)")


@click.group(cls=LazyGroup, context_settings=CONTEXT)
@click.version_option(package_name="wsklab")
def main() -> None:
    """wsklab ends TCP connections in every way they end in the field, and judges what a WSK driver was told.

    It boots a target that runs the driver and a Linux peer under QEMU, joins them by a wire of its own, and compares
    the flags of WskDisconnectEvent with what was on the wire.

    Exit codes: 0 every verdict pass; 1 some fail or flaky; 2 wrong usage; 3 something is inconclusive, the lab's own
    fault, or was not run at all; 130 interrupted.
    """
