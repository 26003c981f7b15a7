"""What the lab itself notes: what it did, what it found in order, and what went down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, TypedDict

from wsklab.orchestrator.observe.base import Observation, Source, observed

ActorName = Literal["driver", "peer", "wire", "lab"]


class Behaviour(TypedDict, total=False):
    """What a target did in a scenario, in a form that compares and reads well."""

    disconnects: list[str]
    receives: list[str]
    sends: list[str]
    driver: list[str]


# A keyword is a key of the files: where two things race, `or` lists in which points the other outcomes differ.
KnownBehaviour = TypedDict(
    "KnownBehaviour",
    {
        "disconnects": list[str],
        "receives": list[str],
        "sends": list[str],
        "driver": list[str],
        "or": list[Behaviour],
    },
    total=False,
)


@dataclass(frozen=True, slots=True)
class RingRecord:
    """A line of the driver's own ring."""

    seq: int
    text: str


class LabNote(Observation):
    """Any note of the lab's."""

    __slots__ = ()

    source: ClassVar[Source] = "lab"


@observed
class Opened(LabNote):
    """A connection has its number `id` in the driver, and its context."""

    kind: ClassVar[str] = "opened"

    id: int
    cookie: int


@observed
class PortsKnown(LabNote):
    """The ports of a connection, as far as they are known."""

    kind: ClassVar[str] = "flow"

    target_port: int | None
    peer_port: int | None


@observed
class Drawn(LabNote):
    """How the peer was to end a connection, where the lab has drawn it."""

    kind: ClassVar[str] = "drawn"

    ending: Literal["fin", "rst"]


@observed
class CanaryNote(LabNote):
    """Whether a token of the lab's came through on the debug line, before or after the scenario."""

    kind: ClassVar[str] = "canary"

    when: str
    seen: bool


@observed
class Barrier(LabNote):
    """Whether everything that was sent has passed the wire."""

    kind: ClassVar[str] = "barrier"

    complete: bool
    detail: str = ""


@observed
class StepNote(LabNote):
    """A step, and what it came to; `ops` are the numbers of the driver's operations that it started.

    `expect` is what they must come to, `returns` what their functions must, `length` how much they were to carry;
    `synchronous`: the function's own return is the outcome.
    """

    kind: ClassVar[str] = "step"

    index: int
    actor: ActorName
    verb: str
    text: str
    began: int
    outcome: Literal["done", "failed"]
    detail: str
    ops: tuple[int, ...]
    expect: str | None
    returns: str | None
    length: int | str | None
    synchronous: bool


@observed
class MalformedSent(LabNote):
    """A malformed request to the lab's own driver: its answer and its refusals, and what they had to be, in words."""

    kind: ClassVar[str] = "malformed"

    what: str
    answered: str
    wanted: str
    printed: str
    wanted_lines: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What the driver answered to the command that starts with operation `id`; `count` operations came of it.

    The rest is what the command asked for, None in recordings from before it was noted.
    """

    op: str
    id: int
    count: int
    status: int
    flags: int | None = None
    length: int | None = None
    seed: int | None = None
    target: int | None = None
    mask: int | None = None
    last: int | None = None
    """The last operation that may come of it, also later: in a callback, or once there is a connection."""


@observed
class Answered(LabNote):
    """The driver's answers to commands that were handed over together: its own word, beside what it prints."""

    kind: ClassVar[str] = "answered"

    answers: tuple[Answer, ...]


class EndOfStory(LabNote):
    """The story is over; what comes now is of cleaning up."""

    __slots__ = ()
    kind: ClassVar[str] = "end"


@observed
class RingTaken(LabNote):
    """The driver's own record of its lines from `first` on, of which the last one has the number `last`."""

    kind: ClassVar[str] = "ring"

    first: int
    last: int
    records: tuple[RingRecord, ...]


@observed
class Recorded(LabNote):
    """What the target did in this scenario before; `judged`: another behaviour is a fault, not a measurement."""

    kind: ClassVar[str] = "recorded"

    target: str
    judged: bool
    behaviour: KnownBehaviour | None


@observed
class ForeignStarted(LabNote):
    """Somebody else's driver is started: from now on it must be heard."""

    kind: ClassVar[str] = "foreign"

    name: str


@observed
class Left(LabNote):
    """What the driver had not given back when it did not finish cleaning up."""

    kind: ClassVar[str] = "left"

    sockets: int
    irps: int
    indications: int


@observed
class StillRunning(LabNote):
    """Callbacks that the driver has not left when all its sockets are closed."""

    kind: ClassVar[str] = "running"

    callbacks: int


@observed
class WireCounters(LabNote):
    """Frames that the wire itself has lost."""

    kind: ClassVar[str] = "counters"

    lost: int


@observed
class Unread(LabNote):
    """A line that nobody here understands: of debug text that no pattern knows, or of the peer program."""

    kind: ClassVar[str] = "unread"

    text: str


@observed
class Overflow(LabNote):
    """More came than is kept."""

    kind: ClassVar[str] = "overflow"

    detail: str


# --- what went down ---------------------------------------------------------------------------------------------------


@observed
class Trouble(LabNote):
    """Something went down, with the party of the lab that it is about."""

    machine: str
    detail: str


class Hang(Trouble):
    """The driver does not return."""

    __slots__ = ()
    kind: ClassVar[str] = "hang"


class Refusal(Trouble):
    """The driver refuses a call."""

    __slots__ = ()
    kind: ClassVar[str] = "refusal"


class WrongAnswer(Trouble):
    """The driver answered the lab with what cannot be."""

    __slots__ = ()
    kind: ClassVar[str] = "misanswer"


class Silence(Trouble):
    """Nothing is heard of the target any more."""

    __slots__ = ()
    kind: ClassVar[str] = "silence"


class AgentGone(Trouble):
    """The agent is gone, its machine is not."""

    __slots__ = ()
    kind: ClassVar[str] = "agent-gone"


class PeerGone(Trouble):
    """The peer is gone."""

    __slots__ = ()
    kind: ClassVar[str] = "peer-gone"


class Failure(Trouble):
    """The lab itself failed."""

    __slots__ = ()
    kind: ClassVar[str] = "failure"


class Unplayed(Trouble):
    """The lab failed before the first step or after the last, which is no verdict on anybody."""

    __slots__ = ()
    kind: ClassVar[str] = "unplayed"


TROUBLES: tuple[type[Trouble], ...] = (
    Hang,
    Refusal,
    WrongAnswer,
    Silence,
    AgentGone,
    PeerGone,
    Failure,
    Unplayed,
)

NOTES: tuple[type[LabNote], ...] = (
    Opened,
    PortsKnown,
    Drawn,
    CanaryNote,
    MalformedSent,
    Barrier,
    StepNote,
    Answered,
    EndOfStory,
    RingTaken,
    Recorded,
    ForeignStarted,
    Left,
    StillRunning,
    WireCounters,
    Unread,
    Overflow,
    *TROUBLES,
)
