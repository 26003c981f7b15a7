"""What happened to a machine as a whole, and what a kernel has told its debugger."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from wsklab.orchestrator.observe.base import Observation, Source


@dataclass(frozen=True, slots=True, kw_only=True)
class OfMachine(Observation):
    """Any of them; `early`: it came before the scenario began, and no other has been judged by it."""

    source: ClassVar[Source] = "machine"

    machine: str
    detail: str
    early: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineGone(OfMachine):
    """After it nothing that is waited for can come any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panic(MachineGone):
    """The kernel panicked."""

    kind: ClassVar[str] = "panic"


@dataclass(frozen=True, slots=True, kw_only=True)
class Died(MachineGone):
    """QEMU, or the wire's process, ended."""

    kind: ClassVar[str] = "died"


@dataclass(frozen=True, slots=True, kw_only=True)
class Crash(MachineGone):
    """The process that runs the driver crashed."""

    kind: ClassVar[str] = "crash"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bugcheck(MachineGone):
    """Windows stopped itself."""

    kind: ClassVar[str] = "bugcheck"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shutdown(MachineGone):
    """The machine shut down."""

    kind: ClassVar[str] = "shutdown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset(MachineGone):
    """The machine reset itself."""

    kind: ClassVar[str] = "reset"


@dataclass(frozen=True, slots=True, kw_only=True)
class LastWords(MachineGone):
    """The init of a guest of the lab's says why it cannot go on."""

    kind: ClassVar[str] = "last-words"


@dataclass(frozen=True, slots=True, kw_only=True)
class Complaint(OfMachine):
    """Something made the target's kernel stop and call its debugger, which always says: go on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelException(Complaint):
    """An exception in the kernel."""

    kind: ClassVar[str] = "exception"


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelPrompt(Complaint):
    """An assert, or Driver Verifier, asked what to do."""

    kind: ClassVar[str] = "prompt"


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelStops(Complaint):
    """The kernel stands in its debugger, or stops at one place over and over."""

    kind: ClassVar[str] = "stops"


@dataclass(frozen=True, slots=True, kw_only=True)
class LostText(OfMachine):
    """Debug text that the kernel dropped, as it took its debugger for gone."""

    kind: ClassVar[str] = "lost-text"


OF_MACHINES: tuple[type[OfMachine], ...] = (
    Panic,
    Died,
    Crash,
    Bugcheck,
    Shutdown,
    Reset,
    LastWords,
    KernelException,
    KernelPrompt,
    KernelStops,
    LostText,
)

_BY_KIND = {kind.kind: kind for kind in OF_MACHINES}


def of_machine(kind: str, t: int, machine: str, detail: str) -> OfMachine:
    """What QEMU, the console or the debugger's line tells of a machine."""
    return _BY_KIND[kind](t=t, machine=machine, detail=detail)
