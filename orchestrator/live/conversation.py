"""A scenario that is written while it is played: a test in Python, or a person at a prompt, does step after step.

What comes of it is the same as of a scenario file: steps, observations, a recording, a judgement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from wsklab.orchestrator.errors import LabError
from wsklab.orchestrator.judge.integrity import blame
from wsklab.orchestrator.judge.judge import Judgement, judge
from wsklab.orchestrator.judge.reading import Facts
from wsklab.orchestrator.lab.lab import Lab
from wsklab.orchestrator.liveness import limits
from wsklab.orchestrator.liveness.heartbeat import Heartbeat
from wsklab.orchestrator.liveness.watchdog_link import phase
from wsklab.orchestrator.observe.base import Observation
from wsklab.orchestrator.observe.driver_lines import DisconnectTold
from wsklab.orchestrator.play.player import FAILURES, Playing
from wsklab.orchestrator.scenario.scenario import Action, Expect, ExpectedDisconnect, Scenario
from wsklab.orchestrator.scenario.steps import Step
from wsklab.qemu.errors import DeadlinePassed

BARRIER = 5.0
"""Seconds for the wire to prove that it has recorded all."""


class StepFailed(AssertionError):
    """A step did not come to what it was to come to; whose fault that is, the judge may know better."""


class LabLost(LabError):
    """The lab is gone under a test, or the target; `blamed` says whether the driver is to blame."""

    def __init__(self, message: str, blamed: bool) -> None:
        super().__init__(message)
        self.blamed = blamed


def scenario_of(name: str, title: str, words: Mapping[str, Any]) -> Scenario:
    """Return the frame of a conversation: `words` are a scenario's `socket`, `connections`, `tags`, `covers`.

    Raises ValueError, with a sentence, for any others.
    """
    frame = {"name": name, "title": title[:120], "steps": [{"lab": "settle"}]}
    if wrong := sorted(words.keys() - {"socket", "connections", "tags", "covers"}):
        raise ValueError(f"a test in Python has no {', '.join(wrong)}; it has socket, connections, tags, covers")
    try:
        return Scenario.model_validate({**words, **frame})
    except ValidationError as error:
        raise ValueError(sentence(error)) from None


def sentence(error: ValidationError) -> str:
    """Return what is wrong with the words of a step, in one sentence."""
    return "; ".join(
        ": ".join(filter(None, (".".join(map(str, one["loc"][2:])), one["msg"].removeprefix("Value error, "))))
        for one in error.errors()
    )


class Conversation:
    """A story that goes on until `close`."""

    def __init__(self, lab: Lab, scenario: Scenario, folder: Path, seed: str) -> None:
        """Begin it; `folder`, which exists, gets the recording. Raises LabError, MachineError, TimeoutError."""
        self.lab = lab
        self.folder = folder
        self._scenario = scenario
        self._actions: list[Action] = []
        self._playing = Playing(lab, scenario, folder / "wire.pcapng", seed)
        self._heartbeat = Heartbeat(lab, inf, "the test")
        self._heartbeat.__enter__()
        self._closed: tuple[Scenario, list[Observation]] | None = None
        self._lost: LabLost | None = None
        try:
            self._playing.begin()
        except BaseException:
            self.close()
            raise

    def do(self, actor: str, verb: str, arguments: Any, options: Mapping[str, Any]) -> None:
        """One step of `actor`. Raises TypeError for words that it does not know, StepFailed, LabLost."""
        __tracebackhide__ = True  # a failed test shows its own lines
        try:
            action = Action.model_validate({actor: {verb: arguments, **options}})
        except ValidationError as error:
            raise TypeError(f"{actor}.{verb.replace('-', '_')}: {sentence(error)}") from None
        if self._closed is not None:
            raise TypeError("the test is over, nothing can be done in its lab any more")
        if self._lost is not None:
            raise self._lost
        self._actions.append(action)
        try:
            with phase(str(action), self._limit(action.step), self.folder):
                note = self._playing.step(action)
        except FAILURES as error:
            self._playing.failed(error)
            lost = self.lab.journal.lost
            self._lost = LabLost(self.lab.doubt or str(error), lost is not None and blame(lost) == "fail")
            raise self._lost from None
        if note.outcome != "done":
            raise StepFailed(f"{note.text}: {note.detail}")

    def _limit(self, step: Step) -> float:
        wait = getattr(step, "wait", None)
        return (limits.SCENARIO + (getattr(step, "within", None) or 0.0)) * self.lab.slowness + getattr(
            wait, "seconds", 0.0
        )

    @property
    def seen(self) -> list[Observation]:
        """Everything observed so far, in time order; what has passed the wire by now is in it."""
        if self._closed is not None:
            return self._closed[1]
        with suppress(LabError, DeadlinePassed, TimeoutError):
            self.lab.wire.barrier(self._playing.context.deadline(BARRIER), self.lab.reachable)
        return self._playing.so_far()

    @property
    def facts(self) -> Facts:
        """What the observations so far add up to."""
        seen = self.seen
        return Facts(self.scenario(seen), seen)

    @property
    def events(self) -> list[DisconnectTold]:
        """The calls of WskDisconnectEvent so far, without a look at the wire."""
        told = self._closed[1] if self._closed is not None else self._playing.so_far()
        return [o for o in told if isinstance(o, DisconnectTold)]

    def scenario(self, seen: Sequence[Observation]) -> Scenario:
        """Return the scenario that was played; it expects the events that came, whose flags the test judges."""
        numbers = [o.conn for o in seen if isinstance(o, DisconnectTold) and o.conn is not None]
        update: dict[str, Any] = {"expect": Expect(disconnect=[ExpectedDisconnect(conn=n) for n in numbers])}
        if self._actions:
            update["steps"] = list(self._actions)
        return self._scenario.model_copy(update=update)

    def close(self) -> tuple[Scenario, list[Observation]]:
        """End the story and put everything back, once; returns what was played, and what was observed."""
        if self._closed is None:
            limit = limits.SCENARIO * self.lab.slowness
            with phase("the end of a test", limit, self.folder):
                try:
                    if self._lost is None:
                        self._playing.end()
                except FAILURES as error:
                    self._playing.failed(error)
                finally:
                    self._heartbeat.__exit__(None, None, None)
                    self._playing.put_back()
                observations = self._playing.observations()
            self._closed = self.scenario(observations), observations
        return self._closed

    def judged(self) -> Judgement:
        """Return what the lab says of the closed story: crash, hang, leak, broken rules, missing evidence."""
        return judge(*self.close())
