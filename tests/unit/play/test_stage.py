"""Which ports a step means, and which of the peer's ends is whose, without a lab."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import cast

import pytest

from wsklab.orchestrator.errors import StepError
from wsklab.orchestrator.lab.lab import Lab
from wsklab.orchestrator.lab.peer import PeerProcess
from wsklab.orchestrator.observe.observation import Observation
from wsklab.orchestrator.observe.peer_replies import PeerReply
from wsklab.orchestrator.play.context import PlayContext
from wsklab.orchestrator.scenario.scenario import Scenario

PEER_LISTENER, DRIVER_LISTENER = 40000, 49500


class Peer:
    """A peer program that listens where it is asked to."""

    def ask(self, do: str, *_: object, port: int = 0, **__: object) -> PeerReply:
        assert do == "listen"
        return PeerReply(t=1, do=do, id=1, ok=True, port=port)


def context(create: str, connections: int = 1, provoke: object = None) -> PlayContext:
    noted: list[Observation] = []
    journal = SimpleNamespace(mark=0, add=noted.append)
    raw = iter(range(1, 100))
    foreign = SimpleNamespace(foreign=SimpleNamespace(provoke=provoke)) if provoke else None
    lab = SimpleNamespace(
        journal=journal,
        foreign=foreign,
        fresh_port=lambda: PEER_LISTENER,
        target=SimpleNamespace(connection=lambda number: next(raw)),
    )
    scenario = Scenario.model_validate(
        {
            "name": "x",
            "title": "x",
            "socket": {"create": create},
            "connections": connections,
            "steps": [{"lab": "settle"}],
        }
    )
    return PlayContext(cast(Lab, lab), scenario, cast(PeerProcess, Peer()), random.Random(1))


@pytest.mark.parametrize("create", ["connect", "socket-connect"])
def test_before_it_connects_the_drivers_flow_is_known_by_the_peers_listener(create: str) -> None:
    assert context(create).ports(0, 0) == {"peer_port": PEER_LISTENER}


@pytest.mark.parametrize("create", ["accept", "accept-event"])
def test_before_the_peer_connects_the_flow_is_known_by_the_drivers_listener(create: str) -> None:
    made = context(create)
    with pytest.raises(StepError, match="put this step behind `driver: listen`"):
        made.ports(0, 0)
    made.connection(0)  # has a number, and no port yet
    made.open_listener().target_port = DRIVER_LISTENER
    assert made.ports(0, 0) == {"target_port": DRIVER_LISTENER}


@pytest.mark.parametrize(
    ("by", "ports"),
    [
        ("peer", {"target_port": 7000}),
        ("start", {"peer_port": 7000}),
        ("command", {"peer_port": 7000}),
    ],
)
def test_somebody_elses_driver_has_the_port_of_its_profile(by: str, ports: dict[str, int]) -> None:
    assert context("connect", provoke=SimpleNamespace(by=by, port=7000)).ports(0, 0) == ports


def test_once_it_is_open_a_flow_is_known_by_both_ports() -> None:
    made = context("accept", connections=2)
    for number, port in ((0, 41000), (1, 41001)):
        connection = made.connection(number)
        connection.target_port, connection.peer_port = DRIVER_LISTENER, port
    assert made.ports(1, 0) == {"target_port": DRIVER_LISTENER, "peer_port": 41001}


def test_connections_are_accepted_in_any_order() -> None:
    made = context("accept", connections=3)
    for number in range(3):
        connection = made.connection(number)
        connection.target_port, connection.peer_port = DRIVER_LISTENER, 41000 + number
    for number, port in ((0, 41002), (1, 41001), (2, 41000)):
        made.pair(made.connection(number), port)
    assert [(c.sock, c.peer_port) for c in made.chosen("all")] == [("2", 41002), ("1", 41001), ("0", 41000)]
    made.pair(None, 41000)
    made.pair(made.connection(0), 5)  # nobody's: the driver makes it up, or it is of another connection
    assert made.connection(0).sock == "2"
