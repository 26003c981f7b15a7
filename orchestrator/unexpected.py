"""Any exception in one sentence: a lab that failed, a host that has no room, or a mistake of ours with its trace."""

from __future__ import annotations

import errno
import os
import tempfile
import traceback
from pathlib import Path

from wsklab.common.errors import WsklabError

OF_THE_HOST = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EEXIST})
"""Errors that say all there is to say, whoever meets them."""

MOST = 20
"""Traces that are kept in one place; a thousand rows may fail for one cause."""

LATE = "something did not happen in the time allowed"
"""Of a deadline in a library, which does not say what it waited for; ours do."""


def sentence(error: BaseException, folder: Path) -> str:
    """Return what went wrong. Where the error's own words do not suffice, its trace is written into `folder`."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, WsklabError):
        return str(error) or LATE
    if isinstance(error, TimeoutError) and error.errno is None:
        return str(error) or LATE
    if isinstance(error, OSError) and error.errno in OF_THE_HOST:
        return f"{error.filename or 'this host'}: {error.strerror}"
    kept = _keep(error, folder)
    where = f" (trace: {kept})" if kept else ""
    if isinstance(error, OSError):
        return f"{error.filename or 'this host'}: {error.strerror or error}{where}"
    return f"a mistake in wsklab, {type(error).__name__}: {error}{where}"


def _keep(error: BaseException, folder: Path) -> Path | None:
    """Return the file that the trace is in: in `folder`, or where the host keeps temporary files if that cannot be."""
    text = "".join(traceback.format_exception(error))
    temporary = Path(tempfile.gettempdir())
    for place in (folder, temporary):
        for number in range(1, MOST + 1):
            run = place == folder and place != temporary
            path = place / (f"trace-{number}.txt" if run else f"wsklab-trace-{os.getpid()}-{number}.txt")
            try:
                with path.open("x", encoding="utf-8") as file:
                    file.write(text)
                return path
            except FileExistsError:
                continue
            except OSError:
                break
    return None
