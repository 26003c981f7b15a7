"""What the peer program answers, as the lab takes it."""

from __future__ import annotations

import json
import time
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any, cast

import pytest

from wsklab.orchestrator.errors import StepError
from wsklab.orchestrator.lab.peer import PeerProcess
from wsklab.orchestrator.observe.journal import Journal
from wsklab.orchestrator.observe.lab_notes import Unread
from wsklab.orchestrator.observe.peer_replies import PeerReply

TIME = 30.0
"""Seconds for an answer on a busy host."""


class Channel:
    """A program that gives one answer to whatever it is asked."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self._answer = answer
        self._said: SimpleQueue[bytes] = SimpleQueue()

    def exec_command(self, program: str) -> None:
        pass

    def sendall(self, request: bytes) -> None:
        self._said.put(json.dumps({"id": json.loads(request)["id"], **self._answer}).encode() + b"\n")

    def recv(self, _most: int) -> bytes:
        return self._said.get()


def process(answer: dict[str, Any], journal: Journal) -> PeerProcess:
    transport = SimpleNamespace(open_session=lambda timeout: Channel(answer))
    return PeerProcess(cast(Any, SimpleNamespace(transport=transport)), journal)


def test_an_answer_has_types_and_is_an_observation() -> None:
    journal = Journal()
    told = process({"ports": [4, 5], "ok": True, "t": 9}, journal).ask("accept_many", time.monotonic() + TIME, 3)
    assert (told.do, told.conn, told.ports, told.port, told.clock) == ("accept_many", 3, (4, 5), None, 9)
    assert journal.wait_for(PeerReply, time.monotonic() + TIME)[0] == told


@pytest.mark.parametrize("answer", [{"ok": True, "port": "x"}, {"ok": True, "colour": "red"}, {"port": 4}])
def test_an_answer_that_is_not_understood_is_kept_and_fails_the_step(answer: dict[str, Any]) -> None:
    journal = Journal()
    with pytest.raises(StepError, match="the peer could not listen: its answer is not understood"):
        process(answer, journal).ask("listen", time.monotonic() + TIME)
    kept, _ = journal.wait_for(Unread, time.monotonic() + TIME)
    assert json.loads(kept.text) == {"id": 1, **answer}


def test_what_the_peer_could_not_do_is_a_step_that_failed() -> None:
    with pytest.raises(StepError, match="the peer could not connect: Connection refused"):
        process({"ok": False, "error": "Connection refused"}, Journal()).ask("connect", time.monotonic() + TIME)
