"""Somebody else's driver in a lab: put into the target, started, heard, stopped.

The lab's own driver stays loaded beside it: its canary vouches for the debug line that both print to.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import suppress

from wsklab.drivers.patterns import read
from wsklab.drivers.profile import registry_file
from wsklab.drivers.protocol import MARK, PROVIDER_MARK
from wsklab.drivers.witness import SEEN_MARK, parse_seen_line
from wsklab.orchestrator.errors import LabError
from wsklab.orchestrator.guest.agent import Agent, AgentError
from wsklab.orchestrator.guest.service_control import ALREADY_RUNNING, NOT_ACTIVE, Action
from wsklab.orchestrator.lab.foreign_driver import Foreign, content_of
from wsklab.orchestrator.lab.installation import Installation
from wsklab.orchestrator.lab.target import Target
from wsklab.orchestrator.lab.wsk_words import WskWords
from wsklab.orchestrator.observe.driver_lines import DriverLine
from wsklab.orchestrator.observe.foreign_lines import ForeignUnload, foreign_line
from wsklab.orchestrator.observe.lab_notes import Unread

PARAMETERS = r"C:\wsklab\parameters.reg"

LOAD = 30.0
"""Seconds for its service to start or to stop."""

LAST_WORDS = 5.0
"""Seconds that its last line may come after its end."""

RUN = 30.0
"""Seconds for a program in the target; the agent stops it then."""


MOST_UNREAD = 2 << 20
"""Characters of lines that no pattern knows, kept of one scenario."""

_WINE = re.compile(r"^[0-9a-f]{4}:\w+:debugstr:\w+ [0-9a-f]{8}:[0-9a-f]{8}: ")
"""What Wine puts before a line of DbgPrintEx: thread, channel, function, component and level."""


class InstalledForeign:
    """A foreign driver in one target. Its lines belong to the connections that it has opened, in that order."""

    def __init__(self, foreign: Foreign, target: Target, patience: float) -> None:
        """`patience` stretches every limit of time."""
        self.foreign = foreign
        self._target = target
        self._patience = patience
        self._limit = LOAD * patience
        self._numbers: dict[int, int] = {}
        self._newest = 0
        self._unread = MOST_UNREAD
        self._words = WskWords(foreign.profile.tells)
        # The file as it was given: a signed copy has no PDB beside it.
        given = foreign.packages[-1].driver if foreign.packages else foreign.profile.path or foreign.file
        target.know_pdb(foreign.file_name, given)
        patterns = foreign.profile.patterns
        target.machine.debug.on_line(self._on_line, reads=lambda text: read(patterns, text.strip()) is not None)

    @property
    def agent(self) -> Agent:
        """Who installs, starts and stops it."""
        return self._target.agent

    # --- heard ----------------------------------------------------------------------------------------------------

    def _on_line(self, t: int, text: str) -> None:
        text = _WINE.sub("", text, 1).strip()
        if SEEN_MARK in text:
            self._on_seen(t, text)
            return
        reading = read(self.foreign.profile.patterns, text)
        if reading is None:
            if text and MARK not in text and PROVIDER_MARK not in text:  # nobody else keeps it
                self._keep_unread(t, text)
            return
        conn = None if reading.kind in ("load", "unload", "note") else self._number(reading.kind, reading.conn)
        self._target.journal.add(foreign_line(reading.kind, t, conn, text, reading.data))

    def _on_seen(self, t: int, text: str) -> None:
        """Take a call or a callback that the provider saw for the line that this driver does not print."""
        seen = parse_seen_line(text)
        if seen is None or seen.driver.lower() != self.foreign.file_name.lower():
            return
        if line := self._words.line(t, seen):
            self._target.journal.add(line)

    def _keep_unread(self, t: int, text: str) -> None:
        """Keep a line that means nothing to us, within bounds: it may mean something to who looks at the evidence."""
        if self._unread <= 0:
            return
        self._unread -= len(text)
        if self._unread <= 0:
            text = "[wsklab: more lines that no pattern knows are left out here; see debug.raw]"
        self._target.journal.add(Unread(t=t, text=text))

    def _number(self, kind: str, told: int | None) -> int:
        """Return the scenario's number for a connection, by order of appearance; without one told, it is the newest."""
        if told is None:
            if kind == "open":
                self._newest = len(self._numbers)
                self._numbers[-1 - self._newest] = self._newest
            return self._newest
        self._newest = self._numbers.setdefault(told, len(self._numbers))
        return self._newest

    # --- put in, started, stopped, taken away -----------------------------------------------------------------------

    def install(self, windows: bool, restart: Callable[[], None]) -> list[str]:
        """Everything but the start; `restart` is Windows' own. Returns what could not be done. Raises LabError."""
        profile, agent = self.foreign.profile, self._target.agent
        installation = Installation(agent, self._limit, self._patience)
        try:
            if self.foreign.payloads:
                (installation.in_windows if windows else installation.in_standin)(self.foreign.payloads)
            else:
                agent.put(profile.target_path, self.foreign.content())
                installation.by_hand(profile.service, profile.target_path, profile.start, profile.depends, windows)
            for path, local in profile.files.items():
                agent.put(path, content_of(local))
            if profile.parameters:
                agent.put(PARAMETERS, registry_file(profile).encode("ascii"))
                self.run(rf"regedit.exe /S {PARAMETERS}")
            if windows and (installation.restart or self.foreign.starts_by_itself):
                restart()
            for service in profile.after:
                self._service("start", service, ALREADY_RUNNING)
            if windows and self.foreign.starts_by_itself:
                installation.started_by_itself(profile.service)
        except AgentError as error:
            raise LabError(
                f"the driver {profile.name} could not be put into the target: {error}; the folders of its "
                r"files must exist there, as C:\wsklab does, and so must the services of `after`."
            ) from None
        return installation.remarks

    def start(self) -> None:
        """Load it for a scenario. Raises AgentError when it does not load, LabError."""
        self._numbers, self._newest, self._unread = {}, 0, MOST_UNREAD
        self._words = WskWords(self.foreign.profile.tells)
        service = self.foreign.profile.service
        state = self._target.agent.service("start", service, timeout=self._limit).get("state")
        if state != "running":
            raise AgentError(f"the service {service} was told to start and is {state}")

    def run(self, command: str) -> None:
        """Run a program in the target to its end. Raises AgentError, also when it fails."""
        answer = self._target.agent.ask("run", RUN + 5, command=command, timeout_ms=round(1000 * RUN))
        if answer["exit"] != 0:
            raise AgentError(f"'{command}' ended with exit code {answer['exit']}")

    def stop(self, heard: bool = True) -> None:
        """Unload it, if it is loaded; with `heard`, a last line that its profile knows is read. Raises LabError."""
        mark, profile = self._target.journal.mark, self.foreign.profile
        state = self._service("stop", profile.service, NOT_ACTIVE)
        if state not in (None, "stopped"):
            raise AgentError(f"the service {profile.service} was told to stop and is {state}")
        if heard and state is not None and profile.tells("unload"):
            with suppress(TimeoutError):  # it is unloaded all the same
                self._target.journal.wait_for(
                    ForeignUnload,
                    time.monotonic() + LAST_WORDS * self._patience,
                    mark,
                )

    def last_unload(self) -> DriverLine:
        """Load it once more and unload it, with nobody at the other end; then delete its service. Raises LabError."""
        try:
            self._service("start", self.foreign.profile.service, ALREADY_RUNNING)
        except AgentError as error:
            raise LabError(f"it cannot even be loaded once more: {error}") from None
        self.stop()
        self._target.agent.service("delete", self.foreign.profile.service, timeout=self._limit)
        return ForeignUnload(t=time.time_ns())

    def _service(self, action: Action, name: str, harmless: int) -> str | None:
        """Return the state that it is in then, None when there was nothing to do. Raises AgentError."""
        try:
            return str(self._target.agent.service(action, name, timeout=self._limit).get("state"))
        except AgentError as error:
            if error.code != harmless:
                raise AgentError(f"{action} {name}: {error}", error.code) from None
            return None
