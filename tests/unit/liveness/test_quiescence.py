"""Whether anything can still come: whoever has something to do, or cannot be asked, makes the wait last."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsklab.orchestrator.errors import LabError
from wsklab.orchestrator.guest.agent import AgentError, AgentSilent
from wsklab.orchestrator.liveness.quiescence import CALLBACK, NOTHING, Quiescence, active, sockets
from wsklab.orchestrator.observe.journal import Journal, MachineLost
from wsklab.orchestrator.observe.lab_notes import PeerGone, Silence
from wsklab.orchestrator.observe.machine_events import Died
from wsklab.orchestrator.observe.observation import Loss
from wsklab.qemu.errors import DeadlinePassed
from wsklab.qemu.wire.control import Traffic

HEADING = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"


def row(port: int = 0x4E20, timer: int = 0, unacknowledged: int = 0, state: int = 1, unread: int = 0) -> str:
    return (
        f"   1: 0A4D000A:{port:04X} 144D000A:2710 {state:02X} {unacknowledged:08X}:{unread:08X} {timer:02X}:000AFC40 "
        "00000000     0        0 10349 3 00000000caf6c1bd 20 5 13 10 -1\n"
    )


@pytest.mark.parametrize(
    ("rows", "still"),
    [
        ("", False),
        (row(), False),
        (row(timer=1), True),  # retransmission
        (row(timer=2), True),  # keepalive, FIN_WAIT2
        (row(timer=3, state=6), False),  # TIME_WAIT
        (row(timer=4), True),  # zero window probe
        (row(unacknowledged=1), True),
        (row() + row(unacknowledged=0xFFFFFFFF), True),
        (row(port=22, timer=2, unacknowledged=5), False),  # the lab's own session
        (row()[:30], True),  # cut short
        ("nonsense\n", True),
        (row() * 200, True),  # as long as the agent's longest answer
    ],
)
def test_what_a_kernel_still_has_to_do(rows: str, still: bool) -> None:
    assert active(HEADING + rows) is still


def test_a_table_that_could_not_be_read_counts_as_active() -> None:
    assert active("")


WORD = st.integers(0, 0xFFFFFFFF)


@given(st.lists(st.tuples(st.integers(0, 0xFFFF), st.integers(0, 4), WORD, WORD)))
def test_every_row_is_read(rows: list[tuple[int, int, int, int]]) -> None:
    table = HEADING + "".join(row(port, timer, unacked, unread=unread) for port, timer, unacked, unread in rows)
    assert [(s.port, s.timer, s.unacknowledged, s.unread) for s in sockets(table)] == rows


@given(st.text())
def test_anything_else_is_no_table_and_no_crash(text: str) -> None:
    assert active(text)


@dataclass
class Fake:
    """A lab in which nothing is under way, but for what a test says; lists are taken from look to look."""

    kind: str = "standin"
    foreign: object = None
    irps: list[int] = field(default_factory=lambda: [0])
    callbacks: int = 0
    lines: list[int] = field(default_factory=lambda: [7])
    segments: list[int] = field(default_factory=lambda: [30])
    waiting: int = 0
    table: str = HEADING + row()
    peer_table: str | Exception = HEADING
    unanswered: int = 0
    excused: bool = False
    pending: bool = False
    barrier: Exception | None = None
    state: Exception | None = None

    def reached(self, waiting: int = 0) -> str | None:
        journal = Journal()
        target = SimpleNamespace(
            state=lambda: (
                self._say(self.state)
                or SimpleNamespace(
                    irps=self._next(self.irps), callbacks=self.callbacks, next_seq=self._next(self.lines)
                )
            ),
            agent=SimpleNamespace(get=lambda _path: self.table.encode()),
        )
        wire = SimpleNamespace(
            traffic=lambda: Traffic(self._next(self.segments), self.waiting),
            barrier=lambda _deadline: self._say(self.barrier),
        )
        peer = SimpleNamespace(ssh=SimpleNamespace(run=lambda _command, _timeout: self._say(self.peer_table)))
        lab: Any = SimpleNamespace(
            guest=SimpleNamespace(kind=self.kind),
            foreign=self.foreign,
            slowness=0.001,
            journal=journal,
            target=target,
            wire=wire,
            peer=peer,
            excused=lambda _party: self.excused,
        )
        program: Any = SimpleNamespace(unanswered=self.unanswered)
        return Quiescence(lab, program, lambda: None, self.pending).reached(waiting)

    @staticmethod
    def _say(answer: Any) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    @staticmethod
    def _next(values: list[int]) -> int:
        return values.pop(0) if len(values) > 1 else values[0]


def test_nothing_can_come_when_nobody_has_anything_to_do() -> None:
    assert Fake().reached() == NOTHING


def test_a_request_of_the_peer_that_waits_itself_keeps_nobody_waiting() -> None:
    assert Fake(unanswered=1).reached(waiting=1) == NOTHING
    assert Fake(unanswered=2).reached(waiting=1) is None, "one before it is still at work"


def test_an_irp_is_quiet_while_nothing_has_come_that_could_complete_it() -> None:
    assert Fake(irps=[2]).reached() == NOTHING
    assert Fake(irps=[2], pending=True).reached() is None, "the provider lets it wait"
    assert Fake(irps=[1], table=HEADING + row(unread=1)).reached() is None, "its FIN is there"
    assert Fake(peer_table=HEADING + row(unread=9)).reached() == NOTHING, "the peer need not read"
    assert Fake(table=HEADING + row(unread=9)).reached() == NOTHING, "nobody has asked for it"


def test_a_callback_that_does_not_return_keeps_everything_else_from_coming() -> None:
    assert Fake(callbacks=1, irps=[2], table=HEADING + row(unread=1)).reached() == CALLBACK
    assert Fake(callbacks=1, lines=[7, 8]).reached() is None, "it was at work"
    assert Fake(callbacks=1, table=HEADING + row(timer=1)).reached() is None


@pytest.mark.parametrize(
    "fake",
    [
        Fake(kind="windows"),
        Fake(foreign=object()),  # they cannot be asked all of it
        Fake(waiting=1),
        Fake(unanswered=1),
        Fake(excused=True),
        Fake(lines=[7, 7, 8]),  # the driver has said something between two looks
        Fake(segments=[30, 30, 31]),  # a segment has passed
        Fake(table=HEADING + row(timer=1)),
        Fake(peer_table=HEADING + row(timer=2)),
        Fake(peer_table=LabError("'cat' did not end")),
        Fake(barrier=DeadlinePassed("no answer")),
    ],
)
def test_whoever_has_something_to_do_or_cannot_be_asked_makes_the_wait_last(fake: Fake) -> None:
    assert fake.reached() is None


@pytest.mark.parametrize("error", [AgentSilent("no answer"), MachineLost("gone"), AgentError("gone", 5)])
def test_a_target_that_gives_no_answer_is_no_quiet_one(error: Exception) -> None:
    with pytest.raises(type(error)):
        Fake(state=error).reached()


def test_loss_is_told_to_everybody_who_waits_and_only_once() -> None:
    journal, told = Journal(), list[Loss]()
    journal.on_loss(told.append)
    first = PeerGone(t=1, machine="peer", detail="no answer")
    journal.give_up(first)
    journal.give_up(Silence(t=2, machine="target", detail="its consequence"))
    journal.add(Died(t=3, machine="peer", detail="its consequence"))
    assert told == [first]
    assert journal.lost == first
    with pytest.raises(MachineLost, match="no answer"):
        journal.wait(lambda _: False, float("inf"))
