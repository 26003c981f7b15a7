"""The process `wsklab`: a mistake is one sentence on stderr, an interruption ends in order, nothing shows a trace."""

from __future__ import annotations

import codecs
import errno
import io
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

PLAIN = {"✓": "+", "✗": "x", "·": ".", "→": "->"}
"""What is shown where the output cannot hold a sign, as in a log with another encoding than UTF-8."""

_heard: list[bool] = []
"""Whether an interruption has come."""

INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def entry() -> NoReturn:
    """Run one command and end with its exit code."""
    _on_interruption(_leave)  # the imports take a moment, in which there is nothing to put in order
    import click

    from wsklab.drivers.errors import DriverError
    from wsklab.images.errors import ImageError
    from wsklab.orchestrator.cli import main
    from wsklab.orchestrator.errors import LabError, UsageError
    from wsklab.orchestrator.results import INTERRUPTED, NOT_PROVEN, WRONG_USAGE
    from wsklab.qemu.errors import MachineError, WrongSetting

    codecs.register_error("plain", _plain)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="plain")
    try:
        _on_interruption(_raise)
        main(prog_name="wsklab", standalone_mode=False)
        sys.exit(0)
    except click.ClickException as error:
        _fail(error.format_message(), WRONG_USAGE)
    except (UsageError, WrongSetting) as error:
        _fail(str(error), WRONG_USAGE)
    except (LabError, MachineError, ImageError, DriverError) as error:
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
        if _heard:  # some libraries make another exception of an interruption
            _fail("interrupted; what was done until then is kept.", INTERRUPTED)
        # Python's own exit code would be 1: "some scenario failed"
        _fail(f"this is a mistake in wsklab ({type(error).__name__}: {error}); please send {_trace()}", NOT_PROVEN)


def _trace() -> str:
    """A file with the present exception's trace."""
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile("w", prefix="wsklab-trace-", suffix=".txt", delete=False) as file:
        traceback.print_exc(file=file)
    return file.name


def _plain(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return "".join(PLAIN.get(sign, "?") for sign in error.object[error.start : error.end]), error.end


def _on_interruption(act: Callable[[int, FrameType | None], NoReturn]) -> None:
    for number in INTERRUPTIONS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # a background job of a shell, or nohup
            signal.signal(number, act)


def _leave(*_: object) -> NoReturn:
    os.write(sys.stderr.fileno(), b"wsklab: interrupted before it began.\n")
    os._exit(128 + signal.SIGINT)


def _raise(*_: object) -> NoReturn:
    _heard.append(True)
    raise KeyboardInterrupt


def _fail(message: str, code: int) -> NoReturn:
    from wsklab.common.text import visible

    prefix = "" if message[:1] == "/" or ":" in message.split(" ", 1)[0] else "wsklab: "
    print(visible(f"{prefix}{message}", lines=True), file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    entry()
