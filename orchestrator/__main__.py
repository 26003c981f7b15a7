"""The process `wsklab`: a mistake is one sentence on stderr, an interruption ends in order, nothing shows a trace."""

from __future__ import annotations

import atexit
import codecs
import errno
import gc
import io
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import NoReturn

PLAIN = {"✓": "+", "✗": "x", "·": ".", "→": "->"}
"""What is shown where the output cannot hold a sign, as in a log with another encoding than UTF-8."""

_interruptions = 0

INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def entry() -> NoReturn:
    """Run one command and end with its exit code."""
    _on_interruption(_leave)  # the imports take a moment, in which there is nothing to put in order
    gc.set_threshold(50_000)  # a start makes many objects, none of which is garbage
    atexit.register(gc.freeze)  # and at the end, which frees all of them, a search for garbage finds no more
    # Nobody's plugin has a part in what the lab's models accept, and the search for one goes through every package.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    import click

    from wsklab.common.errors import UsageError, WsklabError
    from wsklab.orchestrator.commands.cli import main
    from wsklab.orchestrator.errors import INTERRUPTED, NOT_PROVEN, WRONG_USAGE

    codecs.register_error("plain", _plain)
    if sys.stdout is None:  # closed by who started us
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="plain")
    threading.excepthook = _thread_failed
    try:
        _on_interruption(_raise)
        main(prog_name="wsklab", standalone_mode=False)
        sys.exit(0)
    except click.ClickException as error:
        _fail(error.format_message(), WRONG_USAGE)
    except UsageError as error:
        _fail(str(error), WRONG_USAGE)
    except WsklabError as error:
        _fail(str(error), NOT_PROVEN)
    except (KeyboardInterrupt, click.Abort):
        _fail("interrupted; what was done until then is kept.", INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader left; nothing more to say
        sys.exit(INTERRUPTED)
    except OSError as error:  # a disk that fills up, a folder that may not be written
        hint = "make room, or name a folder on another disk; " if error.errno == errno.ENOSPC else ""
        where, what = error.filename or "this host", error.strerror or error
        _fail(f"{where}: {what}; {hint}what was written until then is valid.", NOT_PROVEN)
    except Exception as error:
        if _interruptions:  # some libraries make another exception of an interruption
            _fail("interrupted; what was done until then is kept.", INTERRUPTED)
        # Python's own exit code would be 1: "some scenario failed"
        import tempfile
        from pathlib import Path

        from wsklab.orchestrator import unexpected

        _fail(f"this is {unexpected.sentence(error, Path(tempfile.gettempdir()))}; please send the trace.", NOT_PROVEN)


def _thread_failed(failed: threading.ExceptHookArgs) -> None:
    """Keep for its trace's file what a thread of ours dies of.

    Whoever waits for the thread meets an error of its own.
    """
    import tempfile
    from pathlib import Path

    from wsklab.orchestrator import unexpected

    if failed.exc_value is not None and not isinstance(failed.exc_value, SystemExit):
        _say(f"wsklab: in the background: {unexpected.sentence(failed.exc_value, Path(tempfile.gettempdir()))}")


def _say(message: str) -> None:
    with suppress(OSError):  # nobody reads it: the exit code says it all the same
        print(message, file=sys.stderr, flush=True)


def _plain(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return "".join(PLAIN.get(sign, "?") for sign in error.object[error.start : error.end]), error.end


def _on_interruption(act: Callable[[int, FrameType | None], None]) -> None:
    for number in INTERRUPTIONS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # a background job of a shell, or nohup
            signal.signal(number, act)


def _leave(*_: object) -> NoReturn:
    os.write(sys.stderr.fileno(), b"wsklab: interrupted before it began.\n")
    os._exit(128 + signal.SIGINT)


def _raise(*_: object) -> None:
    """Interrupt what goes on, once: its end, in order, is not interrupted by the second, and the third ends all."""
    global _interruptions
    _interruptions += 1
    if _interruptions == 1:
        raise KeyboardInterrupt
    if _interruptions > 2:
        os._exit(128 + signal.SIGINT)  # the machines go with us, the next start removes what they leave
    with suppress(OSError):
        os.write(2, b"wsklab: being stopped in order, which takes some seconds; once more to leave at once.\n")


def _fail(message: str, code: int) -> NoReturn:
    from wsklab.common.text import visible

    prefix = "" if message[:1] == "/" or ":" in message.split(" ", 1)[0] else "wsklab: "
    _say(visible(f"{prefix}{message}", lines=True))
    sys.exit(code)


if __name__ == "__main__":
    entry()
