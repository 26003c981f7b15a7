"""A host that is late, stands still, breaks in and forgets at any moment: the target never waits for it for ever."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import suppress

import pytest
from support.kd_rig import Rig
from support.kd_target import Run

LONGEST = 30.0
"""Seconds (virtual) after which something that the target does is taken for stuck."""


class Jumping(Rig):
    """A rig whose host goes back to a snapshot now and then, as `Machine.restore` does; the target runs on."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        super().__init__(seed, lag=self.random.choice([0, 0, 0.001, 0.01, 0.02, 0.05, 0.2]))
        self.target.endless = True
        self.jumps = sorted(self.random.uniform(0, 1) for _ in range(self.random.randint(1, 4)))
        self.break_ins = sorted(self.random.uniform(0, 2) for _ in range(self.random.randint(0, 2)))
        self.resumes: float | None = None

    def live(self, act: Run) -> bool:
        """Whether the target comes to the end of it."""
        begun = self.now
        for wait in act:
            self._happen()
            self._wait(wait.seconds, wait.blind)
            if self.now > begun + LONGEST:
                return False
        return True

    def _happen(self) -> None:
        if self.jumps and self.now >= self.jumps[0]:
            self.jumps.pop(0)
            self._jump()
        if self.resumes is not None and self.now >= self.resumes:
            self.resumes = None
            self.do(self.session.resumed(self.now))
        if self.resumes is None and self.break_ins and self.now >= self.break_ins[0]:
            self.break_ins.pop(0)
            self.do(self.session.break_in(self.now, survey=True))

    def _jump(self) -> None:
        for end in (self._ours, self._theirs):
            with suppress(BlockingIOError):
                while end.recv(65536):
                    pass
        if self.random.random() < 0.5:
            self.target.fifo.clear()
        self.session.resync(True)
        self.resumes = self.now + self.random.choice([0, 0, 0.005, 0.05, 0.3, 1.0])
        self._readable_since = None


def acts(rig: Jumping) -> Iterator[Run]:
    draw, target = rig.random, rig.target
    yield target.load("a.sys")
    for number in range(draw.randint(1, 40)):
        kind = draw.random()
        if kind < 0.4:
            yield target.print(b"line %d\n" % number)
        elif kind < 0.7:
            yield target.idle(draw.choice([0.003, 0.003, 0.003, 0.1]))
        else:
            yield target.int3() if kind < 0.95 else target.prompt(b"(B)reak? ")
    if draw.random() < 0.5:
        yield target.bugcheck(0xD1, (1, 2, 3, 4))


@pytest.mark.parametrize("first", range(0, 240, 40))
def test_no_target_is_left_waiting(first: int) -> None:
    stuck = []
    for seed in range(first, first + 40):
        rig = Jumping(seed)
        if not all(rig.live(act) for act in acts(rig)):
            stuck.append((seed, rig.lag, rig.events[-2:]))
        rig.close()
    assert stuck == []


def test_a_reply_of_another_time_that_comes_twice_does_not_end_the_greeting() -> None:
    """The host was late with its ACK, so the reply came twice; then it asked for nothing, and the target waited."""
    rig = Rig(lag=0.02)
    rig.session.resync(True)
    rig.do(rig.session.resumed(0.0))
    rig.play(rig.target.from_a_reply(), rig.target.print(b"on\n"), limit=LONGEST)
    rig.close()
    assert rig.lines() == ["on"]
