"""Playing one scenario on a lab: canary, steps, what must still come, settling, cleaning up. Judging comes after."""

from __future__ import annotations

import time
from pathlib import Path

from wsklab.drivers.protocol import Command, Op
from wsklab.orchestrator.agent import AgentError, AgentSilent
from wsklab.orchestrator.driver_steps import DriverSteps
from wsklab.orchestrator.errors import LabError, StepError
from wsklab.orchestrator.journal import MachineLost
from wsklab.orchestrator.lab import Lab
from wsklab.orchestrator.lab_steps import LabSteps
from wsklab.orchestrator.observation import Observation
from wsklab.orchestrator.peer_steps import PeerSteps
from wsklab.orchestrator.scenario import Action, Scenario
from wsklab.orchestrator.stage import Stage
from wsklab.orchestrator.wire_steps import WireSteps, observe_recording

LATE = 5.0
"""Seconds in which what the scenario expects may still come after its last step."""

CLEAN = 15.0
"""Seconds for every socket to close and every IRP to come back."""


def play(lab: Lab, scenario: Scenario, recording: Path) -> list[Observation]:
    """Run `scenario` and return everything observed, in time order; the wire's recording stays at `recording`.

    A step that fails ends the story, not the run: what was observed is complete and goes to the judge.
    """
    began = lab.journal.mark
    lost_before = sum(side["lost"] for side in lab.wire.counters().values())
    lab.wire.record(recording)
    stage = Stage(lab, scenario, lab.peer.process())
    try:
        _perform(lab, scenario, stage)
    except MachineLost:
        pass  # the journal holds which and why; the judge blames
    except (AgentSilent, AgentError) as error:
        stage.note("hang", detail=str(error))
    finally:
        lab.wire.clear()
        stage.peer.end()
        lab.wire.stop_recording()
        lab.target.forget_connections()
    lost = sum(side["lost"] for side in lab.wire.counters().values())
    stage.note("counters", lost=lost - lost_before)
    observations = lab.journal.since(began) + observe_recording(recording)
    return sorted(observations, key=lambda o: o.t)


def _perform(lab: Lab, scenario: Scenario, stage: Stage) -> None:
    first = lab.target.state().next_seq
    stage.canary("before")
    actors = {"driver": DriverSteps(stage), "peer": PeerSteps(stage), "wire": WireSteps(stage), "lab": LabSteps(stage)}
    complete = all(_step(stage, actors, index, action) for index, action in enumerate(scenario.steps))
    if complete:
        _await_expected(stage)
    stage.settle()
    stage.note("end")
    _clean(lab, stage)
    last = lab.target.state().next_seq - 1
    stage.note("ring", first=first, last=last, records=lab.target.ring(first, last))


def _step(stage: Stage, actors: dict[str, object], index: int, action: Action) -> bool:
    """Do one step and note what it came to; False ends the story."""
    step, began = action.step, time.time_ns()
    outcome, detail, operations = "done", "", range(0)
    try:
        operations = getattr(actors[action.actor], step.verb)(step, step.arguments) or range(0)
    except StepError as error:
        outcome, detail = "failed", str(error)
    except TimeoutError:
        outcome, detail = "failed", "not done within the time allowed"
    finally:
        stage.note("step", index=index, actor=action.actor, verb=step.verb, text=str(action), began=began,
                   outcome=outcome, detail=detail, ops=list(operations), expect=getattr(step, "expect", None),
                   synchronous=step.verb in ("enable", "disable"))
    return outcome == "done"


def _await_expected(stage: Stage) -> None:
    """What the scenario expects may still be on its way; what never comes is the judge's business, not an error."""
    expect, deadline = stage.scenario.expect, stage.deadline(LATE)
    try:
        for conn in stage.connections:
            events = [e for e in expect.disconnect if e.conn == conn or stage.scenario.connections == 1]
            stage.await_lines("disc", conn, len(events), deadline)
            for op, transfers in (("receive", expect.receive), ("send", expect.send)):
                completed = [t for t in transfers or () if t.status != "pending"]
                stage.await_lines("done", conn, len(completed), deadline, op)
    except TimeoutError:
        pass


def _clean(lab: Lab, stage: Stage) -> None:
    """Close whatever is open; the driver says when all of it is back."""
    mark = lab.journal.mark
    lab.wire.clear()
    lab.target.command(Command(Op.CLOSE_ALL, id=lab.target.operations()[0]))
    try:
        lab.journal.wait(lambda o: o.source == "driver" and o.kind == "clean", stage.deadline(CLEAN), mark)
    except TimeoutError:
        lab.doubt = "the driver did not finish cleaning up"


def unload(lab: Lab) -> tuple[str, list[str]]:
    """The driver's last duty: it unloads and leaves nothing. Returns (verdict, reasons)."""
    try:
        last = lab.target.unload(20 * lab.slowness)
    except MachineLost as error:
        return "fail", [f"unload: {error}"]
    except (TimeoutError, AgentSilent):
        return "fail", ["the driver does not unload: its service was told to stop and never ended (R80, R82)"]
    except (AgentError, LabError) as error:
        return "fail", [f"the driver does not unload: {error}"]
    left = [f"{last.data[key]} {key}" for key in ("sockets", "irps", "indications", "allocs") if last.data.get(key)]
    return ("fail", [f"the driver leaks at unload: {', '.join(left)}"]) if left else ("pass", [])
