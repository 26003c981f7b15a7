"""How every page is made of its template: text of others is escaped, and steers nothing."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsklab.common.text import visible

if TYPE_CHECKING:
    import jinja2  # loaded with the first page: a run that is not over has none


@cache
def environment(folder: Path) -> jinja2.Environment:
    """Return the templates of a folder; each is compiled once in a process."""
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )


def _shown(value: Any) -> Any:
    """Whatever a page shows: no text of a target, a peer or a file reorders or hides what stands around it."""
    return type(value)(visible(value, lines=True)) if isinstance(value, str) else value
