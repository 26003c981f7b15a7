"""Options that several commands share."""

from __future__ import annotations

import click


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
    type=click.Choice(("mingw", "clang")),
    help="What builds wsklab.sys: clang puts a PDB beside it, so that a crash names the line (needs clang, lld, llvm).",
)
