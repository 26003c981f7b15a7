"""What a dask worker does: it plays batches, each on the lab of a slot, tells of each row at once, and can be stopped.

`play` and `conclude` are the two tasks that clients submit. Everything that they say of a row is said twice: at once,
as an event, which may be lost, and at the end, as the task's value. The client counts a row once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from distributed import Worker, get_worker

from wsklab.orchestrator.errors import LabError
from wsklab.orchestrator.fleet.job import Job, back_as_json, fingerprint, items_of, job_of
from wsklab.orchestrator.fleet.worker.players import Player, player_of

BEAT = 0.5
"""Seconds between two looks at whether a batch is still wanted; rows are sent as often."""

QUICK = 0.2
"""Seconds: a row that took longer is told at once, others some at a time."""

ALIVE = 5.0
"""Seconds after which a worker says of its batches that it lives."""

FORGOTTEN = 180.0
"""Seconds for which a lab is kept that nobody plays on: its client may have been killed."""


def topic(run: str) -> str:
    """Where the events of a run are."""
    return f"wsklab-{run}"


@dataclass
class Playing:
    """A batch under way."""

    key: str
    topic: str
    number: int
    player: Player
    rows: list[str] = field(default_factory=list)
    """Not yet told."""
    unwanted: bool = False


class Crew:
    """All slots of one worker process."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._idle: dict[Player, float] = {}  # since when
        self._playing: dict[str, Playing] = {}
        self._lock = threading.Lock()
        self._ended = threading.Event()
        threading.Thread(target=self._beat, name="crew", daemon=True).start()

    # --- labs ---

    def take(self, job: Job) -> Player:
        """Return the lab that the job has here already, or a new one; no more than there are slots. Raises LabError."""
        others: list[Player] = []
        with self._lock:
            for player in self._idle:
                if player.job == job:
                    del self._idle[player]
                    return player
            if self._idle and len(self._idle) + len(self._playing) >= self._worker.state.nthreads:
                others = [min(self._idle, key=self._idle.__getitem__)]
                del self._idle[others[0]]
        for other in others:
            other.stop()
        return player_of(job)

    def give_back(self, player: Player) -> None:
        """Keep a lab for the next batch."""
        with self._lock:
            self._idle[player] = time.monotonic()

    def concluded(self, run: str) -> list[Player]:
        """Return the labs that a run has here; they are kept no longer."""
        return self._taken(lambda player, _since: player.job.run == run)

    def under_way(self, run: str) -> list[Player]:
        """Return the labs on which it is being played."""
        with self._lock:
            return [one.player for one in self._playing.values() if one.player.job.run == run]

    def _taken(self, which: Callable[[Player, float], bool]) -> list[Player]:
        with self._lock:
            found = [player for player, since in self._idle.items() if which(player, since)]
            for player in found:
                del self._idle[player]
        return found

    def close(self) -> None:
        """Stop every lab: the worker ends."""
        self._ended.set()
        with self._lock:
            players = [playing.player for playing in self._playing.values()]
        for player in [*players, *self._taken(lambda _player, _since: True)]:
            player.stop()

    # --- batches ---

    @contextmanager
    def playing(self, key: str, where: str, number: int, player: Player) -> Iterator[Playing]:
        """Keep book of a batch under way: it is said that it lives, and it is stopped when nobody wants it any more."""
        one = Playing(key, where, number, player)
        with self._lock:
            self._playing[key] = one
        self._say(where, begun=number)
        try:
            yield one
        finally:
            with self._lock:
                self._playing.pop(key, None)

    def _beat(self) -> None:
        beats = 0
        while not self._ended.wait(BEAT):
            beats += 1
            with self._lock:
                under_way = list(self._playing.values())
            for one in under_way:
                if not self.tell(one) and beats % int(ALIVE / BEAT) == 0:
                    self._say(one.topic, alive=one.number)
                if not self._wanted(one.key) and not one.unwanted:
                    one.unwanted = True
                    threading.Thread(target=one.player.stop, name="stop", daemon=True).start()
            for player in self._taken(lambda _player, since: time.monotonic() - since > FORGOTTEN):
                threading.Thread(target=player.stop, name="stop", daemon=True).start()

    def tell(self, one: Playing) -> bool:
        """Send what rows there are; returns whether there were any."""
        with self._lock:
            rows, one.rows = one.rows, []
        if rows:
            self._say(one.topic, batch=one.number, rows=rows, target=dict(one.player.settings))
        return bool(rows)

    def _wanted(self, key: str) -> bool:
        task = self._worker.state.tasks.get(key)
        return task is not None and task.state not in ("cancelled", "released", "forgotten")

    def _say(self, where: str, **words: Any) -> None:
        with suppress(Exception):  # the task's value says it again
            self._worker.log_event(where, {"worker": self._worker.address, **words})


_CREWS: dict[int, Crew] = {}
_ONE = threading.Lock()


def crew_of(worker: Worker) -> Crew:
    """Return the slots of a worker: one process may have several, in tests."""
    with _ONE:
        if id(worker) not in _CREWS:
            _CREWS[id(worker)] = Crew(worker)
        return _CREWS[id(worker)]


def play(batch: Mapping[str, Any]) -> dict[str, Any]:
    """Play a batch; returns its rows, and why it ended before its end, if it did."""
    worker = get_worker()
    job, rows = job_of(batch["job"]), list[str]()
    if job.lab != fingerprint():
        why = f"worker {worker.name} has another version of wsklab than the client"
        return {"rows": [], "refused": why, "worker": worker.address}
    crew = crew_of(worker)
    try:
        player = crew.take(job)
    except Exception as error:
        return _failed(worker, rows, error)
    with crew.playing(str(worker.get_current_task()), topic(job.run), batch["number"], player) as one:
        try:
            for item in items_of(batch):
                began = time.monotonic()
                found = [back_as_json(back) for back in player.play(item)]
                rows += found
                one.rows += found
                if time.monotonic() - began > QUICK:
                    crew.tell(one)
                if one.unwanted:
                    raise LabError("it is not wanted any more")
        except Exception as error:
            player.stop()
            return _failed(worker, rows, error) | {"target": dict(player.settings)}
    crew.give_back(player)
    return {"rows": rows, "target": dict(player.settings), "worker": worker.address}


def _failed(worker: Worker, rows: list[str], error: Exception) -> dict[str, Any]:
    what = f"{error.filename or 'this host'}: {error.strerror}" if isinstance(error, OSError) else str(error)
    return {"rows": rows, "failed": f"worker {worker.name}: {what or type(error).__name__}", "worker": worker.address}


def conclude(run: str) -> dict[str, Any]:
    """Judge the unload of every lab that a run has on this worker, and stop them; returns the rows."""
    rows = list[str]()
    players = crew_of(get_worker()).concluded(run)

    def one(player: Player) -> None:
        with suppress(LabError):  # another lab's unload is judged instead
            rows.extend(back_as_json(back) for back in player.conclude())

    threads = [threading.Thread(target=one, args=(player,)) for player in players]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"rows": rows}


def abandon(run: str, dask_worker: Worker | None = None) -> None:
    """Stop every lab that a run has on this worker, whatever it is doing: the run is interrupted. Waits for nothing."""
    assert dask_worker is not None, "dask gives it"
    crew = crew_of(dask_worker)
    for player in [*crew.concluded(run), *crew.under_way(run)]:
        threading.Thread(target=player.stop, name="stop", daemon=True).start()


def close(worker: Worker) -> None:
    """Stop every lab of a worker that ends."""
    with _ONE:
        crew = _CREWS.pop(id(worker), None)
    if crew is not None:
        crew.close()
