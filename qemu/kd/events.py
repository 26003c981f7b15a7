"""What the KD link tells its subscribers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Cause = Literal["bugcheck", "break-in", "assertion", "breakpoint", "fault", "user"]
"""Why a target stops on an exception. `break-in`: we asked for it; `user`: in a user's program, not in the kernel."""


@dataclass(frozen=True, slots=True)
class TextLine:
    """One whole line of text, without its end. Bytes that are not UTF-8 became U+FFFD."""

    text: str
    processor: int | None = None
    """Who printed it; None for plain text that came outside of KD (firmware, boot loader)."""


@dataclass(frozen=True, slots=True)
class ModuleLoaded:
    path: str
    base: int
    size: int
    checksum: int


@dataclass(frozen=True, slots=True)
class ModuleUnloaded:
    path: str
    base: int


@dataclass(frozen=True, slots=True)
class ExceptionSeen:
    """The target stopped on an exception; the link lets it go on by itself. `code` is an NTSTATUS.

    `where` is the program counter as module and offset.
    """

    code: int
    first_chance: bool
    pc: int
    address: int
    information: tuple[int, ...]
    processor: int
    thread: int
    cause: Cause = "fault"
    where: str = ""


@dataclass(frozen=True, slots=True)
class Prompted:
    """The kernel asked its debugger what to do (an assert, a soft rule of Driver Verifier); it was told to go on.

    `before` is what the same processor printed last: the prompt itself often says nothing but "Break, Ignore?".
    """

    text: str
    before: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a processor is, and which drivers its stack names: candidates for who has called, no more than that."""

    processor: int
    where: str
    stack: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Located:
    """A target that was broken into says where each of its processors was; it goes on."""

    places: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class GivenUp:
    """The kernel had given its debugger up, and what it printed meanwhile is lost; it has been won back.

    `silent` is for how many seconds nothing had come before.
    """

    silent: float


@dataclass(frozen=True, slots=True)
class Standing:
    """The target came to the end of its crash, and stands there: continued, it would come back for ever."""

    pc: int


@dataclass(frozen=True, slots=True)
class Bugcheck:
    """The system has crashed. `source`: read from the kernel's memory (exact), or from the text it printed.

    `where` names those parameters that lie in a module, by module and offset.
    """

    code: int
    parameters: tuple[int, int, int, int]
    name: str
    source: Literal["memory", "text"]
    where: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Shutdown:
    """The system goes down or reboots."""


@dataclass(frozen=True, slots=True)
class Attached:
    """The first packet of this connection: the target speaks KD."""


@dataclass(frozen=True, slots=True)
class Resynced:
    """Both sides number their packets from the start again.

    `target`: the target began anew, with a new boot.
    `host`: it followed our RESET.
    """

    cause: Literal["target", "host"]


@dataclass(frozen=True, slots=True)
class Damaged:
    """`count` bytes were neither a packet nor text. The target repeats what it said, so that nothing need be lost."""

    count: int


@dataclass(frozen=True, slots=True)
class Answered:
    """A request other than a print was dealt with, or (`ignored`) only acknowledged. For the evidence."""

    request: Literal["file", "command string", "unknown stop", "ignored"]
    detail: str


@dataclass(frozen=True, slots=True)
class Looping:
    """The target stops at the same place again and again, `count` times within a second. It is still continued."""

    pc: int
    count: int


@dataclass(frozen=True, slots=True)
class Detached:
    """The connection is gone."""


Event = (
    TextLine
    | ModuleLoaded
    | ModuleUnloaded
    | ExceptionSeen
    | Prompted
    | Located
    | GivenUp
    | Standing
    | Bugcheck
    | Shutdown
    | Attached
    | Resynced
    | Damaged
    | Answered
    | Looping
    | Detached
)
