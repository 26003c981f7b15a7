"""dask.distributed and fsspec, which only a fleet needs: whether they are installed, and how they are set up for it."""

from __future__ import annotations

import importlib.util
import logging

from wsklab.orchestrator.errors import UsageError

LIBRARIES = ("distributed", "fsspec")

SETTINGS = {
    # A batch that was on a lost worker comes back to the client at once, which knows what of it is done already.
    "distributed.scheduler.allowed-failures": 0,
    "distributed.scheduler.worker-ttl": "30s",
    # Labs are timed: nobody looks into a worker every millisecond.
    "distributed.worker.profile.enabled": False,
    "distributed.admin.system-monitor.gil.enabled": False,
    "distributed.admin.tick.limit": "1h",
    # The guests' memory is not the worker's, which keeps next to nothing itself.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": False,
    "distributed.comm.timeouts.connect": "10s",
    "distributed.comm.timeouts.tcp": "30s",
}


def needed() -> None:
    """See that the libraries are there, and set them up. Raises UsageError."""
    missing = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"a fleet needs {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not installed: "
            "pip install 'wsklab[fleet]'."
        )
    import dask
    import distributed  # noqa: F401  # it sets up its own logging first

    dask.config.set(SETTINGS)
    hush()


def hush(level: int = logging.CRITICAL + 1) -> None:
    """Keep what dask and its libraries log off the console; what a user needs to know is said in sentences."""
    for name in ("distributed", "tornado", "asyncio", "bokeh", "fsspec"):
        logging.getLogger(name).setLevel(level)
    for name in list(logging.Logger.manager.loggerDict):
        if name.startswith(("distributed.", "tornado.")):
            logging.getLogger(name).setLevel(level)
