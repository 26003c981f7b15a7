"""Playing one scenario on a lab: canary, steps, what must still come, settling, cleaning up. Judging comes after."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from wsklab.drivers.errors import DriverError
from wsklab.drivers.protocol import Command, Op
from wsklab.orchestrator.errors import LabError, StepError
from wsklab.orchestrator.guest.agent import AgentSilent
from wsklab.orchestrator.judge import characterise
from wsklab.orchestrator.judge.integrity import Verdict, blame
from wsklab.orchestrator.judge.reading import TOLD_OF_END
from wsklab.orchestrator.lab.lab import Lab
from wsklab.orchestrator.observe.journal import MachineLost, Matches
from wsklab.orchestrator.observe.observation import Observation
from wsklab.orchestrator.play import crash, limits
from wsklab.orchestrator.play.context import SETTLE, Stage
from wsklab.orchestrator.play.driver_steps import DriverSteps
from wsklab.orchestrator.play.foreign_steps import ForeignSteps
from wsklab.orchestrator.play.heartbeat import Heartbeat
from wsklab.orchestrator.play.lab_steps import LabSteps
from wsklab.orchestrator.play.peer_steps import PeerSteps
from wsklab.orchestrator.play.self_driving import ByItself
from wsklab.orchestrator.play.unloading import PATIENCE, STUCK
from wsklab.orchestrator.play.watchdog_link import phase
from wsklab.orchestrator.play.wire_steps import WireSteps, observe_recording
from wsklab.orchestrator.scenario.scenario import Action, Scenario
from wsklab.qemu.errors import DeadlinePassed, MachineError

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
    lab.prepare(scenario)
    lab.journal.forget()
    began = lab.journal.mark
    lost_before = _lost(lab)
    lab.wire.record(recording)
    stage = Stage(lab, scenario, lab.peer.process(), random.Random(seed))
    evidence = crash.Collector(lab, recording.parent / "crash")
    try:
        with Heartbeat(lab, limit):
            _perform(lab, scenario, stage, evidence)
    except (LabError, MachineError, TimeoutError) as error:
        happened = crash.name_it(lab, error)
        lab.doubt = crash.why_of(lab, happened)
        evidence.collect(lab.doubt)
        if happened:
            lab.journal.add(happened)
    finally:
        _put_back(lab, stage, lost_before)
        lab.excuse("peer program", silent=False)
        lab.target.forget_connections()
    observations = lab.journal.since(began) + observe_recording(recording)
    return sorted(observations, key=lambda o: o.t)


def _perform(lab: Lab, scenario: Scenario, stage: Stage, evidence: crash.Collector) -> None:
    stage.first_line = stage.canary("before") or lab.target.state().next_seq
    if scenario.expect.characterise:
        stage.note("recorded", target=lab.guest.image.name, judged=lab.guest.kind == "standin",
                   behaviour=characterise.recorded(lab.guest.image.name).get(scenario.name))
    actors = {"driver": _driver(lab, scenario, stage), "peer": PeerSteps(stage), "wire": WireSteps(stage),
              "lab": LabSteps(stage)}
    complete = all(_step(stage, actors, index, action) for index, action in enumerate(scenario.steps))
    if complete:
        _await_expected(stage)
    stage.settle(told=scenario.expect.characterise and lab.visitor is None)
    stage.note("end")
    _clean(lab, stage, evidence)
    records, last = lab.target.ring(stage.first_line)
    stage.note("ring", first=stage.first_line, last=last, records=records)


def _driver(lab: Lab, scenario: Scenario, stage: Stage) -> object:
    """Who plays the driver's part."""
    if lab.visitor is not None:
        return ForeignSteps(stage, lab.visitor)
    return ByItself(stage) if scenario.for_any_driver else DriverSteps(stage)


def _lost(lab: Lab) -> int:
    """Frames that the wire itself has lost so far."""
    return sum(side["lost"] for side in lab.wire.counters().values())


def _put_back(lab: Lab, stage: Stage, lost_before: int) -> None:
    """Leave the lab as it was found; what cannot be put back makes it doubtful, and the next scenario gets another."""

    def count() -> None:
        stage.note("counters", lost=_lost(lab) - lost_before)

    for undo in (lab.wire.clear, stage.peer.end, *reversed(stage.undo), lab.wire.stop_recording, count):
        try:
            undo()
        except (LabError, MachineError, TimeoutError) as error:
            lab.doubt = lab.doubt or f"something could not be put back ({error})"


def _step(stage: Stage, actors: dict[str, object], index: int, action: Action) -> bool:
    """Do one step and note what it came to; False ends the story."""
    step, began = action.step, time.time_ns()
    outcome, detail, operations = "done", "", range(0)
    try:
        operations = getattr(actors[action.actor], step.verb)(step, step.arguments) or range(0)
    except StepError as error:
        outcome, detail = "failed", str(error)
    except (TimeoutError, DeadlinePassed):
        outcome, detail = "failed", "not done within the time allowed"
    finally:
        stage.note("step", index=index, actor=action.actor, verb=step.verb, text=str(action), began=began,
                   outcome=outcome, detail=detail, ops=list(operations), expect=getattr(step, "wanted", None),
                   returns=getattr(step, "returns", None), length=getattr(step.arguments, "length", None),
                   synchronous=step.verb in ("enable", "disable", "release"))
    return outcome == "done"


def _await_expected(stage: Stage) -> None:
    """What the scenario expects may still be on its way; what never comes is the judge's business, not an error."""
    expect, deadline = stage.scenario.expect, stage.deadline(LATE)
    connections = list(stage.connections.values())
    try:
        for conn in {e.conn for e in expect.disconnect}:
            mine = connections if conn is None else [c for c in connections if c.number == conn]
            count = sum(e.conn in (None, conn) and not e.optional for e in expect.disconnect)
            stage.await_total(lambda o: o.kind in TOLD_OF_END, count, mine, deadline)
        for op, transfers in (("receive", expect.receive), ("send", expect.send)):
            for connection in connections:
                count = sum(t.status != "pending" and t.conn in (None, connection.number) for t in transfers or ())
                stage.await_total(completed(op), count, [connection], deadline)
    except TimeoutError:
        pass


def completed(op: str) -> Matches:
    """Lines that tell of a completed IRP of one WSK function."""
    return lambda o: o.kind == "done" and o.data["op"] == op


def _clean(lab: Lab, stage: Stage, evidence: crash.Collector) -> None:
    """Close whatever is open; the driver says when all of it is back."""
    if lab.visitor is not None:
        lab.visitor.stop()  # it cannot be told to close; unloaded it has to have closed everything
    mark = lab.journal.mark
    lab.target.command(Command(Op.CLOSE_ALL, id=lab.target.operations()[0]))
    try:
        stage.wait(lambda o: o.source == "driver" and o.kind == "clean", stage.deadline(CLEAN), mark)
    except TimeoutError:
        lab.doubt = "the driver did not finish cleaning up"
        with suppress(LabError, DriverError):
            state = lab.target.state()
            stage.note("left", sockets=state.sockets, irps=state.irps, indications=state.indications)
        evidence.collect(lab.doubt)


def unload(lab: Lab) -> tuple[Verdict, list[str]]:
    """The driver's last duty: it unloads and leaves nothing. Returns (verdict, reasons)."""
    mark = lab.journal.mark
    try:
        last = lab.target.unload(PATIENCE * lab.slowness) if lab.visitor is None else lab.visitor.last_unload()
    except (MachineLost, MachineError) as error:
        reason = f"unload: {error}"
        if lab.journal.lost is None or blame(lab.journal.lost) == "infra":
            return "infra", [reason]
        return "fail", [*named_at_unload(lab.journal.since(mark)), reason]
    except (TimeoutError, AgentSilent):
        return "fail", [*named_at_unload(lab.journal.since(mark)), STUCK]
    except LabError as error:
        return "fail", [*named_at_unload(lab.journal.since(mark)), f"the driver does not unload: {error}"]
    if lab.visitor is not None:
        lab.target.canary(time.monotonic() + SETTLE * lab.slowness)  # all that it has printed is read then
    reasons = named_at_unload(lab.journal.since(mark))
    left = [f"{last.data[key]} {key}" for key in ("sockets", "irps", "indications", "allocs") if last.data.get(key)]
    if left:
        reasons.append(f"the driver leaks at unload: {', '.join(left)}")
    return ("fail" if reasons else "pass"), reasons


def named_at_unload(observations: Sequence[Observation]) -> list[str]:
    """What the provider and the driver itself have said while it unloaded: they know why it does not end."""
    rules = [f"the driver breaks {o.data['rule']} at unload: {o.data['text']}"
             for o in observations if o.source == "driver" and o.kind == "rule"]
    waits = [o for o in observations if o.source == "driver" and o.kind == "waiting"]
    left = ", ".join(f"{waits[-1].data.get(key)} {key}" for key in ("sockets", "irps", "indications")
                     if waits[-1].data.get(key)) if waits else ""
    return [*dict.fromkeys(rules), *([f"the driver waits in its unload for {left} (R80)"] if left else [])]
