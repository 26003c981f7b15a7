"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from wsklab.orchestrator.run.hold import When

HOLD_ALONE: When = "not-pass"
UNTIL_FAIL = "--until-fail"

Command = TypeVar("Command", bound=Callable[..., Any])


def jobs_of(context: click.Context, parameter: click.Parameter, value: str) -> int | None:
    """Return a number of labs; None for `auto`. Raises click.BadParameter."""
    if value == "auto":
        return None
    if value.isdecimal() and int(value):
        return int(value)
    raise click.BadParameter(f"{value!r} is neither a number of labs nor 'auto'")


toolchain_option = click.option(
    "--toolchain",
    default="mingw",
    show_default=True,
    type=click.Choice(("mingw", "clang", "msvc")),
    help="What builds wsklab.sys: clang puts a PDB beside it, so that a crash names the line (needs clang, lld, llvm); "
    "msvc is clang, too, with what Microsoft's compiler puts into a driver.",
)

resume_option = click.option(
    "--resume",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="FOLDER",
    help="Let a run that was killed or interrupted go on in its folder: rows that are there stay, the rest is run as "
    "it was asked for then.",
)

fleet_option = click.option(
    "--fleet",
    metavar="ADDRESS|local",
    help="Play on the workers of a scheduler, tcp://HOST:PORT or tls://HOST:PORT; local: on workers of this host "
    "(docs/fleet.md).",
)
lean_option = click.option(
    "--lean",
    is_flag=True,
    help="With --fleet: of repetitions that pass neither logs nor the recording come back.",
)

record_option = click.option(
    "--record",
    is_flag=True,
    help="Record the target, instruction by instruction, for `wsklab replay` (docs/field.md): one scenario, booted "
    "under TCG.",
)


def hold_option(when: str) -> Callable[[Command], Command]:
    """`--hold`, for a command of the class `Alone`; `when` says after what."""
    return click.option(
        "--hold",
        default="never",
        metavar="[=always]",
        type=click.Choice(["never", "not-pass", "always"]),
        help=f"Leave a lab running {when}, and say how to get into it; Ctrl-C ends that, and the command goes on.",
    )


class Alone(click.Command):
    """`--hold` and `--until-fail` may stand alone, with a scenario's name behind them that is not their value."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Give them the values that they have then; a number behind `--until-fail` is its own."""
        words: list[str] = []
        for word in args:
            if words and words[-1] == f"{UNTIL_FAIL}=0" and word.isdecimal():
                words[-1] = f"{UNTIL_FAIL}={word}"
            else:
                words.append({"--hold": f"--hold={HOLD_ALONE}", UNTIL_FAIL: f"{UNTIL_FAIL}=0"}.get(word, word))
        return super().parse_args(ctx, words)


def search_options(command: Command) -> Command:
    """Return the options of `wsklab run` that have it go on until it fails."""
    options = (
        click.option(
            UNTIL_FAIL,
            metavar="[N]",
            type=click.IntRange(0),
            help="Repeat until a verdict is not pass; with N, no more than so many trials, and say what they prove.",
        ),
        click.option(
            "--vary/--no-vary",
            default=None,
            help="With --until-fail N: vary what no expectation depends on  [default: in scenarios with the tag field]",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command
