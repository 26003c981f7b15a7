"""Playing one scenario on a lab: canary, steps, what must still come, settling, cleaning up. Judging comes after."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Literal

from wsklab.drivers.errors import DriverError
from wsklab.drivers.protocol import Command, Op
from wsklab.orchestrator.errors import LabError, StepError, TimedOut
from wsklab.orchestrator.guest.agent import AgentSilent, LineLost
from wsklab.orchestrator.judge import characterise
from wsklab.orchestrator.judge.integrity import blame, complaints, counts, lost_text
from wsklab.orchestrator.judge.observed import Verdict
from wsklab.orchestrator.judge.reading import TOLD_OF_END, tells_of
from wsklab.orchestrator.lab.lab import Lab
from wsklab.orchestrator.liveness import crash, limits
from wsklab.orchestrator.liveness.heartbeat import Heartbeat
from wsklab.orchestrator.liveness.watchdog_link import phase
from wsklab.orchestrator.observe.base import Observation
from wsklab.orchestrator.observe.driver_lines import BrokenRule, Clean, Unload, Waiting
from wsklab.orchestrator.observe.journal import MachineLost
from wsklab.orchestrator.observe.lab_notes import (
    EndOfStory,
    Left,
    Recorded,
    RingTaken,
    StepNote,
    StillRunning,
    WireCounters,
)
from wsklab.orchestrator.play.actors import Actors, AnyDriver, SteeredDriver, act
from wsklab.orchestrator.play.context import SETTLE, PlayContext
from wsklab.orchestrator.play.driver_steps import DriverSteps
from wsklab.orchestrator.play.lab_steps import LabSteps
from wsklab.orchestrator.play.peer_steps import PeerSteps
from wsklab.orchestrator.play.self_driving import ByItself
from wsklab.orchestrator.play.unloading import PATIENCE, STUCK
from wsklab.orchestrator.play.wire_steps import WireSteps, observe_recording
from wsklab.orchestrator.scenario.scenario import Action, Scenario
from wsklab.orchestrator.scenario.steps import DriverStep
from wsklab.qemu.errors import MachineError

LATE = 5.0
"""Seconds in which what the scenario expects may still come after its last step."""

CLEAN = 15.0
"""Seconds for every socket to close and every IRP to come back."""


def play(lab: Lab, scenario: Scenario, recording: Path, seed: str = "1") -> list[Observation]:
    """Run `scenario` and return everything observed, in time order; the wire's recording stays at `recording`.

    Everything random is drawn from `seed`.

    A step that fails ends the story, not the run: what was observed is complete and goes to the judge.
    """
    limit = limits.of(scenario, lab.slowness)
    with phase(f"scenario {scenario.name}", limit + limits.GRACE * lab.slowness, recording.parent):
        return _play(lab, scenario, recording, seed, limit)


def _play(lab: Lab, scenario: Scenario, recording: Path, seed: str, limit: float) -> list[Observation]:
    playing = Playing(lab, scenario, recording, seed)
    try:
        with Heartbeat(lab, limit):
            playing.begin()
            notes = (playing.step(action) for action in scenario.steps)
            if all(note.outcome == "done" for note in notes) and not scenario.socket.survival:
                _await_expected(playing.context)
            playing.end()
    except FAILURES as error:
        playing.failed(error)
    finally:
        playing.put_back()
    return playing.observations()


FAILURES = (LabError, MachineError, TimeoutError)
"""What ends the playing of a scenario; what was observed is judged all the same."""


class Playing:
    """One scenario on a lab, from its canary to its observations; whoever plays it calls `step` as often as it likes.

    The order is `begin`, `step`, `end`; `failed` where one of them raises one of the FAILURES; `put_back` in any case,
    and then `observations`.
    """

    def __init__(self, lab: Lab, scenario: Scenario, recording: Path, seed: str) -> None:
        """Make the lab ready and have the wire recorded. Raises one of the FAILURES: nothing has been played then."""
        self._lab = lab
        self._recording = recording
        lab.prepare(scenario, seed)
        self._early = lab.complaints()
        lab.journal.forget()
        self._began = lab.journal.mark
        self._lost_before = _lost(lab)
        lab.wire.record(recording)
        self.context = PlayContext(lab, scenario, lab.peer.process(), random.Random(seed))
        self._evidence = crash.Collector(lab, recording.parent / "crash")
        self._actors: Actors | None = None
        self._steps = 0

    def begin(self) -> None:
        """Look whether the debug line is alive, and call the actors. Raises one of the FAILURES."""
        lab, context, scenario = self._lab, self.context, self.context.scenario
        context.first_line = context.canary("before") or lab.target.state().next_seq
        if scenario.expect.characterise:
            context.note(
                Recorded(
                    t=time.time_ns(),
                    target=lab.guest.image.name,
                    judged=lab.guest.kind == "standin",
                    behaviour=characterise.recorded(lab.guest.image.name).get(scenario.name),
                )
            )
        self._actors = _actors(lab, scenario, context)

    def step(self, action: Action) -> StepNote:
        """Do one step; returns what it came to, which is noted. Raises one of the FAILURES when the lab is gone."""
        assert self._actors is not None, "`begin` comes first"
        self._steps += 1
        return _step(self.context, self._actors, self._steps - 1, action)

    def end(self) -> None:
        """End the story: everything under way has arrived, every socket is closed. Raises one of the FAILURES."""
        lab, context, scenario = self._lab, self.context, self.context.scenario
        context.settle(told=scenario.expect.characterise and lab.foreign is None)
        context.note(EndOfStory(t=time.time_ns()))
        _clean(lab, context, self._evidence)
        if running := lab.target.state().callbacks:
            context.note(StillRunning(t=time.time_ns(), callbacks=running))
        records, last = lab.target.ring(context.first_line)
        context.note(RingTaken(t=time.time_ns(), first=context.first_line, last=last, records=tuple(records)))

    def failed(self, error: Exception) -> None:
        """Find out what it means that one of the FAILURES was met, and keep evidence of it."""
        happened = crash.name_it(self._lab, error)
        self._lab.doubt = crash.why_of(self._lab, happened)
        self._evidence.collect(self._lab.doubt)
        if happened:
            self._lab.journal.add(happened)

    def put_back(self) -> None:
        """Leave the lab as it was found, and end the recording."""
        _put_back(self._lab, self.context, self._lost_before)
        self._lab.excuse("peer program", silent=False)
        self._lab.target.forget_connections()

    def so_far(self) -> list[Observation]:
        """Everything observed until now, in time order; frames as far as they are on disk."""
        observations = self._early + self._lab.journal.since(self._began) + observe_recording(self._recording)
        return sorted(observations, key=lambda o: o.t)

    def observations(self) -> list[Observation]:
        """Everything observed, in time order, once all is put back; a later scenario is judged by none of it."""
        found = self.so_far()
        self._lab.judged_to = self._lab.journal.mark
        return found


def _actors(lab: Lab, scenario: Scenario, context: PlayContext) -> Actors:
    """Who plays which part."""
    driver: AnyDriver
    steered: SteeredDriver | None = None
    if lab.foreign is not None:
        from wsklab.orchestrator.play.foreign_steps import ForeignSteps  # loaded with the first such driver

        driver = ForeignSteps(context, lab.foreign)
    else:
        driver = steered = ByItself(context) if scenario.for_any_driver else DriverSteps(context)
    return Actors(driver, steered, PeerSteps(context), WireSteps(context), LabSteps(context))


def _lost(lab: Lab) -> int:
    """Return how many frames there are that the wire itself has lost so far."""
    return sum(side["lost"] for side in lab.wire.counters().values())


def _put_back(lab: Lab, context: PlayContext, lost_before: int) -> None:
    """Leave the lab as it was found; what cannot be put back makes it doubtful, and the next scenario gets another."""

    def count() -> None:
        context.note(WireCounters(t=time.time_ns(), lost=_lost(lab) - lost_before))

    for undo in (lab.wire.clear, context.peer.end, *reversed(context.undo), lab.wire.stop_recording, count):
        try:
            undo()
        except (LabError, MachineError, TimeoutError) as error:
            lab.doubt = lab.doubt or f"something could not be put back ({error})"


def _step(context: PlayContext, actors: Actors, index: int, action: Action) -> StepNote:
    """Do one step and note what it came to; one that failed ends the story."""
    step, began = action.step, time.time_ns()
    outcome: Literal["done", "failed"] = "done"
    detail = ""
    operations: Sequence[int] = ()
    try:
        operations = act(actors, step)
    except StepError as error:
        outcome, detail = "failed", str(error)
    except TimedOut as error:
        outcome, detail = "failed", str(error)
    finally:
        driver = step if isinstance(step, DriverStep) else None
        note = StepNote(
            t=time.time_ns(),
            index=index,
            actor=action.actor,
            verb=step.verb,
            text=str(action),
            began=began,
            outcome=outcome,
            detail=detail,
            ops=tuple(operations),
            expect=driver.wanted if driver else None,
            returns=driver.returns if driver else None,
            length=step.length,
            synchronous=step.verb in ("enable", "disable", "release"),
        )
        context.note(note)
    return note


def _await_expected(context: PlayContext) -> None:
    """Wait for what the scenario expects and may still be on its way.

    What never comes is the judge's business, not an error.
    """
    expect, deadline = context.scenario.expect, context.deadline(LATE)
    connections = list(context.connections.values())
    try:
        for conn in {e.conn for e in expect.disconnect}:
            mine = connections if conn is None else [c for c in connections if c.number == conn]
            count = sum(e.conn in (None, conn) and not e.optional for e in expect.disconnect)
            context.await_total(lambda o: isinstance(o, TOLD_OF_END), count, mine, deadline)
        for op, transfers in (("receive", expect.receive), ("send", expect.send)):
            for connection in connections:
                count = sum(t.status != "pending" and t.conn in (None, connection.number) for t in transfers or ())
                context.await_total(partial(tells_of, word=op), count, [connection], deadline)
    except TimeoutError:
        pass


def _clean(lab: Lab, context: PlayContext, evidence: crash.Collector) -> None:
    """Close whatever is open; the driver says when all of it is back."""
    if lab.foreign is not None:
        lab.foreign.stop()  # it cannot be told to close; unloaded it has to have closed everything
    mark = lab.journal.mark
    lab.target.command(Command(Op.CLOSE_ALL, id=lab.target.operations()[0]))
    try:
        context.wait(lambda o: isinstance(o, Clean), context.deadline(CLEAN), mark)
    except TimeoutError:
        lab.doubt = "the driver did not finish cleaning up"
        with suppress(LabError, DriverError):
            state = lab.target.state()
            context.note(Left(t=time.time_ns(), sockets=state.sockets, irps=state.irps, indications=state.indications))
        evidence.collect(lab.doubt)


def unload(lab: Lab) -> tuple[Verdict, list[str]]:
    """Unload the driver, which is to leave nothing behind; returns (verdict, reasons)."""
    mark = lab.journal.mark
    try:
        last = lab.target.unload(PATIENCE * lab.slowness) if lab.foreign is None else lab.foreign.last_unload()
    except (MachineLost, MachineError) as error:
        reason = f"unload: {error}"
        if lab.journal.lost is None or blame(lab.journal.lost) == "infra":
            return "infra", [reason]
        return "fail", [*named_at_unload(lab.journal.since(mark)), reason]
    except LineLost as error:
        return "infra", [f"unload: {error}"]
    except (TimeoutError, AgentSilent):
        return "fail", [*named_at_unload(lab.journal.since(mark)), STUCK]
    except LabError as error:
        return "fail", [*named_at_unload(lab.journal.since(mark)), f"the driver does not unload: {error}"]
    if lab.foreign is not None:
        lab.target.canary(time.monotonic() + SETTLE * lab.slowness)  # all that it has printed is read then
    reasons = named_at_unload(lab.journal.since(mark))
    unheard = [text for _, text in lost_text(lab.journal.since(mark))]
    if isinstance(last, Unload) and (left := counts(last)):
        reasons.append(f"the driver leaks at unload: {left}")
    return ("fail" if reasons else "inconclusive" if unheard else "pass"), reasons + unheard


def named_at_unload(observations: Sequence[Observation]) -> list[str]:
    """Return what the provider and the driver itself have said while it unloaded: they know why it does not end."""
    rules = [f"the driver breaks {o.rule} at unload: {o.text}" for o in observations if isinstance(o, BrokenRule)]
    waits = [o for o in observations if isinstance(o, Waiting)]
    left = counts(waits[-1]) if waits else ""
    stops = [f"{text} (at the unload)" for _, text in complaints(observations)]
    return [*dict.fromkeys(rules), *stops, *([f"the driver waits in its unload for {left} (R80)"] if left else [])]
