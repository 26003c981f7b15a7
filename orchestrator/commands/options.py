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
