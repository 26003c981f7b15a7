"""Child processes that never outlive us, however we die.

Every child is started through `setpriv --pdeathsig KILL` (prctl(2), PR_SET_PDEATHSIG: the kernel kills it when the
*thread* that forked it ends), from one thread that lives as long as we do. The shell between `setpriv` and the program
closes the last gap: had we died before the prctl, the shell would have another parent than us, and ends.
"""

import functools
import os
import subprocess
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO

from wsklab.qemu.confinement import Confinement
from wsklab.qemu.deadline import left
from wsklab.qemu.logfile import LogFile

_GUARD = ["--pdeathsig", "KILL", "--", "sh", "-c", '[ $PPID = "$0" ] && exec "$@"']
_TIDY_GUARD = ["--pdeathsig", "TERM", "--", "sh", "-c",
               """trap 'trap "" TERM; kill -TERM 0; wait' TERM; [ $PPID = "$0" ] && { "$@" & wait $!; }"""]  # fmt: skip

STDERR_TAIL = 4096  # bytes of stderr shown to users
LAST_WORDS = 1.0  # seconds for what a process has said before its end; a child of its own may hold the pipe for ever


@functools.cache
def _forker_of(_pid: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="forker")


_ONE_FORKER = threading.Lock()


def _forker() -> ThreadPoolExecutor:
    """Return the thread that forks, one per process (keyed by pid since threads do not survive os.fork)."""
    with _ONE_FORKER:
        return _forker_of(os.getpid())


class Child:
    """A running process; `on_exit(code)` is called by a thread of its own as soon as it ends (negative: signal).

    `tidies`: it has children of its own and something to clear away. All of them are asked to end (SIGTERM) when we
    die, and by `terminate`; it has ended when all are done with that.
    `stderr`: the file that what it says is kept in; None: nobody wants it.
    `confined`: it runs as that says, in the folder `cwd`, whose files it reaches wherever the folder is.
    """

    def __init__(
        self,
        command: Sequence[str],
        stderr: Path | None,
        *,
        pass_fds: Sequence[int] = (),
        pipes: bool = False,
        tidies: bool = False,
        confined: Confinement | None = None,
        cwd: Path | None = None,
        on_exit: Callable[[int], None] | None = None,
    ) -> None:
        self.command = list(command)
        self._stderr = stderr
        self._on_exit = on_exit
        self._exited = threading.Event()
        said, says = os.pipe()
        try:
            self._process = (
                _forker()
                .submit(
                    subprocess.Popen[bytes],
                    [
                        "setpriv",
                        *(confined.setpriv if confined else []),
                        *(_TIDY_GUARD if tidies else _GUARD),
                        str(os.getpid()),
                        *command,
                    ],
                    cwd=cwd,
                    stdin=subprocess.PIPE if pipes else subprocess.DEVNULL,
                    stdout=subprocess.PIPE if pipes else says,
                    stderr=says,
                    pass_fds=pass_fds,
                    start_new_session=True,  # Ctrl-C in the terminal is ours alone: evidence first, then the machines
                )
                .result()
            )
        except BaseException:
            os.close(said)
            raise
        finally:
            os.close(says)
        log = None
        if stderr is not None:
            stderr.unlink(missing_ok=True)
            log = LogFile(stderr)
        self._listener = threading.Thread(target=_listen, args=(said, log), name=f"stderr-{self.pid}", daemon=True)
        self._listener.start()
        threading.Thread(target=self._reap, name=f"reap-{self.pid}", daemon=True).start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def stdin(self) -> IO[bytes]:
        assert self._process.stdin, "started without pipes"
        return self._process.stdin

    @property
    def stdout(self) -> IO[bytes]:
        assert self._process.stdout, "started without pipes"
        return self._process.stdout

    @property
    def exit_code(self) -> int | None:
        return self._process.returncode if self._exited.is_set() else None

    def wait(self, deadline: float) -> int | None:
        """Return the exit code, or None when the process still runs at the deadline."""
        self._exited.wait(left(deadline))
        return self.exit_code

    def terminate(self) -> None:
        self._process.terminate()

    def kill(self) -> None:
        self._process.kill()

    def stderr_tail(self) -> str:
        """Return the end of what the process wrote to stderr; nothing where its file is gone."""
        if self._stderr is None:
            return ""
        try:
            with self._stderr.open("rb") as log:
                log.seek(max(0, os.fstat(log.fileno()).st_size - STDERR_TAIL))
                return log.read().decode(errors="replace")
        except OSError:
            return ""

    def _reap(self) -> None:
        code = self._process.wait()
        self._listener.join(LAST_WORDS)
        self._exited.set()
        if self._on_exit:
            self._on_exit(code)


def _listen(said: int, log: LogFile | None) -> None:
    """Keep what a process says, within bounds: a guest can make QEMU complain without end."""
    with os.fdopen(said, "rb", buffering=0) as pipe:
        while data := pipe.read(65536):
            if log is not None:
                log.write(data)
    if log is not None:
        log.close()
