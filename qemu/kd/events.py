"""What the KD link tells its subscribers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


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
    """The target stopped on an exception; the link lets it go on by itself. `code` is an NTSTATUS."""

    code: int
    first_chance: bool
    pc: int
    address: int
    information: tuple[int, ...]
    processor: int
    thread: int


@dataclass(frozen=True, slots=True)
class Bugcheck:
    """The system has crashed. `source`: read from the kernel's memory (exact), or from the text it printed."""

    code: int
    parameters: tuple[int, int, int, int]
    name: str
    source: Literal["memory", "text"]


@dataclass(frozen=True, slots=True)
class Shutdown:
    """The system goes down or reboots."""


@dataclass(frozen=True, slots=True)
class Attached:
    """The first packet of this connection: the target speaks KD."""


@dataclass(frozen=True, slots=True)
class Resynced:
    """Both sides number their packets from the start again.

    `target`: the target began anew: a new boot, or it had given the debugger up and text may be missing.
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

    request: Literal["prompt", "file", "command string", "unknown stop", "ignored"]
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
    | Bugcheck
    | Shutdown
    | Attached
    | Resynced
    | Damaged
    | Answered
    | Looping
    | Detached
)
