"""How far set-up is, and whether it still moves: pure, fed with what the machine says and shows, told the time.

Evidence comes from the firmware's text and our own markers on COM2, from QEMU's events, and from looking: has the
screen changed, has the disk been written to. A stage may be skipped (nobody promises that WinPE has a serial driver),
but silence on all of them at once is the end. A desktop is never silent (a clock ticks, a log is written), so each
stage and each step of a script has its own patience, too, which only the next one ends. Sources: windows-images.md
sections 1.6, 5.2, 5.4.
"""

import re
from dataclasses import dataclass, field

from wsklab.images.windows.answers.settings import PREFIX

STAGES = {
    "firmware": "the firmware looks for something to start",
    "key": "the Windows disc starts, and wants a key pressed",
    "windowsPE": "Windows Setup runs from the disc",
    "copying": "Windows Setup copies files to the disk",
    "disk": "Windows starts from the disk",
    "specialize": "Windows sets itself up for this machine",
    "firstlogon": "the first logon",
    "installed": "Windows is installed",
    "provision": "our script prepares Windows for tests",
    "restart": "Windows restarts once more",
    "finish": "our script checks what it has become",
    "done": "set-up is done, Windows switches itself off",
}
"""In order, with what a user is told."""
MARKED = ("windowsPE", "specialize", "firstlogon", "installed", "provision", "restart", "finish", "done")
"""Those that Windows announces by a marker; the others are seen from outside."""

_ORDER = list(STAGES)
PATIENCE = {
    "firmware": 120.0, "key": 900.0, "windowsPE": 900.0, "copying": 2700.0, "disk": 2700.0, "specialize": 1800.0,
    "firstlogon": 300.0, "installed": 300.0, "provision": 300.0, "restart": 600.0, "finish": 300.0, "done": 180.0,
}  # fmt: skip
"""Seconds with KVM from the begin of a stage to the next, which may be the one after it."""
STEP_PATIENCE = 300.0
LONG_STEPS = {"drivers": 900.0}
"""Seconds with KVM that a step of a script may take."""
IDLE_PATIENCE = 900.0
"""Seconds without any sign of life, with KVM."""
TOTAL_PATIENCE = 3 * 3600.0
PRESSES = 10
RESTARTS = 2
"""How often the machine is reset to have another try at the key."""
COPYING = 256 << 20
"""Bytes on the disk from which on Setup must be copying."""
LONGEST_REPORT = 64 << 10
_REPORT = re.compile(r"[A-Za-z0-9+/=]*")
_CD_STARTS = re.compile(r'BdsDxe: starting Boot[0-9A-F]{4} "UEFI QEMU DVD-ROM CD1|Booting from DVD/CD')
_CD_WAITED = re.compile(r'BdsDxe: failed to start Boot[0-9A-F]{4} "UEFI QEMU DVD-ROM CD1.*Time out')
_DISK_STARTS = re.compile(r'BdsDxe: starting Boot[0-9A-F]{4} "Windows Boot Manager".*HD\(|Booting from Hard Disk')
NOTHING_TO_START = "UEFI Interactive Shell|BdsDxe: No bootable option|No bootable device"
"""What firmware says at its end (a regular expression)."""
_NOTHING = re.compile(NOTHING_TO_START)


@dataclass(frozen=True)
class Press:
    """Press a key, some times: the disc's loader waits five seconds for one."""


@dataclass(frozen=True)
class Restart:
    """Reset the machine."""


@dataclass(frozen=True)
class Entered:
    """A stage has begun."""

    stage: str


@dataclass(frozen=True)
class Note:
    """Something a user may want to see."""

    text: str


@dataclass(frozen=True)
class Ended:
    """Nothing more will come; without a failure the machine has done all and is off."""

    failure: str | None = None


Action = Press | Restart | Entered | Note | Ended


@dataclass
class Setup:
    """One part of the way, until the stage `goal`, in which the guest switches itself off.

    Times are seconds of any steady clock; `slowness` is how many times KVM's time it may take.
    """

    nonce: str
    began: float
    slowness: float = 1.0
    stage: str = "firmware"
    goal: str = "done"
    report: str = ""
    """What the guest says of itself, base64, as far as it has come."""
    resets: int = 0
    _moved: float = field(init=False)
    _entered: float = field(init=False)
    _screen: str = ""
    _written: int = 0
    _step: str = ""
    _retries: int = 0
    _over: bool = False

    def __post_init__(self) -> None:
        self._moved = self._entered = self.began

    def line(self, now: float, text: str) -> list[Action]:
        """Take note of a line on COM2 (or of the firmware's own log)."""
        if self._over:
            return []
        self._moved = now
        _, found, marker = text.partition(f"{PREFIX} {self.nonce} ")
        return self._marker(now, marker.strip()) if found else self._firmware(now, text)

    def event(self, now: float, kind: str, detail: str) -> list[Action]:
        """Take note of an event of the machine: `reset`, `shutdown`, `panic`, `died`; others mean nothing here."""
        if self._over:
            return []
        self._moved = now
        if kind == "reset":
            self.resets += 1
            return []
        if kind == "shutdown":
            if self.stage == self.goal:
                return self._end(None)
            return self._end(f"the guest switched itself off {self._where()}")
        if kind == "panic":
            return self._end(f"Windows crashed {self._where()}: {detail[:200]}")
        return self._end(f"QEMU ended {self._where()}: {detail[:400]}") if kind == "died" else []

    def look(self, now: float, screen: str, written: int) -> list[Action]:
        """Take note of what is seen from outside: a digest of the screen, and the bytes written to the disk so far."""
        if self._over:
            return []
        if screen != self._screen or written > self._written:
            self._moved = now
        self._screen, self._written = screen, max(written, self._written)
        if written >= COPYING and self._before("copying"):
            return self._enter(now, "copying")
        if now - self._entered > self._patience * self.slowness:
            return self._stuck(now)
        if now - self._moved > IDLE_PATIENCE * self.slowness:
            return self._end(f"nothing has moved for {now - self._moved:.0f} s {self._where()}")
        if now - self.began > TOTAL_PATIENCE * self.slowness:
            return self._end(f"set-up is not done after {now - self.began:.0f} s; it stands {self._where()}")
        return []

    def _marker(self, now: float, marker: str) -> list[Action]:
        word, _, value = marker.partition("=")
        if word == "stage" and value in MARKED:
            return self._enter(now, value) if self._before(value) else []
        if word == "step":
            self._step, self._entered = value[:40], now
            return [Note(f"step {self._step}")]
        if marker.startswith("soft "):
            return [Note(f"goes on without: {marker[5:205]}")]
        if word == "report" and _REPORT.fullmatch(value) and len(self.report) + len(value) <= LONGEST_REPORT:
            self.report += value
            return []
        if marker.startswith("fail "):
            return self._end(f"the script in the guest failed: {marker[5:305]}")
        return []

    def _firmware(self, now: float, text: str) -> list[Action]:
        if _DISK_STARTS.search(text):
            # SeaBIOS says so of an empty disk, too.
            return self._enter(now, "disk") if self._before("disk") and self._written >= COPYING else []
        if _NOTHING.search(text):
            return self._nothing()
        if not self._before("windowsPE"):
            return []  # a key would now start the installation over
        if _CD_STARTS.search(text):
            return [*(self._enter(now, "key") if self.stage == "firmware" else []), Press()]
        if _CD_WAITED.search(text):
            return self._again("the Windows disc gave up waiting for a key, although one was pressed")
        return []

    @property
    def _patience(self) -> float:
        return LONG_STEPS.get(self._step, STEP_PATIENCE) if self._step else PATIENCE[self.stage]

    def _stuck(self, now: float) -> list[Action]:
        """Say that what has begun does not end, however much moves on the screen."""
        if self.stage == "firmware":
            return self._end("the firmware started neither the Windows disc nor the disk")
        waited = f"for {now - self._entered:.0f} s"
        if self.stage == self.goal:
            return self._end(f"the guest should be off, but has not switched itself off {waited} {self._where()}")
        if self._step:
            return self._end(f"the step {self._step} has not ended {waited}, while {STAGES[self.stage]}")
        following = _ORDER[_ORDER.index(self.stage) + 1]
        return self._end(f"nothing has followed {waited} {self._where()} (next: {STAGES[following]})")

    def _nothing(self) -> list[Action]:
        """Say that the firmware has nothing more to try."""
        if self.stage == "key":
            return self._again("the Windows disc started, but came back to the firmware and installed nothing")
        if self.stage == "firmware":
            return self._end(
                "the firmware found nothing on the Windows disc that it can start (is this the original ISO, whole?)"
            )
        return self._end(f"the firmware found nothing to start, neither disk nor disc, {self._where()}")

    def _again(self, failure: str) -> list[Action]:
        if self._retries == RESTARTS:
            return self._end(f"{failure} (tried {RESTARTS + 1} times)")
        self._retries += 1
        return [Note(f"{failure}: trying again"), Restart()]

    def _enter(self, now: float, stage: str) -> list[Action]:
        self.stage, self._entered, self._step = stage, now, ""
        return [Entered(stage)]

    def _before(self, stage: str) -> bool:
        return _ORDER.index(self.stage) < _ORDER.index(stage)

    def _where(self) -> str:
        step = f", step {self._step}" if self._step else ""
        return f"while {STAGES[self.stage]}{step}"

    def _end(self, failure: str | None) -> list[Action]:
        self._over = True
        return [Ended(failure)]
