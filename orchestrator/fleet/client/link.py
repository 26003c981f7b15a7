"""The client's end of dask: batches go out, and whatever becomes of them comes into one inbox, as plain messages."""

from __future__ import annotations

import queue
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from distributed import Client, Future, KilledWorker
from distributed.comm.core import CommClosedError
from distributed.security import Security

from wsklab.orchestrator.errors import LabError
from wsklab.orchestrator.fleet.worker import crew

CONNECT = 10.0
"""Seconds to reach the scheduler."""

EVERYBODY = "all"
"""The topic under which the scheduler says who comes and goes."""

AGAIN = 2.0
"""Seconds for which what the scheduler said of its workers is believed."""


@dataclass(frozen=True)
class Begun:
    """A worker has begun with a batch."""

    number: int
    worker: str


@dataclass(frozen=True)
class Alive:
    """The worker of a batch lives."""

    number: int


@dataclass(frozen=True)
class Rows:
    """Rows have come; `ended`: their batch is over, and `failed` says why before its end, if it was."""

    number: int
    rows: Sequence[str]
    target: Mapping[str, Any] = field(default_factory=dict)
    worker: str = ""
    ended: bool = False
    failed: str = ""
    refused: str = ""


@dataclass(frozen=True)
class Lost:
    """A batch will bring nothing more: its worker is gone."""

    number: int
    why: str
    worker: str = ""
    blame: bool = True
    """Whether the row that was under way may be the cause."""


Message = Begun | Alive | Rows | Lost


class Link:
    """A connection to a scheduler, for one run; it can be made anew."""

    def __init__(self, address: str, security: Security | None, run: str) -> None:
        """Connect. Raises LabError when nobody answers there."""
        self._run = run
        self.inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._futures: dict[int, Future[Any]] = {}
        self._session = uuid.uuid4().hex[:8]
        self._workers: dict[str, Any] = {}
        self._asked = float("-inf")
        self._changed = threading.Event()
        self._closed = False
        try:
            self._client = Client(address, security=security, timeout=CONNECT, set_as_default=False, name="wsklab")
        except (OSError, TimeoutError, ValueError) as error:
            why = str(error).splitlines()[0] if str(error) else "it does not answer"
            raise LabError(f"the scheduler {address} cannot be reached: {why}") from None
        self._client.subscribe_topic(crew.topic(run), self._event)
        self._client.subscribe_topic(EVERYBODY, self._came_or_went)

    @property
    def gone(self) -> bool:
        """Whether the scheduler does not answer any more."""
        return not self._closed and str(self._client.status) != "running"

    @property
    def dashboard(self) -> str | None:
        """The address of dask's dashboard, where it is served."""
        try:
            info = self._client.scheduler_info(n_workers=0)
            return self._client.dashboard_link if "dashboard" in info.get("services", {}) else None
        except Exception:
            return None

    def workers(self) -> dict[str, Any]:
        """Return what the scheduler knows of its workers, by address; a little late."""
        if time.monotonic() - self._asked > AGAIN and not self.gone:
            self._asked = time.monotonic()
            self._changed.clear()
            with suppress(Exception):
                scheduler: Any = self._client.scheduler
                identity = self._client.sync(scheduler.identity, n_workers=-1, callback_timeout=5)
                self._workers = dict(identity["workers"])
        return self._workers

    def news(self, limit: float) -> None:
        """Wait until a worker comes or goes, or for so many seconds."""
        self._changed.wait(limit)

    def submit(
        self, number: int, batch: Mapping[str, Any], resource: str, workers: Sequence[str] | None, priority: int = 0
    ) -> None:
        """Give a batch out; to one of these `workers`, where any are named."""
        future = self._client.submit(
            crew.play,
            dict(batch),
            key=f"wsklab-{self._run[:8]}-{self._session}-{number}",
            resources={resource: 1},
            workers=list(workers) if workers is not None else None,
            pure=False,
            retries=0,
            priority=priority,
        )
        self._futures[number] = future
        future.add_done_callback(lambda done: self._done(number, done))

    def cancel(self, number: int) -> None:
        """Have a batch stopped that is not wanted any more: its worker stops it."""
        if future := self._futures.pop(number, None):
            with suppress(Exception):
                self._client.cancel([future], asynchronous=False, force=True)

    def conclude(self, workers: Sequence[str], limit: float) -> list[str]:
        """Have the labs of these workers unload their drivers; returns the rows of those that answer in time."""
        rows: list[str] = []
        futures = [
            self._client.submit(
                crew.conclude,
                self._run,
                key=f"wsklab-{self._run[:8]}-{self._session}-end-{place}",
                workers=[address],
                pure=False,
                retries=0,
            )
            for place, address in enumerate(workers)
        ]
        deadline = time.monotonic() + limit
        for future in futures:
            with suppress(Exception):
                rows += future.result(timeout=max(0.1, deadline - time.monotonic()))["rows"]
        return rows

    def abandon(self) -> None:
        """Have everything of this run stopped on every worker, in no more than some seconds."""
        futures, self._futures = list(self._futures.values()), {}
        with suppress(Exception):
            self._client.sync(self._client._run, crew.abandon, self._run, on_error="ignore", callback_timeout=5)
        with suppress(Exception):
            self._client.sync(self._client._cancel, futures, force=True, callback_timeout=3)

    def close(self) -> None:
        """Leave the scheduler. What is still given out is cancelled by that."""
        self._closed = True
        with suppress(Exception):
            self._client.close(timeout=3)

    def _event(self, event: tuple[float, Mapping[str, Any]]) -> None:
        """Pass on what a worker has said; in the thread of dask's client."""
        _, said = event
        worker = str(said.get("worker", ""))
        if "begun" in said:
            self.inbox.put(Begun(said["begun"], worker))
        elif "alive" in said:
            self.inbox.put(Alive(said["alive"]))
        elif "rows" in said:
            self.inbox.put(Rows(said["batch"], said["rows"], said.get("target", {}), worker))

    def _came_or_went(self, event: tuple[float, Mapping[str, Any]]) -> None:
        """Have the workers asked for anew when there is another, or one less; in the thread of dask's client."""
        if event[1].get("action") in ("add-worker", "remove-worker"):
            self._asked = float("-inf")
            self._changed.set()

    def _done(self, number: int, future: Future[Any]) -> None:
        """Pass on that a batch is over; in a thread of dask's."""
        if self._closed or self._futures.pop(number, None) is None:
            return  # nobody wants it any more
        try:
            said = future.result(timeout=30)
        except KilledWorker as error:
            address = str(getattr(error.last_worker, "address", ""))
            name = getattr(error.last_worker, "name", "") or address
            self.inbox.put(Lost(number, f"worker {name} was lost", address))
        except (CancelledError, CommClosedError):  # nobody here has cancelled it
            self.inbox.put(Lost(number, "the scheduler was lost", blame=False))
        except BaseException as error:
            self.inbox.put(Lost(number, f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"))
        else:
            self.inbox.put(
                Rows(
                    number,
                    said["rows"],
                    said.get("target", {}),
                    str(said.get("worker", "")),
                    True,
                    said.get("failed", ""),
                    said.get("refused", ""),
                )
            )
