"""The heartbeat of a lab: while a scenario is played, agent, peer and wire are asked whether they live.

Each is asked in the background over a line of its own, when nothing has been heard of it for a moment. Who leaves
questions unanswered for longer than the patience is named, and whoever waits, for whatever, wakes up. Time in which
the host had no processor for a process does not count (`pulse.FairClock`); a process that a signal has stopped is
named at once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Self

from wsklab.orchestrator.errors import LabError
from wsklab.orchestrator.lab.lab import Lab
from wsklab.orchestrator.liveness import silence
from wsklab.orchestrator.observe.lab_notes import AgentGone, Failure, PeerGone, Trouble
from wsklab.qemu import pulse
from wsklab.qemu.errors import MachineError
from wsklab.qemu.pulse import FairClock, Pulse

BEAT = 0.5
"""Seconds between two looks."""

PATIENCE = 3.0
"""Seconds in which a party that lives answers, on the slowest host that still passes; stretched by `slowness`."""

ASK_AFTER = 0.5
"""Seconds of silence after which a party is asked; stretched, too."""

Answered = Callable[[], bool]
"""Whether a question has been answered. Raises LabError or MachineError when it never will be."""

WHO = {"target": "QEMU of the target", "peer": "QEMU of the peer", "wire": "the wire's process"}


class Line:
    """One way to hear of a party, on the fair clock of its process. Pure but for `ask`."""

    def __init__(self, ask: Callable[[], Answered], ask_after: float) -> None:
        self._ask = ask
        self._ask_after = ask_after
        self._heard: float | None = None
        self._asked: float | None = None
        self._answered: Answered | None = None
        self.answers = 0
        """How many questions have been answered since it was last forgotten."""

    def beat(self, now: float, speaks: bool = False) -> None:
        """Take note of an answer, or ask. `speaks`: something else than an answer has been heard just now."""
        if self._heard is None or speaks:
            self._heard = now
            self._asked = now if self._answered else None
        if self._answered and self._answered():
            self._heard, self._asked, self._answered = now, None, None
            self.answers += 1
        if self._answered is None and now - self._heard >= self._ask_after:
            self._asked, self._answered = now, self._ask()

    def forget(self) -> None:
        """Nobody is to answer: it was silenced on purpose."""
        self._heard = self._asked = self._answered = None
        self.answers = 0

    def silent(self, now: float) -> float:
        """For how long a question has been open."""
        return 0.0 if self._asked is None else now - self._asked


class Heartbeat:
    """Looks after one lab in a thread of its own, while used as a context manager."""

    def __init__(self, lab: Lab, limit: float, what: str = "the scenario") -> None:
        """After `limit` seconds `what` is ended, whoever lives."""
        self._lab = lab
        self._limit = limit
        self._what = what
        self._until = time.monotonic() + limit
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)
        self._patience = PATIENCE * lab.slowness
        after = ASK_AFTER * lab.slowness
        self._clocks = {name: FairClock(2 * BEAT) for name in WHO}
        self._stopped = dict.fromkeys(WHO, 0)
        self._agent, self._ssh = Line(self._ask_agent, after), Line(self._ask_ssh, after)
        self._wire = Line(lab.wire.ask, after)
        # Asked only when the first line is silent: every ping is a frame in the recording.
        self._pings = {name: Line(partial(lab.wire.ask, name), 0.0) for name in ("target", "peer")}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(BEAT):
            if self._lab.journal.lost is not None:
                return
            try:
                found = self._look()
            except (LabError, MachineError) as error:
                self._stop.wait(BEAT)  # that a machine ended is told in a moment, and says more
                found = silence.note(Failure, str(error))
            if found is not None:
                self._lab.journal.give_up(found)
                return

    def _look(self) -> Trouble | None:
        """One beat; what it found out about a party that no longer lives."""
        now, stolen = time.monotonic(), pulse.stolen()
        if now > self._until:
            return silence.note(Failure, f"{self._what} took longer than the {self._limit:.0f} s it is allowed")
        fair = {}
        for name in WHO:
            felt = self._feel(name)
            fair[name] = self._clocks[name].advance(now, felt, stolen)
            if found := self._is_stopped(name, felt):
                return found
        return (
            self._look_at_wire(fair["wire"]) or self._look_at_target(fair["target"]) or self._look_at_peer(fair["peer"])
        )

    def _feel(self, name: str) -> Pulse | None:
        try:
            return pulse.feel(self._lab.wire.pid if name == "wire" else self._lab.machine(name).pid)
        except MachineError:
            return None  # switched off; its end has been told

    def _is_stopped(self, name: str, felt: Pulse | None) -> Trouble | None:
        """Two beats in a row: a debugger may stop a process for a moment."""
        self._stopped[name] = self._stopped[name] + 1 if felt and felt.stopped else 0
        if self._stopped[name] < 2:
            return None
        return silence.note(
            Failure,
            f"{WHO[name]} has been stopped by a signal (state {felt.state if felt else ''} "
            "in /proc), and nobody here did that",
            name,
        )

    # --- parties --------------------------------------------------------------------------------------------------

    def _look_at_wire(self, now: float) -> Trouble | None:
        self._wire.beat(now)
        silent = self._wire.silent(now)
        if silent < self._patience:
            return None
        return silence.note(Failure, f"the wire's process has not answered for {silent:.0f} s", "wire")

    def _look_at_target(self, now: float) -> Trouble | None:
        target = self._lab.target
        speaks = min(target.machine.quiet().values()) < 2 * BEAT
        self._agent.beat(now, speaks)
        silent = self._agent.silent(now)
        answers = self._ping("target", now, silent)
        if silent < self._patience or answers is None or (answers and target.agent.busy):
            return None
        said = f"the agent has not answered a ping for {silent:.0f} s"
        if answers:
            return silence.note(AgentGone, f"{said}; its machine still answers on the wire", "target")
        return silence.no_answer(self._lab, f"{said}, and the whole machine no longer answers on the wire", silent)

    def _look_at_peer(self, now: float) -> Trouble | None:
        if self._lab.excused("peer"):
            self._ssh.forget()
            return None
        self._ssh.beat(now)
        silent = self._ssh.silent(now)
        answers = self._ping("peer", now, silent)
        if silent < self._patience or answers is None:
            return None
        said = f"its SSH server has not answered for {silent:.0f} s"
        if answers:
            return silence.note(PeerGone, f"{said}; its machine still answers on the wire", "peer")
        return silence.peer_silent(self._lab, f"{said}, and the whole machine no longer answers on the wire")

    def _ping(self, name: str, now: float, silent: float) -> bool | None:
        """Whether the machine answers on the wire, asked once the other line has been silent for a while.

        None as long as that is not known: whom the silence is blamed on depends on it.
        """
        line = self._pings[name]
        if silent < self._patience / 4:
            line.forget()
            return None
        line.beat(now)
        if line.silent(now) >= self._patience / 2:
            return False
        return True if line.answers else None

    # --- questions ------------------------------------------------------------------------------------------------

    def _ask_agent(self) -> Answered:
        agent = self._lab.target.agent
        number = agent.begin("ping")
        return lambda: agent.answered(number)

    def _ask_ssh(self) -> Answered:
        """Ask by a new session of the SSH server, in which a program looks at the peer program.

        Again if it gets nowhere.
        """
        lab, said = self._lab, list[str]()
        ssh, program = lab.peer.ssh, lab.peer.newest

        def ask() -> None:
            pid = program.pid if program else None
            while not (said or self._stop.is_set() or ssh.hung_up or ssh.broken()):
                with suppress(LabError):
                    said.append(ssh.run(f"cat /proc/{pid or 1}/stat 2>/dev/null; :", 2 * self._patience))

        def answered() -> bool:
            if not said:
                return False
            if program and program.pid and " (peer) T " in said[0] and not lab.excused("peer program"):
                raise LabError("the peer program has been stopped by a signal, and nobody here did that")
            return True

        threading.Thread(target=ask, name="ask-peer", daemon=True).start()
        return answered
