"""The steps of a scenario for a captured connection: who does what, in the order of its turns. Pure.

What a program does to get an ending's segments is the ending table's; its own scenarios do the same.
"""

from __future__ import annotations

from typing import Literal

from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.field.endings.connections import Connection
from wsklab.orchestrator.field.endings.resets import FOREIGN
from wsklab.orchestrator.field.endings.story import SECOND, End
from wsklab.orchestrator.field.scenarios import plan as parts
from wsklab.orchestrator.field.scenarios.course import LONGEST_PAUSE, PAUSE, Turn, turns
from wsklab.orchestrator.field.scenarios.plan import MOST_BYTES, Plan

MOST_STEPS = 200
FITS = 30_000
"""Bytes that the other side takes without reading."""

_UNREAD = frozenset({"C10", "C11", "C13", "C49", "C55"})
_KILLED = {"C12": "kill", "C13": "kill", "C14": "kill", "C15": "exit", "C19": "destroy"}
_FORGED = frozenset({"C58", "C59", "C60", "C61", "C63"})


class Maker:
    """Makes the plan for one connection; `number` is the row of the ending table that is to come out."""

    def __init__(self, one: Connection, number: str, real_time: bool) -> None:
        self.one, self.number, self.real_time = one, number, real_time
        self.story, self.turns, self.plan_ = one.story, turns(one), Plan()
        self.frame = one.story.first_frame
        self.told = False  # the driver has been told of an end
        self.peer_ended = False
        self.unread = 0
        self.crossed = False
        self.given_up = number == "C35" and any(
            t.driver and t.kind == "rst" and t.end is not None and t.end.bare for t in self.turns
        )

    def plan(self) -> Plan:
        """Make all steps."""
        plan = self.plan_
        if self.number in ("C21", "C22", "C23", "C28"):
            parts.not_opened(plan, self.number, self.frame)
            return plan
        parts.before_opening(plan, self.number)
        lengths = [turn.length for turn in self.turns if turn.kind == "data" and not turn.driver]
        parts.opening(plan, self.story, self.number, self.story.opener == self.one.driver, lengths)
        silent = not any(turn.driver for turn in self.turns)
        parts.after_opening(
            plan, self.number, self.story.halves[self.one.driver], self.story.halves[1 - self.one.driver], silent
        )
        for index, turn in enumerate(self.turns):
            self._pause(turn)
            if turn.kind == "data":
                self._data(turn, self.turns[index + 1 :])
            elif turn.kind == "syn":
                plan.add("wire: {forge: {segment: syn, from: peer}}", f"{turn.frames}: SYN within the connection")
                plan.add("lab: settle")
            elif turn.kind == "icmp":
                plan.add("wire: {icmp: {code: host, to: driver}}", f"{turn.frames}: ICMP unreachable")
                plan.add("lab: settle")
            elif turn.driver:
                self._driver_end(turn)
            else:
                self._peer_end(turn, self.turns[index + 1 :])
        self._after()
        if len(plan.steps) > MOST_STEPS:
            raise UsageError("the connection has more turns than a scenario may have steps; choose another.")
        return plan

    # -- turns --------------------------------------------------------------------------------------------------------

    def _pause(self, turn: Turn) -> None:
        seconds = turn.gap / SECOND
        if self.real_time and turn.gap > PAUSE // 4:
            self.plan_.add(f"lab: {{wait: {min(seconds, 600):.3f}}}", f"before {turn.frames}")
        elif turn.gap >= PAUSE and turn.kind != "data" and self.number not in ("C44", "C31", "C30", "C45", "C43"):
            self.plan_.add(f"lab: {{wait: {min(seconds, LONGEST_PAUSE):.1f}}}", f"{seconds:.1f} s before {turn.frames}")

    def _data(self, turn: Turn, rest: list[Turn]) -> None:
        plan, length = self.plan_, min(turn.length, MOST_BYTES)
        if turn.length > MOST_BYTES:
            plan.notes.append(f"{turn.length:,} bytes ({turn.frames}) are cut to {MOST_BYTES:,}")
        why = f"{turn.frames}: {turn.length:,} bytes"
        if turn.driver:
            self._driver_data(turn, length, why, rest)
            return
        if self.number in ("C47", "C48"):
            if not any("fill" in step for step, _ in plan.steps):
                plan.add("peer: fill", why)
            return
        gives_up = self.number == "C45" and (turn.lost > 0 or not turn.acked)
        if turn.lost and not gives_up:
            count = f", count: {min(turn.lost, 5)}" if turn.lost > 1 else ""
            plan.add(f"wire: {{drop: {{from: peer, segment: data{count}}}}}", f"sent again {turn.lost} times")
        if gives_up:
            plan.add("wire: {blackhole: driver}")
            plan.add(f"peer: {{send: {{length: {length}, wait: false}}}}", why)
            plan.add("lab: {wait: 3}", "until it gives up")
            plan.add("wire: heal")
        elif turn.with_fin:
            plan.add(f"peer: {{send: {{length: {length}, cork: true}}}}", f"{why}, with the FIN")
        else:
            send = f"{{length: {length}, wait: false}}" if length > FITS else f"{length}"
            plan.add(f"peer: {{send: {send}}}", why)
            following = rest[0] if rest else None
            if following is None or following.driver or following.gap >= PAUSE:
                plan.add("lab: settle")

    def _driver_data(self, turn: Turn, length: int, why: str, rest: list[Turn]) -> None:
        plan, number = self.plan_, self.number
        after = any(t.kind in ("fin", "rst") and not t.driver for t in self.turns[: self.turns.index(turn)])
        acked = turn.acked
        data_left = any(t.kind == "data" and t.driver for t in rest)
        if after and self._to_be_told():
            plan.add("driver: {await: disconnect}")
            self.told = True
        if not data_left and self.given_up:
            plan.add("driver: {max-retransmit: 3}", "it gives up sooner")
            plan.add("lab: {pause: peer}", "what follows is not answered")
            plan.add(f"driver: {{send: {{length: {length}, wait: false}}}}", why)
            plan.add("driver: {await: receive, within: 60}", f"sent again {turn.lost} times")
            plan.add("lab: {resume: peer}")
            return
        if turn.lost and acked:
            count = f", count: {min(turn.lost, 5)}" if turn.lost > 1 else ""
            plan.add(f"wire: {{drop: {{from: driver, segment: data{count}}}}}", f"sent again {turn.lost} times")
        reset = next((t for t in rest if t.kind == "rst" and not t.driver), None)
        if not data_left and number in ("C43", "C45") and reset is not None:
            plan.add(f"driver: {{send: {length}, expect: any}}", why)
            return
        if not data_left and number in ("C33", "C32", "C41") and reset is not None and not after:
            cause = "wire: {firewall: {to: driver}}" if number == "C41" else "peer: vanish"
            plan.add(cause, "it shows in the answer to what follows")
            plan.add(f"driver: {{send: {length}, expect: any}}", why)
            return
        if not data_left and number in ("C30", "C35", "C37", "C38", "C40") and not acked:
            plan.add("wire: {blackhole: both}", "what follows is not answered")
            plan.add(f"driver: {{send: {{length: {length}, wait: false}}}}", why)
            plan.add("lab: {wait: 2}", f"sent again {turn.lost} times")
            return
        if not data_left and number in ("C49", "C50"):
            if number == "C50":
                plan.add("peer: freeze", "the peer does not read")
            plan.add("driver: {send: {length: 8000000, wait: false}}", f"{why}: more than the peer's window takes")
            self.unread += length
            if number == "C49":
                plan.add("peer: {await: readable}", "the peer does not read it")
            return
        if number == "C51" and not data_left:
            plan.add(f"driver: {{send: {{length: {max(length, 1 << 22)}, wait: false}}}}", f"{why}, and more to come")
            plan.add("peer: {await: readable}")
            return
        outcome = ", expect: any" if after or not acked else ""
        if length > FITS:  # it is done when the peer has read it
            plan.add(f"driver: {{send: {{length: {length}, wait: false}}}}", why)
        else:
            plan.add(f"driver: {{send: {length}{outcome}}}", why)
        if after:
            shut = any("shutdown: write" in step for step, _ in plan.steps)
            if shut and acked:
                plan.add(f"peer: {{receive: {length}}}")
            elif reset is not None:
                plan.add("wire: {await: {from: peer, segment: rst}}", reset.frames)
        elif number in _UNREAD and not data_left:
            self.unread += length
            plan.add("peer: {await: readable}", "the peer does not read it")
        else:
            plan.add(f"peer: {{receive: {length}}}")

    def _driver_end(self, turn: Turn) -> None:
        plan, number = self.plan_, self.number
        last_of_all = self.peer_ended and turn.kind == "rst"
        why = f"{turn.frames}: {turn.end.segment.words if turn.end else turn.kind.upper()}"
        if self.crossed or (self.given_up and turn.kind == "rst"):
            return
        if number in ("C52", "C56", "C57") and not self.peer_ended:
            self._crossing(turn, why)
            return
        if last_of_all:
            if self._to_be_told():
                plan.add("driver: {await: disconnect}")
                self.told = True
            plan.add("driver: close", why)
            if plan.faulty or plan.peer[-1:] == ["fin"]:  # after an RST there is nothing left to abort
                plan.driver.append("rst")
            return
        if self.peer_ended and self._to_be_told():
            plan.add("driver: {await: disconnect}")
            self.told = True
        if turn.kind == "fin":
            plan.add("driver: {disconnect: {how: graceful, wait: false}}", why)
            if not self.peer_ended and turn.end is not None and turn.end.acked and number != "C50":
                plan.add("peer: {await: readable}" if self.unread else "peer: {await: eof}")
            if self.unread:
                plan.add("wire: {await: {from: driver, segment: fin}}")
        elif number in ("C31",):
            return
        else:
            plan.add("driver: {disconnect: abortive, expect: any}", why)
        if turn.kind not in plan.driver:
            plan.driver.append(turn.kind)

    def _crossing(self, turn: Turn, why: str) -> None:
        """Let the driver's end leave while the peer's is on its way: the wire holds that back."""
        plan = self.plan_
        held = next((t for t in self.turns if not t.driver and t.kind in ("fin", "rst")), None)
        word = held.kind if held is not None else "fin" if self.number != "C57" else "rst"
        frames = f"{held.frames}: " if held is not None else ""
        plan.add(f"wire: {{hold: {{from: peer, segment: {word}}}}}", f"{frames}it is on its way")
        plan.add("peer: {shutdown: write}" if word == "fin" else "peer: {close: {linger: 0}}")
        plan.add(f"wire: {{await: {{from: peer, segment: {word}}}}}")
        if turn.kind == "fin":
            plan.add("driver: {disconnect: {how: graceful, wait: false}}", why)
        else:
            plan.add("driver: {disconnect: abortive, expect: any}", why)
        plan.add(f"wire: {{await: {{from: driver, segment: {turn.kind}}}}}")
        plan.add("wire: release")
        plan.driver.append(turn.kind)
        plan.peer.append(word)
        self._expect("set" if word == "rst" else "clear", optional=True)
        self.peer_ended = self.crossed = True

    def _peer_end(self, turn: Turn, rest: list[Turn]) -> None:
        number, end = self.number, turn.end
        if end is None or (self.peer_ended and (turn.kind == "fin" or self.crossed)):
            return
        first_driver = next((t for t in rest if t.driver and t.kind in ("fin", "rst")), None)
        if number in ("C52", "C56", "C57") and first_driver is not None:
            self._crossing(first_driver, f"{first_driver.frames}")
            return
        why = f"{turn.frames}: {end.segment.words}"
        foreign = self.one.ending.origins[self.story.ends.index(end)].word == FOREIGN
        if foreign and (end.made or number in _FORGED or end.offset):
            self._forge(end, why)
            return
        if turn.kind == "fin":
            self._peer_fin(turn, end, rest, why)
        else:
            self._peer_rst(end, why)
        self.peer_ended = True

    def _expect(self, abortive: Literal["set", "clear"], optional: bool = False) -> None:
        """Expect a call; behind one that need not come none has to, as the language has it."""
        optional = optional or any("optional" in call for call in self.plan_.calls)
        self.plan_.calls.append(f"{{abortive: {abortive}{', optional: true' if optional else ''}}}")

    def _forge(self, end: End, why: str) -> None:
        word = "fin" if end.word == "fin" else "rst" if end.bare else "rst-ack"
        offset = f", offset: {end.offset}" if end.offset else ""
        self.plan_.add(f"wire: {{forge: {{segment: {word}, from: peer{offset}}}}}", f"{why}, not the peer's own")
        if not end.offset:
            self.plan_.peer.append(end.word)
            self._expect("set" if end.word == "rst" else "clear", optional=bool(self.plan_.driver))
            self.peer_ended = True
        else:
            self.plan_.add("lab: settle")
            self.plan_.faulty = True

    def _peer_fin(self, turn: Turn, end: End, rest: list[Turn], why: str) -> None:
        plan, number = self.plan_, self.number
        if number == "C43":
            plan.add("wire: {blackhole: peer}", "the peer's FIN is lost")
            plan.add("peer: close", why)
            plan.add("lab: {wait: 3}", f"sent {end.copies + 1} times")
            plan.add("wire: heal")
            return
        if turn.lost and end.acked:
            plan.add("wire: {drop: {from: peer, segment: fin}}", f"sent again {turn.lost} times")
        later = [t for t in rest if t.driver and t.kind == "data"]
        reset = next((t for t in rest if not t.driver and t.kind == "rst"), None)
        half = number in ("C02", "C16") or (later and reset is None)
        if number == "C03":
            plan.add("peer: {shutdown: both}", why)
        elif half:
            plan.add("peer: {shutdown: write}", why)
        elif number == "C06":
            plan.add("peer: {close: {linger: 5}}", why)
        elif number in ("C12", "C15"):
            plan.add(f"peer: {_KILLED[number]}", why)
        else:
            plan.add("peer: close", why)
        if number == "C47":
            plan.add("lab: settle")
            if end.acked:
                plan.add("driver: {receive: {count: 64, length: 65536}}", "the driver reads at last")
        plan.peer.append("fin")
        if number == "C46":
            plan.add("lab: {wait: 1}", f"sent {end.copies + 1} times, not answered")
            return
        self._expect("clear", optional=bool(plan.driver))

    def _peer_rst(self, end: End, why: str) -> None:
        plan, number = self.plan_, self.number
        if self.peer_ended and number != "C16":  # it answers the driver, as the peer's stack will
            if plan.faulty and not plan.calls:  # the first one did not arrive
                self._expect("set")
            if "rst" not in plan.peer:
                plan.peer.append("rst")
                self._expect("set", optional=True)
            return
        if end.damaged or (not end.arrived and not end.copies):
            fault = "corrupt" if end.damaged else "drop"
            plan.add(f"wire: {{{fault}: {{from: peer, segment: rst}}}}", "it does not arrive")
            plan.faulty = True
        if number == "C44":
            plan.add("wire: {blackhole: driver}", "the driver's answers are lost")
            plan.add("driver: {await: disconnect, within: 30}", why)
            self.told = True
        elif number in ("C33", "C32", "C41", "C43", "C45") and end.bare:
            pass  # it answers the driver's segment
        elif number == "C24":
            plan.add("lab: settle")
            plan.add("peer: close-listener", why)
        elif self.unread and number not in _KILLED:
            plan.add("peer: close", f"{why}: unread bytes make it an RST")
        elif number in _KILLED:
            plan.add(f"peer: {_KILLED[number]}", why)
        else:
            plan.add("peer: {close: {linger: 0}}", why)
        plan.peer.append("rst")
        if not end.damaged and (end.arrived or end.copies):
            self._expect("set", optional=bool(plan.driver or (number == "C16" and plan.calls)))

    # -- the end ------------------------------------------------------------------------------------------------------

    def _after(self) -> None:
        plan, number = self.plan_, self.number
        if number in ("C30", "C31", "C35", "C37", "C38", "C40"):  # documents do not say what the driver is told (R22)
            plan.undocumented = True
            plan.calls.append("{optional: true}")
        if number == "C31":
            plan.add("wire: {blackhole: both}", "the probes are not answered")
            plan.add("driver: {await: receive, within: 30}")
        elif number in ("C29", "C40") and not self.turns:
            plan.add("wire: {blackhole: both}", "nothing is seen any more")
            plan.add("lab: {wait: 2}")
        elif self._to_be_told():
            plan.add("driver: {await: disconnect}")
        elif plan.steps[-1][0] != "lab: settle":
            plan.add("lab: settle")

    def _to_be_told(self) -> bool:
        """Whether the driver's callback must still be called for an end of the peer."""
        return bool(self.plan_.calls) and "optional" not in self.plan_.calls[0] and not self.told
