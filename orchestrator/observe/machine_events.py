"""What happened to a machine as a whole, and what a kernel has told its debugger."""

from __future__ import annotations

from typing import ClassVar

from wsklab.orchestrator.observe.base import Observation, Source, observed


@observed
class OfMachine(Observation):
    """Any of them; `early`: it came before the scenario began, and no other has been judged by it."""

    source: ClassVar[Source] = "machine"

    machine: str
    detail: str
    early: bool = False


class MachineGone(OfMachine):
    """After it nothing that is waited for can come any more."""

    __slots__ = ()


class Panic(MachineGone):
    """The kernel panicked."""

    __slots__ = ()
    kind: ClassVar[str] = "panic"


class Died(MachineGone):
    """QEMU, or the wire's process, ended."""

    __slots__ = ()
    kind: ClassVar[str] = "died"


class Crash(MachineGone):
    """The process that runs the driver crashed."""

    __slots__ = ()
    kind: ClassVar[str] = "crash"


class WindowsBugcheck(MachineGone):
    """Windows stopped itself."""

    __slots__ = ()
    kind: ClassVar[str] = "bugcheck"


class StrictStop(MachineGone):
    """The stand-in's strict mode stopped the driver where Windows with Driver Verifier would stop itself."""

    __slots__ = ()
    kind: ClassVar[str] = "stop"


class MachineShutdown(MachineGone):
    """The machine shut down."""

    __slots__ = ()
    kind: ClassVar[str] = "shutdown"


class MachineReset(MachineGone):
    """The machine reset itself."""

    __slots__ = ()
    kind: ClassVar[str] = "reset"


class LastWords(MachineGone):
    """The init of a guest of the lab's says why it cannot go on."""

    __slots__ = ()
    kind: ClassVar[str] = "last-words"


class Complaint(OfMachine):
    """Something made the target's kernel stop and call its debugger, which always says: go on."""

    __slots__ = ()


class KernelException(Complaint):
    """An exception in the kernel."""

    __slots__ = ()
    kind: ClassVar[str] = "exception"


class KernelPrompt(Complaint):
    """An assert, or Driver Verifier, asked what to do."""

    __slots__ = ()
    kind: ClassVar[str] = "prompt"


class KernelStops(Complaint):
    """The kernel stands in its debugger, or stops at one place over and over."""

    __slots__ = ()
    kind: ClassVar[str] = "stops"


class LostText(OfMachine):
    """Debug text that the kernel dropped, as it took its debugger for gone."""

    __slots__ = ()
    kind: ClassVar[str] = "lost-text"


OF_MACHINES: tuple[type[OfMachine], ...] = (
    Panic,
    Died,
    Crash,
    WindowsBugcheck,
    StrictStop,
    MachineShutdown,
    MachineReset,
    LastWords,
    KernelException,
    KernelPrompt,
    KernelStops,
    LostText,
)

_BY_KIND = {kind.kind: kind for kind in OF_MACHINES}


def of_machine(kind: str, t: int, machine: str, detail: str) -> OfMachine:
    """Return what QEMU, the console or the debugger's line tells of a machine."""
    return _BY_KIND[kind](t=t, machine=machine, detail=detail)
