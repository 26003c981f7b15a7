"""The host's side of a KD conversation: bytes in, events and bytes out. No I/O; time is an argument.

The aim is text, and a target that never waits for us: everything it says is ACKed at once, everything it asks is
answered, every stop is continued (docs/reference/kd.md section 3).
"""

from __future__ import annotations

from typing import Final, NamedTuple

from wsklab.qemu.kd import messages, requests
from wsklab.qemu.kd.bugcheck import Report, TextWatch, name
from wsklab.qemu.kd.events import (
    Answered,
    Attached,
    Bugcheck,
    Damaged,
    Event,
    ExceptionSeen,
    Looping,
    ModuleLoaded,
    ModuleUnloaded,
    Resynced,
    Shutdown,
    TextLine,
)
from wsklab.qemu.kd.link import Delivery, Link
from wsklab.qemu.kd.messages import State, StateChange
from wsklab.qemu.kd.packet import BREAK_IN, HEADER, Broken, Decoder, Item, Kind, Packet, Text
from wsklab.qemu.kd.stop import Dialogue, Kernel, Outcome, examine, resume_status
from wsklab.qemu.kd.text import PlainText, PrintedText

_PATIENCE: Final = 0.01  # s of silence in mid-packet; a try of a target under TCG lasts 0.014 s (kd.md 1.5)
_PATIENCE_MAX: Final = 1.0
_PATIENT_AFTER: Final = 4  # disappointments per further _PATIENCE: a guest that stutters in every packet gets through
_RUN_SILENCE: Final = 1.0  # s of silence that end a run of damage
_TEXT_BUGCHECK: Final = 5.0  # s to wait for the bugcheck's stop after its text
_EXAMINATIONS: Final = 5  # of one stop; a line that eats every CONTEXT must not hold the target
_LOOP: Final = 20  # stops at one place in _LOOP_TIME s (kd.md 3.3)
_LOOP_TIME: Final = 1.0
_PROMPT_ANSWER: Final = b"i"  # ignore (kd.md 1.7)


class Step(NamedTuple):
    """What a call brought: events in order, and bytes to write to the target at once."""

    events: list[Event]
    send: bytes


class Session:
    """One connection to one target. Every `now` is in seconds of one steady clock, and never goes back."""

    def __init__(self) -> None:
        self._decoder = Decoder()
        self._link = Link()
        self._events: list[Event] = []
        self._printed = PrintedText()
        self._plain = PlainText()
        self._speaks_kd = False
        self._continue2 = False
        self._heard = 0.0
        self._forget()

    def _forget(self) -> None:
        """What holds for one connection to one boot only."""
        self._attached = False
        self._disappointments = 0
        self._dialogue: Dialogue | None = None
        self._asked = 0
        self._stop: StateChange | None = None
        self._status = requests.HANDLED
        self._examinations = 0
        self._loop_pc, self._loop_since, self._loop_count = 0, 0.0, 0
        self._new_boot()

    def _new_boot(self) -> None:
        self._kernel: Kernel | None = None
        self._text_watch = TextWatch()
        self._text_report: Report | None = None
        self._text_at = 0.0
        self._crashed = False

    # --- the calls

    def feed(self, data: bytes, now: float) -> Step:
        """Bytes came from the target. The answer must reach it within milliseconds (kd.md 1.5)."""
        self._heard = now
        self._link.heard(now)
        self._take(self._decoder.feed(data), now)
        return self._step()

    def tick(self, now: float) -> Step:
        """Do what is due; to be called at the time `due` says, earlier does no harm."""
        if self._decoder.waiting and now >= self._heard + self._patience():
            self._disappointments += 1
            self._heard = now
            self._take(self._decoder.expire(), now)
        if self._plain.open and now >= self._heard + _RUN_SILENCE:
            self._end_run(now)
        if self._text_report and now >= self._text_at + _TEXT_BUGCHECK:
            self._report_text()
        self._link.tick(now, self._decoder.waiting)
        return self._step()

    @property
    def due(self) -> float | None:
        """When `tick` has something to do; None: not before more bytes come."""
        times = [self._link.due(self._decoder.waiting)]
        if self._decoder.waiting:
            times.append(self._heard + self._patience())
        if self._plain.open:
            times.append(self._heard + _RUN_SILENCE)
        if self._text_report:
            times.append(self._text_at + _TEXT_BUGCHECK)
        return min((time for time in times if time is not None), default=None)

    def resync(self) -> None:
        """The target jumped (`loadvm`, reset) or the connection is new: its numbers and half a packet are of the past.

        Bytes from before the jump must be discarded by the caller (kd.md 3.5).
        """
        self._decoder.clear()
        self._link.resync()
        self._printed = PrintedText()
        self._plain = PlainText()
        self._forget()

    def break_in(self) -> bytes:
        """What makes the target stop, and so listen to us again; the stop is continued as any other (kd.md 1.5)."""
        return BREAK_IN

    def close(self) -> list[Event]:
        """The connection is gone: the unfinished lines, and a bugcheck of which only the text came."""
        self._flush(0.0)
        self._end_run(0.0)
        self._report_text()
        return self._step().events

    # --- items

    def _step(self) -> Step:
        step = Step(self._events, bytes(self._link.out))
        self._events = []
        self._link.out.clear()
        return step

    def _patience(self) -> float:
        return min(_PATIENCE * (1 + self._disappointments // _PATIENT_AFTER), _PATIENCE_MAX)

    def _take(self, items: list[Item], now: float) -> None:
        for item in items:
            if isinstance(item, Packet):
                self._speaks_kd = True
                self._disappointments = 0
                self._end_run(now)
                delivery = self._link.receive(item, now)
                if self._link.resynced:
                    self._link.resynced = False
                    if self._attached:
                        self._events.append(Resynced("host"))
                if delivery:
                    self._deliver(delivery, now)
            elif isinstance(item, Text):
                self._say(self._plain.feed(item.data, self._speaks_kd), now)
                if self._plain.open:  # an ACK is just a header: it repairs itself
                    self._link.noise(now, resend=self._speaks_kd and self._plain.damaged > HEADER.size)
            elif isinstance(item, Broken):
                self._plain.broken()
                self._link.broken(now)

    def _end_run(self, now: float) -> None:
        self._say(self._plain.end(), now)
        if self._plain.damaged:
            self._events.append(Damaged(self._plain.damaged))
            self._plain.damaged = 0

    def _say(self, lines: list[TextLine], now: float) -> None:
        for line in lines:
            self._events.append(line)
            if line.processor is not None and (report := self._text_watch.feed(line.text)) and not self._crashed:
                self._text_report, self._text_at = report, now

    def _flush(self, now: float) -> None:
        self._say(self._printed.flush(), now)

    # --- deliveries

    def _deliver(self, delivery: Delivery, now: float) -> None:
        packet, fresh = delivery.packet, delivery.fresh
        if not self._attached:
            self._attached = True
            self._events.append(Attached())
        elif delivery.restarted:
            self._flush(now)
            self._report_text()
            self._new_boot()
            self._events.append(Resynced("target"))
        if packet.kind is Kind.MANIPULATE:
            self._reply(packet.payload, now)
            return
        self._dialogue = None
        if packet.kind is Kind.DEBUG_IO:
            self._debug_io(packet.payload, fresh, now)
        elif packet.kind in (Kind.STATE_CHANGE32, Kind.STATE_CHANGE64):
            self._state_change(packet.payload, fresh, now)
        elif packet.kind is Kind.FILE_IO:
            self._file_io(packet.payload, fresh, now)
        elif fresh:
            self._answered("ignored", f"{packet.kind.name} {packet.payload[:64].hex()}")

    def _answered(self, request: str, detail: str) -> None:
        self._events.append(Answered(request, detail))  # type: ignore[arg-type]

    def _debug_io(self, payload: bytes, fresh: bool, now: float) -> None:
        if printed := messages.parse_print(payload):
            self._say(self._printed.feed(printed.processor, printed.text), now)
        elif prompt := messages.parse_prompt(payload):
            self._link.send(Kind.DEBUG_IO, requests.answer_prompt(prompt, _PROMPT_ANSWER), now)
            if fresh:
                self._say(self._printed.feed(prompt.processor, prompt.text), now)
                self._flush(now)
                self._answered("prompt", prompt.text.decode(errors="replace"))
        elif fresh:
            self._answered("ignored", f"DEBUG_IO {payload[:64].hex()}")

    def _file_io(self, payload: bytes, fresh: bool, now: float) -> None:
        request = messages.parse_file_request(payload) or messages.FileRequest(messages.api_number(payload), "")
        self._link.send(Kind.FILE_IO, requests.refuse_file(request), now)
        if fresh:
            self._answered("file", f"0x{request.api:04x} {request.path}")

    def _state_change(self, payload: bytes, fresh: bool, now: float) -> None:
        self._examinations = 0 if fresh else self._examinations + 1
        self._stop = change = messages.parse_state_change(payload)
        if change and change.state == State.EXCEPTION:
            self._exception(change, payload, fresh, now)
            return
        self._continue(requests.HANDLED, now)
        if not fresh:
            return
        if change and change.state == State.LOAD_SYMBOLS:
            self._module(payload, now)
        elif change and change.state == State.COMMAND_STRING:
            text = payload[messages.STATE_CHANGE_SIZE :].split(b"\0")[0]
            self._answered("command string", text.decode(errors="replace"))
        else:
            self._answered("unknown stop", payload[:64].hex())

    def _module(self, payload: bytes, now: float) -> None:
        module = messages.parse_module(payload)
        assert module  # as long as the state change, which was parsed
        if module.shutdown:
            self._flush(now)
            self._events.append(Shutdown())
        elif module.unload:
            self._events.append(ModuleUnloaded(module.path, module.base))
        else:
            self._events.append(ModuleLoaded(module.path, module.base, module.size, module.checksum))

    def _exception(self, change: StateChange, payload: bytes, fresh: bool, now: float) -> None:
        exception = messages.parse_exception(payload)
        assert exception
        dialogue = examine(change, exception, self._kernel)
        if self._examinations > _EXAMINATIONS:
            self._continue(resume_status(exception.code), now)
        else:
            self._advance(dialogue, None, now)
        if fresh:
            self._flush(now)
            self._events.append(
                ExceptionSeen(
                    exception.code,
                    exception.first_chance,
                    change.pc,
                    exception.address,
                    exception.information,
                    change.processor,
                    change.thread,
                )
            )
            self._count_loop(change.pc, now)

    def _count_loop(self, pc: int, now: float) -> None:
        if pc != self._loop_pc or now > self._loop_since + _LOOP_TIME:
            self._loop_pc, self._loop_since, self._loop_count = pc, now, 0
        self._loop_count += 1
        if self._loop_count == _LOOP:
            self._events.append(Looping(pc, _LOOP))

    # --- the dialogue of a stop

    def _reply(self, payload: bytes, now: float) -> None:
        reply = messages.parse_reply(payload)
        if not reply:
            return
        if reply.api == requests.Api.CONTINUE and not reply.ok and not self._continue2:
            self._continue2 = True  # refused: a Continue has no reply (kd.md 2.3)
            self._continue(self._status, now)
        elif self._dialogue and reply.api == self._asked:
            self._advance(self._dialogue, reply, now)

    def _advance(self, dialogue: Dialogue, reply: messages.Reply | None, now: float) -> None:
        try:
            request = dialogue.send(reply) if reply else next(dialogue)
        except StopIteration as end:
            self._dialogue = None
            outcome: Outcome = end.value
            self._kernel = outcome.kernel
            self._continue(outcome.status, now)
            if outcome.stopped_for_bugcheck:
                self._report(outcome.report)
            return
        self._dialogue = dialogue
        self._asked = messages.api_number(request)
        self._link.send(Kind.MANIPULATE, request, now, final=False)

    def _continue(self, status: int, now: float) -> None:
        stop = self._stop
        self._status = status
        cpu = requests.Cpu(stop.level, stop.processor) if stop else requests.Cpu()
        if self._continue2 and stop:
            payload = requests.continue2(cpu, status, stop.dr7, stop.x86)
        else:
            payload = requests.continue_(cpu, status)
        self._link.send(Kind.MANIPULATE, payload, now)

    # --- bugchecks

    def _report(self, report: Report | None) -> None:
        if report is None:
            self._report_text()
        elif not self._crashed:
            self._crashed = True
            self._text_report = None
            self._events.append(Bugcheck(*report, name(report[0]), "memory"))

    def _report_text(self) -> None:
        if self._text_report and not self._crashed:
            self._crashed = True
            self._events.append(Bugcheck(*self._text_report, name(self._text_report[0]), "text"))
        self._text_report = None
