"""A target that stands on an exception: what it is asked, what is told of it, and that it goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from wsklab.qemu.kd import messages, requests
from wsklab.qemu.kd.events import Event, ExceptionSeen, Located, Looping, Place, Standing
from wsklab.qemu.kd.link import Link
from wsklab.qemu.kd.messages import StateChange
from wsklab.qemu.kd.modules import Modules
from wsklab.qemu.kd.packet import BREAK_IN, Kind
from wsklab.qemu.kd.stop import Dialogue, Frozen, Kernel, Known, Outcome, cause_of, examine, resume_status

_EXAMINATIONS: Final = 5  # of one stop; a line that eats every CONTEXT must not hold the target
_LOOP: Final = 20  # stops at one place in _LOOP_TIME s (kd.md 3.3)
_LOOP_TIME: Final = 1.0
_BREAK_IN_AGAIN: Final = 1.0  # s without a stop; a packet right behind the byte can swallow it (kd.md 1.4)
_BREAK_INS: Final = 3


class Stops:
    """The stops of one target, one after the other. `tell` gets events; what is to be sent goes to the link."""

    def __init__(self, link: Link, tell: Callable[[Event], None]) -> None:
        self._link = link
        self._tell = tell
        self._continue2 = False
        self.modules = Modules()
        self.forget()

    def forget(self) -> None:
        """Forget what holds for one connection to one boot; a restored target still has its modules."""
        self._dialogue: Dialogue | None = None
        self._asked = 0
        self._change: StateChange | None = None
        self._seen: ExceptionSeen | None = None  # not told yet
        self._status = requests.HANDLED
        self._examinations = 0
        self._loop_pc, self._loop_since, self._loop_count = 0, 0.0, 0
        self._break_ins = 0  # that may still be tried
        self._break_in_at: float | None = None
        self._expected = 0  # stops by break-ins of ours that may still come
        self._survey = False
        self.new_boot()

    def new_boot(self) -> None:
        self._kernel: Kernel | None = None
        self.crashed = False

    # --- breaking in

    def break_in(self, now: float, survey: bool = False) -> None:
        """Make the target stop, and so listen to us again; the stop is continued as any other (kd.md 1.5)."""
        self._break_ins = _BREAK_INS
        self._survey |= survey
        self._break(now)

    def _break(self, now: float) -> None:
        self._link.out += BREAK_IN
        self._break_ins -= 1
        self._expected += 1
        self._break_in_at = now

    @property
    def due(self) -> float | None:
        """When `tick` has something to do."""
        return None if self._break_in_at is None else self._break_in_at + _BREAK_IN_AGAIN

    def tick(self, now: float) -> None:
        if self._break_in_at is not None and now >= self._break_in_at + _BREAK_IN_AGAIN:
            if self._break_ins:
                self._break(now)
            else:
                self._break_in_at = None

    # --- stops

    def another(self) -> None:
        """Note that the target has gone on to something else."""
        self._dialogue = None
        self.end()

    def end(self) -> None:
        """Tell what is known of a stop whose examination did not come to its end."""
        if self._seen:
            self._tell(self._seen)
            self._seen = None

    def stopped(self, change: StateChange | None, fresh: bool) -> None:
        """Note that a stop of any kind begins, or comes again."""
        self._examinations = 0 if fresh else self._examinations + 1
        self._change = change

    def exception(self, change: StateChange, payload: bytes, fresh: bool, now: float) -> Outcome | None:
        """Examine it. The outcome, where there was nothing to ask."""
        exception = messages.parse_exception(payload)
        assert exception
        if fresh:
            self._seen = ExceptionSeen(
                exception.code,
                exception.first_chance,
                change.pc,
                exception.address,
                exception.information,
                change.processor,
                change.thread,
                cause_of(change, exception),
                self.modules.name(change.pc),
            )
            self._count_loop(change.pc, now)
        if self._examinations > _EXAMINATIONS:
            self.end()
            self.resume(resume_status(exception.code), now)
            return None
        known = Known(self._kernel, self.crashed, self._expected > 0, self._survey)
        return self._advance(examine(change, exception, known), None, now)

    def reply(self, payload: bytes, now: float) -> Outcome | None:
        """Return the answer to a request; the outcome of the examination that it ends."""
        reply = messages.parse_reply(payload)
        if not reply:
            return None
        if reply.api == requests.Api.CONTINUE and not reply.ok and not self._continue2:
            self._continue2 = True  # refused: a Continue has no reply (kd.md 2.3)
            self.resume(self._status, now)
        elif self._dialogue and reply.api == self._asked:
            return self._advance(self._dialogue, reply, now)
        return None

    def resume(self, status: int, now: float) -> None:
        """Let the target go on."""
        change = self._change
        self._status = status
        cpu = requests.Cpu(change.level, change.processor) if change else requests.Cpu()
        if self._continue2 and change:
            payload = requests.continue2(cpu, status, change.dr7, change.x86)
        else:
            payload = requests.continue_(cpu, status)
        self._link.send(Kind.MANIPULATE, payload, now)

    def _advance(self, dialogue: Dialogue, reply: messages.Reply | None, now: float) -> Outcome | None:
        try:
            request = dialogue.send(reply) if reply else next(dialogue)
        except StopIteration as end:
            self._dialogue = None
            outcome: Outcome = end.value
            self._finish(outcome, now)
            return outcome
        self._dialogue = dialogue
        self._asked = messages.api_number(request)
        self._link.send(Kind.MANIPULATE, request, now, final=False)
        return None

    def _finish(self, outcome: Outcome, now: float) -> None:
        """Tell what was found, and let the target go on, unless it is at its end."""
        self._kernel = outcome.kernel
        if self._seen:
            self._seen = replace(self._seen, cause=outcome.cause)
        self.end()
        if outcome.cause == "break-in":
            self._break_in_at = None
            self._expected -= 1
            if self._survey:
                self._survey = False
                self._tell(Located(tuple(self._place(one) for one in outcome.frozen)))
        if not outcome.stand:
            self.resume(outcome.status, now)
            return
        self._link.stand()
        if self._change:
            self._tell(Standing(self._change.pc))

    def _place(self, frozen: Frozen) -> Place:
        return Place(frozen.processor, self.modules.name(frozen.pc), self.modules.drivers_of(frozen.stack))

    def _count_loop(self, pc: int, now: float) -> None:
        if pc != self._loop_pc or now > self._loop_since + _LOOP_TIME:
            self._loop_pc, self._loop_since, self._loop_count = pc, now, 0
        self._loop_count += 1
        if self._loop_count == _LOOP:
            self._tell(Looping(pc, _LOOP))
