"""The host's side of a KD conversation: bytes in, events and bytes out. No I/O; time is an argument.

The aim is text, and a target that never waits for us: everything it says is ACKed at once, everything it asks is
answered, every stop is continued (docs/reference/kd.md section 3).

Long because it is one state machine: each of its decisions reads what most of the others keep.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, Literal, NamedTuple

from wsklab.qemu.kd import messages, requests
from wsklab.qemu.kd.bugcheck import Report, TextWatch, name
from wsklab.qemu.kd.events import (
    Answered,
    Attached,
    Bugcheck,
    Damaged,
    Event,
    GivenUp,
    ModuleLoaded,
    ModuleUnloaded,
    Prompted,
    Resynced,
    Shutdown,
    TextLine,
)
from wsklab.qemu.kd.link import Delivery, Link
from wsklab.qemu.kd.messages import State, needs_answer
from wsklab.qemu.kd.packet import HEADER, PAYLOAD_MAX, Broken, Decoder, Item, Kind, Packet, Text
from wsklab.qemu.kd.stop import Outcome
from wsklab.qemu.kd.stopped import Stops
from wsklab.qemu.kd.text import PlainText, PrintedText

_PATIENCE: Final = 0.01  # s of silence in what may be a packet; a try of a target under TCG lasts 0.014 s (kd.md 1.5)
_STUTTER: Final = 0.2  # s of silence in mid-packet, as long as no other packet has come in its place: a host under load
_PATIENCE_MAX: Final = 1.0
_PATIENT_AFTER: Final = 4  # disappointments per further _PATIENCE: a guest that stutters in every packet gets through
_RUN_SILENCE: Final = 1.0  # s of silence that end a run of damage
_TEXT_BUGCHECK: Final = 5.0  # s to wait for the bugcheck's stop after its text
_COPIES: Final = 8  # of one packet: a target gives up after 20 tries (kd.md 1.5), so it may have done so
_CHECK: Final = 0.25  # s in which one that has not goes on by itself
_BEFORE: Final = 8  # lines that are kept of each processor, to say what a prompt is about
_PROMPT_ANSWER: Final = b"i"  # ignore (kd.md 1.7)


class Step(NamedTuple):
    """What a call brought: events in order, and bytes to write to the target at once."""

    events: list[Event]
    send: bytes


class Session:
    """One connection to one target. Every `now` is in seconds of one steady clock, and never goes back."""

    def __init__(self, known: Callable[[str], bool] = lambda _text: False) -> None:
        """`known` says whether a line means something to somebody: where a line begins is seen by that, too."""
        self._known = known
        self._decoder = Decoder()
        self._link = Link()
        self._events: list[Event] = []
        self._stops = Stops(self._link, lambda event: self._events.append(event))
        self._printed = PrintedText(known)
        self._plain = PlainText()
        self._speaks_kd = False
        self._heard = 0.0
        self._forget()

    def _forget(self) -> None:
        """Forget what holds for one connection to one boot only."""
        self._attached = False
        self._disappointments = 0
        self._going_down = False
        self._distrusted = 0  # bytes yet to come that may be the rest of a packet of which the beginning is not known
        self._restored = False
        self._lately = 0.0  # when the last packet came
        self._check_at: float | None = None
        self._before: dict[int, deque[str]] = {}
        self._stops.forget()
        self._new_boot()

    def _new_boot(self) -> None:
        self._stops.new_boot()
        self._text_watch = TextWatch()
        self._text_report: Report | None = None
        self._text_at = 0.0

    # --- the calls

    def feed(self, data: bytes, now: float) -> Step:
        """Take in bytes from the target. The answer must reach it within milliseconds (kd.md 1.5)."""
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
        if self._check_at is not None and now >= self._check_at:
            self._check_at = None
            self._stops.break_in(now)
        self._stops.tick(now)
        self._link.tick(now, self._decoder.waiting)
        return self._step()

    @property
    def due(self) -> float | None:
        """When `tick` has something to do; None: not before more bytes come."""
        times = [self._link.due(self._decoder.waiting), self._stops.due, self._check_at]
        if self._decoder.waiting:
            times.append(self._heard + self._patience())
        if self._plain.open:
            times.append(self._heard + _RUN_SILENCE)
        if self._text_report:
            times.append(self._text_at + _TEXT_BUGCHECK)
        return min((time for time in times if time is not None), default=None)

    def resync(self, restored: bool = False) -> None:
        """Begin anew where the target jumped (`loadvm`, reset) or the connection is new: forget what was half said.

        Bytes from before the jump must be discarded by the caller (kd.md 3.5). `restored`: it goes on in the middle,
        maybe of a packet, or in a stop: nothing is believed before its first whole packet, and `resumed` follows.
        """
        self._decoder.clear()
        self._link.resync()
        self._printed = PrintedText(self._known)
        self._plain = PlainText()
        self._forget()
        self._restored, self._distrusted = restored, restored * (HEADER.size + PAYLOAD_MAX + 1)

    def resumed(self, now: float) -> Step:
        """Begin to count silence now that a restored target runs; time in which it stood still was none."""
        self._heard = now
        if self._restored:
            self._restored = False
            self._link.greet(now)
        return self.tick(now)

    def listen(self) -> None:
        """Another debugger has the line: what the target says is heard, what it stops for is not ours to examine."""
        self.resync()
        self._link.listening = True

    def rebooted(self) -> None:
        """Note that the machine was reset: when its numbers start again, it has not given us up."""
        self._going_down = True

    def break_in(self, now: float, survey: bool = False) -> Step:
        """Make the target stop, and so listen to us again; it goes on at once (kd.md 1.5).

        With `survey` a `Located` tells where it was.
        """
        self._stops.break_in(now, survey)
        return self._step()

    @property
    def latencies(self) -> list[float]:
        """See Link."""
        return list(self._link.latencies)

    @property
    def waiting(self) -> bool:
        """A packet is half said, as far as can be seen."""
        return self._decoder.waiting

    @property
    def between(self) -> bool:
        """Nothing is half said: a snapshot that is taken now has no packet in its middle."""
        return not self._decoder.waiting and self._link.between

    def close(self) -> list[Event]:
        """Return what is left as the connection is gone: unfinished lines, a bugcheck of which only the text came."""
        self._stops.end()
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
        base = _STUTTER if self._speaks_kd and not self._decoder.hides else _PATIENCE
        return min(base * (1 + self._disappointments // _PATIENT_AFTER), _PATIENCE_MAX)

    def _take(self, items: list[Item], now: float) -> None:
        for item in items:
            if isinstance(item, Packet):
                self._speaks_kd = True
                self._disappointments = 0
                self._end_run(now)
                self._distrusted = 0
                delivery = self._link.receive(item, now)
                self._suspect_given_up(item, now)
                if self._link.resynced:
                    self._link.resynced = False
                    if self._attached:
                        self._events.append(Resynced("host"))
                if delivery:
                    self._deliver(delivery, now)
            elif isinstance(item, Text):
                text = item.data[self._distrusted :]
                self._distrusted = max(0, self._distrusted - len(item.data))
                if not text:
                    continue
                self._say(self._plain.feed(text, self._speaks_kd), now)
                if self._plain.open:  # an ACK is just a header: it repairs itself
                    self._link.noise(now, resend=self._speaks_kd and self._plain.damaged > HEADER.size)
            elif isinstance(item, Broken):
                self._plain.broken()
                self._link.broken(now)

    def _suspect_given_up(self, packet: Packet, now: float) -> None:
        """See whether a target that had to say that often still speaks by itself: it may have given up."""
        if packet.control or self._link.copies < _COPIES or self._check_at is not None:
            return
        prompt = packet.kind is Kind.DEBUG_IO and needs_answer(packet)
        if not prompt and messages.api_number(packet.payload) & 0xFFFF != State.EXCEPTION:
            self._link.copies, self._check_at = 0, now + _CHECK

    def _end_run(self, now: float) -> None:
        self._say(self._plain.end(), now)
        if self._plain.damaged:
            self._events.append(Damaged(self._plain.damaged))
            self._plain.damaged = 0

    def _say(self, lines: list[TextLine], now: float) -> None:
        for line in lines:
            self._events.append(line)
            if line.processor is None:
                continue
            if line.text.strip() and not self._known(line.text):  # not what a driver prints all the time
                self._before.setdefault(line.processor, deque(maxlen=_BEFORE)).append(line.text.strip())
            if (report := self._text_watch.feed(line.text)) and not self._stops.crashed:
                self._text_report, self._text_at = report, now

    def _flush(self, now: float) -> None:
        self._say(self._printed.flush(), now)

    # --- deliveries

    def _deliver(self, delivery: Delivery, now: float) -> None:
        packet, fresh = delivery.packet, delivery.fresh
        if not self._attached:
            self._attached, self._going_down = True, False
            self._events.append(Attached())
        elif delivery.restarted:
            self._restarted(packet, now)
        self._lately, self._check_at = now, None
        if packet.kind is Kind.MANIPULATE:
            self._examined(self._stops.reply(packet.payload, now))
            return
        self._stops.another()
        if packet.kind is Kind.DEBUG_IO:
            self._debug_io(packet.payload, fresh, now)
        elif packet.kind in (Kind.STATE_CHANGE32, Kind.STATE_CHANGE64):
            self._state_change(packet.payload, fresh, now)
        elif packet.kind is Kind.FILE_IO:
            self._file_io(packet.payload, fresh, now)
        elif fresh:
            self._answered("ignored", f"{packet.kind.name} {packet.payload[:64].hex()}")

    def _restarted(self, packet: Packet, now: float) -> None:
        """Begin the numbers anew with the target: it booted, or had given us up and dropped its text since (kd.md 1.5).

        While it has given up it tells of no module, and nothing of its going down or crash came before.
        """
        self._flush(now)
        self._report_text()
        module = messages.api_number(packet.payload) & 0xFFFF == State.LOAD_SYMBOLS
        if self._going_down or self._stops.crashed or module:
            self._going_down = False
            self._new_boot()
            self._events.append(Resynced("target"))
        else:
            self._events.append(GivenUp(round(now - self._lately, 3)))

    def _answered(self, request: str, detail: str) -> None:
        self._events.append(Answered(request, detail))  # type: ignore[arg-type]

    def _debug_io(self, payload: bytes, fresh: bool, now: float) -> None:
        if printed := messages.parse_print(payload):
            self._say(self._printed.feed(printed.processor, printed.text), now)
        elif prompt := messages.parse_prompt(payload):
            self._link.send(Kind.DEBUG_IO, requests.answer_prompt(prompt, _PROMPT_ANSWER), now)
            if fresh:
                self._flush(now)
                before = tuple(self._before.pop(prompt.processor, ()))
                self._say(self._printed.feed(prompt.processor, prompt.text), now)
                self._flush(now)
                self._before.clear()
                self._events.append(Prompted(prompt.text.decode(errors="replace").strip(), before))
        elif fresh:
            self._answered("ignored", f"DEBUG_IO {payload[:64].hex()}")

    def _file_io(self, payload: bytes, fresh: bool, now: float) -> None:
        request = messages.parse_file_request(payload) or messages.FileRequest(messages.api_number(payload), "")
        self._link.send(Kind.FILE_IO, requests.refuse_file(request), now)
        if fresh:
            self._answered("file", f"0x{request.api:04x} {request.path}")

    def _state_change(self, payload: bytes, fresh: bool, now: float) -> None:
        change = messages.parse_state_change(payload)
        self._stops.stopped(change, fresh)
        if self._link.listening and not (change and change.state == State.LOAD_SYMBOLS):
            return
        if change and change.state == State.EXCEPTION:
            if fresh:
                self._flush(now)
            self._examined(self._stops.exception(change, payload, fresh, now))
            return
        self._stops.resume(requests.HANDLED, now)
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
            self._going_down = True
            self._events.append(Shutdown())
        elif module.unload:
            self._stops.modules.unloaded(module.base)
            self._events.append(ModuleUnloaded(module.path, module.base))
        else:
            self._stops.modules.loaded(module.path, module.base, module.size)
            self._events.append(ModuleLoaded(module.path, module.base, module.size, module.checksum))

    # --- bugchecks

    def _examined(self, outcome: Outcome | None) -> None:
        if outcome and outcome.cause == "bugcheck":
            if outcome.report is None:
                self._report_text()
            elif not self._stops.crashed:
                self._crash(outcome.report, "memory")

    def _report_text(self) -> None:
        if self._text_report and not self._stops.crashed:
            self._crash(self._text_report, "text")
        self._text_report = None

    def _crash(self, report: Report, source: Literal["memory", "text"]) -> None:
        self._stops.crashed, self._text_report = True, None
        modules = self._stops.modules
        where = tuple(modules.name(word) for word in report[1] if modules.find(word))
        self._events.append(Bugcheck(*report, name(report[0]), source, where))
