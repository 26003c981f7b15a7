"""The workers of `wsklab bench fleet`, many on one host: Python and dask are loaded once, and each worker is a fork.

Run as a module: ADDRESS, then the slots of each worker. It prints `pid N` for each, then what the workers say, and
all of them end with it, however it ends.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading

from wsklab.orchestrator.fleet import extra


def _end_with(parent: int) -> None:
    """End when the pipe is shut that the parent holds."""
    os.read(parent, 1)
    os._exit(0)


def _say(text: str) -> None:
    """Print a line at once, so that no two are mixed; print() may write its end by itself."""
    os.write(1, f"{text}\n".encode())


def main() -> None:
    """Fork the workers, and wait for the end of standard input."""
    extra.needed()
    from wsklab.orchestrator.fleet import serving
    from wsklab.orchestrator.fleet.job import fingerprint
    from wsklab.orchestrator.fleet.worker.machine import Slots

    fingerprint()  # once for all of them
    address, *slots = sys.argv[1:]
    ours, held = os.pipe()
    for number, labs in enumerate(map(int, slots)):
        if pid := os.fork():
            _say(f"pid {pid}")
            continue
        os.close(held)
        threading.Thread(target=_end_with, args=(ours,), daemon=True).start()
        offered = Slots(labs, "tcg", 0, "", 1e9)
        asyncio.run(serving.worker(address, offered, f"w{number}", "127.0.0.1", None, _say))
        os._exit(0)
    sys.stdin.buffer.read()


if __name__ == "__main__":
    main()
