"""A scenario: one story of a connection's end, and what must be observed. A contract: see docs/scenarios.md."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from wsklab.orchestrator.scenario import yaml_source
from wsklab.orchestrator.scenario.model import Strict
from wsklab.orchestrator.scenario.steps import DriverStep, LabStep, PeerStep, Step, WireStep
from wsklab.orchestrator.scenario.verbs import ConnectionNumber, Count, Length, Outcome, Reported

Tri = Literal["set", "clear", "any"]
Ending = Literal["fin", "rst", "none", "drawn"]
Name = Annotated[str, Field(pattern="^[a-z0-9][a-z0-9-]{0,63}$")]

ANY_DRIVER = "any-driver"
"""The tag of scenarios for drivers that cannot be steered."""

# The numbers of the reference: requirements, endings, field bugs. Single-digit endings are written C01..C09.
KNOWN = {f"R{n}" for n in range(1, 88)} | {f"C{n:02}" for n in range(1, 64)} | {f"BF{n}" for n in range(1, 80)}


def _known(text: str) -> str:
    if text not in KNOWN:
        raise ValueError("should be one of R1..R87, C01..C63, BF1..BF79")
    return text


Cover = Annotated[str, AfterValidator(_known)]
Captured = Annotated[str, Field(pattern=r"^[0-9]{1,9}\.[0-9]{6} (driver|peer) [A-Za-z+-]{2,30} [0-9]{1,7}$")]


class Socket(Strict):
    """How the driver gets its socket, and how its event callbacks are switched on."""

    create: Literal["connect", "socket-connect", "accept", "accept-event"] = "connect"
    family: Literal["ipv4", "ipv6"] = "ipv4"
    events: Literal["per-socket", "static", "off"] = "per-socket"
    irql: Literal["passive", "dispatch", "mixed"] | None = None
    """At which simulated IRQL the stand-in calls the driver back; not named, it is `mixed` with --strict."""
    provider: Literal["ready", "late", "absent", "refuses", "leaves"] = "ready"
    """With --strict, what WskCaptureProviderNPI finds: WSK, WSK later, none, none of that version, or WSK only once."""
    fails: Annotated[int, Field(ge=1, le=100_000)] | None = None
    """Which allocation of the driver fails, with --strict, counted from the beginning of the scenario."""

    rare: bool = False
    """With --strict, WSK does what it hardly ever does: calls a dead socket's callbacks without data, or a socket."""
    concurrent: bool = False
    """With --strict, completions and WskDisconnectEvent come from several threads, late, or inside the call itself."""
    pend: Annotated[int, Field(ge=1, le=60_000)] | None = None
    """With --strict, how many milliseconds a WskSend stays pending that is done."""

    @property
    def needs_strict(self) -> bool:
        """Whether it asks for what only the stand-in's strict mode simulates."""
        asked = (
            self.provider != "ready" or self.rare or self.concurrent or self.pend is not None or self.fails is not None
        )
        return asked or self.irql not in (None, "passive")

    @property
    def survival(self) -> bool:
        """Whether the driver cannot do what it is asked to, and only has to survive."""
        return self.fails is not None or self.provider in ("absent", "refuses", "leaves")


class Action(Strict):
    """One step: exactly one actor, and what it does."""

    driver: DriverStep | None = None
    peer: PeerStep | None = None
    wire: WireStep | None = None
    lab: LabStep | None = None

    @model_validator(mode="before")
    @classmethod
    def _one_actor(cls, value: Any) -> Any:
        if not isinstance(value, dict) or len(value) != 1:
            raise ValueError("a step is one actor and what it does; actors are driver, peer, wire, lab")
        return {key: {} if item is None else item for key, item in value.items()}

    @property
    def actor(self) -> Literal["driver", "peer", "wire", "lab"]:
        """Who acts: driver, peer, wire or lab."""
        if self.driver is not None:
            return "driver"
        if self.peer is not None:
            return "peer"
        return "wire" if self.wire is not None else "lab"

    @property
    def step(self) -> Step:
        """What it does."""
        step: Step = getattr(self, self.actor)
        return step

    def __str__(self) -> str:
        arguments = self.step.arguments.model_dump(by_alias=True, exclude_unset=True)
        words = " ".join(f"{key}={value}" for key, value in arguments.items())
        return f"{self.actor}: {self.step.verb.rstrip('_').replace('_', '-')}{' ' if words else ''}{words}"


class ExpectedDisconnect(Strict):
    """One call of WskDisconnectEvent, flag by flag (R5-R8).

    `at_dispatch: set` means "set, and then the IRQL is DISPATCH_LEVEL"; clear says nothing about the IRQL.
    """

    abortive: Tri | Literal["drawn"] = "any"  # drawn: set where `close-all: mixed` has drawn a reset
    at_dispatch: Tri = "any"
    context: Literal["own", "any"] = "own"
    conn: ConnectionNumber | None = None  # None: on every connection
    optional: bool = False  # documents do not say whether this call comes; if it does, it is as said here


class ExpectedTransfer(Strict):
    """One completed WskReceive or WskSend."""

    status: Outcome = "any"
    length: Length | None = None
    conn: ConnectionNumber | None = None  # None: on every connection


class ExpectedIndication(Strict):
    """One call of WskReceiveEvent: the bytes indicated, and how many of them the driver took."""

    length: Length | None = None
    took: Length | None = None
    conn: ConnectionNumber | None = None  # None: on every connection


class ExpectedEnds(Strict):
    """Who ended the connection, and how, in the order of the segments; retransmissions count once."""

    peer: list[Ending] | None = None
    driver: list[Ending] | None = None

    @model_validator(mode="before")
    @classmethod
    def _lists(cls, value: Any) -> Any:
        """`rst` stands for `[rst]`, `none` for the empty list."""
        if isinstance(value, dict):
            lists = {
                key: value[key] if isinstance(value[key], list) else [value[key]]
                for key in ("peer", "driver")
                if value.get(key) is not None
            }
            return value | {key: [end for end in item if end != "none"] for key, item in lists.items()}
        return value


class ExpectedEndsOf(ExpectedEnds):
    """The same for one connection."""

    conn: ConnectionNumber


class ExpectedWire(ExpectedEnds):
    """The same for every connection, and `each`: what is otherwise on single ones."""

    each: list[ExpectedEndsOf] = []

    def of(self, conn: int) -> ExpectedEnds:
        """Return what must be seen on one connection."""
        for one in self.each:
            if one.conn == conn:
                return ExpectedEnds(
                    peer=self.peer if one.peer is None else one.peer,
                    driver=self.driver if one.driver is None else one.driver,
                )
        return self


class ExpectedPeer(Strict):
    """What the peer program counted."""

    received: Length | None = None


def _optional_last(calls: list[ExpectedDisconnect]) -> list[ExpectedDisconnect]:
    if any(a.optional and not b.optional for a, b in pairwise(calls) if a.conn == b.conn):
        raise ValueError("calls that may come (`optional`) stand behind those that must")
    return calls


class Expect(Strict):
    """What must be observed. What is not named is not judged, except: no event beyond those listed may be seen."""

    wire: ExpectedWire = ExpectedWire()
    disconnect: Annotated[list[ExpectedDisconnect], AfterValidator(_optional_last)] = []
    receive: list[ExpectedTransfer] | None = None
    send: list[ExpectedTransfer] | None = None
    indication: list[ExpectedIndication] | None = None
    order: list[Reported] = []
    peer: ExpectedPeer = ExpectedPeer()
    verdict: Literal["pass", "fail", "inconclusive", "infra"] = "pass"
    characterise: bool = False  # mark X of the reference: record what happens instead of judging the event


class Scenario(Strict):
    """The whole file."""

    name: Name
    title: Annotated[str, Field(min_length=1, max_length=120)]
    tags: list[Name] = []
    covers: list[Cover] = []
    socket: Socket = Socket()
    connections: Count = 1
    steps: Annotated[list[Action], Field(min_length=1, max_length=200)]
    expect: Expect = Expect()
    capture: Annotated[list[Captured], Field(max_length=400)] = []
    """What the capture shows that the scenario was made from: seconds, who, flags, bytes; the report draws it."""

    @model_validator(mode="after")
    def _unloaded_once(self) -> Self:
        asked = [action.driver for action in self.steps if action.driver is not None]
        if any(step.unload for step in asked[:-1]):
            raise ValueError("behind `driver: unload` nothing can be asked of the driver any more")
        return self

    @model_validator(mode="after")
    def _something_is_drawn(self) -> Self:
        wants = [
            *(self.expect.wire.peer or []),
            *(self.expect.wire.driver or []),
            *(e.abortive for e in self.expect.disconnect),
        ]
        if "drawn" in wants and not any(a.peer is not None and a.peer.close_all is not None for a in self.steps):
            raise ValueError("'drawn' is expected, but no step draws: that is `peer: {close-all: mixed}`")
        return self

    @property
    def for_any_driver(self) -> bool:
        """Its driver is only connected and observed, so that it may be anybody's."""
        return ANY_DRIVER in self.tags

    @property
    def driver_listens(self) -> bool:
        """The peer connects to the driver, and not the driver to the peer."""
        return self.socket.create in ("accept", "accept-event")

    @property
    def self_check(self) -> bool:
        """The lab is on trial here, not the driver: some other verdict than `pass` is the right one."""
        return self.expect.verdict != "pass"


def load(path: Path) -> Scenario:
    """Read one scenario file. Raises UsageError with file and line."""
    return yaml_source.load(path, Scenario)
