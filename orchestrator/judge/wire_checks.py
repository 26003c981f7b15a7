"""The wire, which is the first oracle: how each side ended the connection, and whose fault another ending is. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from wsklab.orchestrator.judge.integrity import Statement, function
from wsklab.orchestrator.judge.reading import ABORTIVE, Facts
from wsklab.orchestrator.judge.step_checks import describe, failed
from wsklab.orchestrator.judge.wire_endings import Ending
from wsklab.orchestrator.judge.wording import conn_of, ending_words
from wsklab.orchestrator.observe.driver_lines import Call
from wsklab.orchestrator.scenario.steps import DriverStep


def wire(facts: Facts) -> Iterator[Statement]:
    """Did each side end the connection as the scenario intends?

    A peer that did not is the lab's fault, unless the driver had gone wrong before. What it did wrong is said first,
    also where its own ending is another one.
    """
    for conn in facts.connections:
        wanted = facts.scenario.expect.wire.of(conn)
        where, peer, driver = conn_of(facts, conn), facts.ending(conn, "peer"), facts.ending(conn, "driver")
        from_peer, from_driver = _resolved(facts, conn, wanted.peer), _resolved(facts, conn, wanted.driver)
        unasked = list(_unasked_end(facts, conn))
        yield from (("fail", f"{where}{cause}") for cause in unasked)
        if from_peer is not None and list(peer.sent) != from_peer:
            causes = [*_ended_first(facts, conn, peer, driver, from_driver), *_failed_before(facts, peer.t)]
            yield from (("fail", f"{where}{cause}") for cause in causes)
            causes += unasked
            yield (
                "fail" if causes else "infra",
                (f"{where}the peer should have sent {ending_words(from_peer)}, the wire shows {peer}"),
            )
        if from_driver is not None and list(driver.sent) != from_driver:
            yield from (("fail", f"{where}{cause}") for cause in _failed_before(facts, driver.t))
            yield "fail", f"{where}the driver should have sent {ending_words(from_driver)}, the wire shows {driver}"


def _resolved(facts: Facts, conn: int, wanted: Sequence[str] | None) -> list[str] | None:
    """Return the endings wanted, with what was drawn in the place of `drawn`."""
    return None if wanted is None else [facts.drawn(conn) or "none" if end == "drawn" else end for end in wanted]


def _unasked_end(facts: Facts, conn: int) -> Iterator[str]:
    """Yield calls that end a connection and that no step has asked for.

    What a failed step had asked for is not known.
    """
    known = {number for step in facts.steps() for number in step.ops}
    until = min(
        (step.began for step in facts.steps() if step.outcome != "done" or step.verb == "unload"),
        default=math.inf,
    )  # in its unload a driver closes what is open by itself
    for call in facts.of(Call, conn):
        unknown = call.id not in known and call.t < until
        if call.op in ("disconnect", "close") and unknown:
            yield f"the driver ended the connection by {_called(call)}, which no step asked for"


def _called(call: Call) -> str:
    """Return the function that ends a connection, and how."""
    abortive = call.op == "disconnect" and (call.flags or 0) & ABORTIVE
    return function(call.op) + (" with WSK_FLAG_ABORTIVE" if abortive else "")


def _ended_first(facts: Facts, conn: int, peer: Ending, driver: Ending, wanted: list[str] | None) -> Iterator[str]:
    """Tell whether the driver ended the connection before the peer could, and nobody had asked it to."""
    if driver.t is None or not driver.own or (peer.t is not None and peer.t <= driver.t):
        return
    asked = _asked_to_end(facts, conn) if wanted is None else list(driver.sent[:1]) == wanted[:1]
    if not asked:
        yield f"the driver ended the connection with {driver} before the peer ended anything"


def _asked_to_end(facts: Facts, conn: int) -> bool:
    """Whether a step of the scenario has the driver end this connection, in person or in a callback."""
    for action in facts.scenario.steps:
        step = action.step
        if isinstance(step, DriverStep) and (
            step.verb == "unload" or (step.conn in ("all", conn) and step.verb in ("disconnect", "close", "callback"))
        ):
            return True
    return False


def _failed_before(facts: Facts, t: int | None) -> Iterator[str]:
    """Yield what of the driver's own operations had gone wrong before the peer's ending: then that is the cause.

    A wait for an event does not count: an event that the peer never caused cannot come.
    """
    for step, text in failed(facts):
        if step.actor == "driver" and step.verb != "await_" and (t is None or step.began < t):
            yield describe(step, text)
