"""The agent's line when it loses something: what is sent again, and who is blamed."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from simulated.windows import Frames

from wsklab.orchestrator.guest.agent import Agent, AgentSilent, LineLost
from wsklab.orchestrator.liveness import crash
from wsklab.qemu.serial import SerialLine

TIMEOUT = 20.0
SHORT = 2.0
"""Half of it passes where something did not come at all."""


class Guest:
    """An agent at the other end; `lost` are the lines that come damaged, `drops` those that do not come at all."""

    def __init__(self, lost: list[int], drops: list[int], stuck: str = "") -> None:
        self.done: list[dict[str, Any]] = []
        self._frames = Frames(lost)
        self._drops = drops
        self._stuck = stuck

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        self.done.append(request)
        return {"id": request["id"], "ok": True, "size": len(request.get("data", ""))}

    def serve(self, port: socket.socket) -> None:
        port.sendall(json.dumps({"hello": {"agent": 2, "system": "windows", "pid": 1}}).encode() + b"\n")
        count = 0
        for line in port.makefile("rb"):
            count += line != b"\n"
            if line != b"\n" and count in self._drops:
                continue
            if self._stuck and self._stuck.encode() in line:
                return  # the driver does not come back
            port.sendall(self._frames.take(line, self.answer))


@contextmanager
def agent_of(guest: Guest) -> Iterator[Agent]:
    ours, theirs = socket.socketpair()
    line = SerialLine("agent", ours)
    line.start()
    thread = threading.Thread(target=guest.serve, args=(theirs,), daemon=True)
    thread.start()
    try:
        yield Agent(line, lambda: None)
    finally:
        line.close()
        theirs.close()


def test_a_damaged_request_is_sent_once_more_and_done_once() -> None:
    guest = Guest(lost=[1], drops=[])
    with agent_of(guest) as agent:
        agent.ask("put", TIMEOUT, data="x" * 100)
        agent.ask("close_device", TIMEOUT)
    assert [one["op"] for one in guest.done] == ["put", "close_device"]


def test_a_long_request_goes_in_pieces_and_again_from_its_beginning() -> None:
    guest = Guest(lost=[3], drops=[])
    with agent_of(guest) as agent:
        agent.put(r"C:\x", b"x" * 24 * 1024)
    assert [len(one["data"]) for one in guest.done] == [24 * 1024]


def test_a_piece_that_did_not_come_is_noticed() -> None:
    guest = Guest(lost=[], drops=[2])
    with agent_of(guest) as agent:
        agent.ask("put", SHORT, data="x" * 8000)
    assert [one["op"] for one in guest.done] == ["put"]


def test_a_request_that_did_not_come_is_noticed_by_another_that_did() -> None:
    guest = Guest(lost=[], drops=[1])
    with agent_of(guest) as agent:
        agent.ask("close_device", SHORT)
    assert [one["op"] for one in guest.done] == ["ping", "close_device"]


def name_of(error: Exception) -> str:
    """Return what the observation says when a scenario is stopped by it."""

    class Journal:
        def pass_time(self, seconds: float) -> None: ...

    class Lab:
        journal = Journal()

    found = crash.name_it(Lab(), error)  # type: ignore[arg-type]
    assert found is not None
    return found.kind


@pytest.mark.parametrize("guest", [lambda: Guest(lost=[1, 2], drops=[]), lambda: Guest(lost=[], drops=[1, 3])])
def test_a_line_that_loses_a_request_twice_is_no_driver_that_hangs(guest: Callable[[], Guest]) -> None:
    with agent_of(guest()) as agent, pytest.raises(LineLost, match=r"lives, but its line lost 'run' twice") as lost:
        agent.ask("run", SHORT)
    assert name_of(lost.value) == "failure", "of the lab, so that the verdict is infra"


def test_a_slow_line_becomes_slower_until_it_loses_nothing() -> None:
    guest = Guest(lost=[1, 2, 3], drops=[])
    with agent_of(guest) as agent:
        agent._line.pace = 1e-6
        agent.ask("close_device", TIMEOUT)
        assert agent._line.pace == 8e-6
    assert [one["op"] for one in guest.done] == ["close_device"]


def test_a_driver_that_does_not_come_back_is_not_the_line() -> None:
    with agent_of(Guest(lost=[], drops=[], stuck="ioctl")) as agent, pytest.raises(AgentSilent, match="answer 'ioctl'"):
        agent.ask("ioctl", SHORT)


def test_an_agent_of_before_is_asked_as_it_understands() -> None:
    ours, theirs = socket.socketpair()
    line = SerialLine("agent", ours)
    agent = Agent(line, lambda: None)
    agent.hello = {"agent": 1}
    agent.begin("ping")
    assert json.loads(theirs.recv(4096).strip())["op"] == "ping"
    agent.hello = {"agent": 2}
    agent.begin("ping")
    assert theirs.recv(4096).strip().startswith(b"#")
    ours.close()
    theirs.close()
