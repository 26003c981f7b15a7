"""The steps of a scenario: an actor, one of its verbs, and the options that go with any verb of that actor.

A step is one mapping `actor: {verb: arguments}` or `actor: verb`. The actor's model has one optional field per verb;
exactly one is given.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from wsklab.orchestrator.scenario import played, verbs
from wsklab.orchestrator.scenario.model import Strict
from wsklab.orchestrator.scenario.verbs import ConnectionNumber, Outcome, Seconds

AWAITED = frozenset({"socket", "listen", "accept", "enable", "disable", "send", "disconnect", "close", "release"})
"""Verbs of the driver that are over when their operations are. `connect` sees to itself."""


class Step(Strict):
    """What one actor does; exactly one verb, and the options that go with any verb of that actor."""

    options: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="before")
    @classmethod
    def _one_verb(cls, value: Any) -> Any:
        if isinstance(value, str):
            value = {value: {}}
        if not isinstance(value, dict):
            raise ValueError(f"expected a verb: {', '.join(cls.verbs())}")
        given = [key for key in value if key not in cls.options]
        if len(given) > 1:
            raise ValueError(f"one verb a step, but here are {len(given)}: {', '.join(map(str, given))}")
        if not given:
            raise ValueError(f"a verb is missing; there are {', '.join(cls.verbs())}")
        return {key: {} if item is None else item for key, item in value.items()}

    @classmethod
    def verbs(cls) -> list[str]:
        """Return the verbs as they are written in YAML."""
        return [key for key in cls.names() if key not in cls.options]

    @property
    def verb(self) -> str:
        """The verb of this step, as a Python name (`await_`, `forge`)."""
        return next(
            name for name in type(self).model_fields if name not in self.options and getattr(self, name) is not None
        )

    @property
    def arguments(self) -> Strict:
        """The arguments of the verb."""
        arguments: Strict = getattr(self, self.verb)
        return arguments

    @property
    def length(self) -> int | str | None:
        """The bytes that it is to carry, where its verb says how many."""
        match self.arguments:
            case (
                verbs.Send(length=length)
                | verbs.Receive(length=length)
                | verbs.Disconnect(length=length)
                | verbs.PeerSend(length=length)
                | verbs.PeerReceive(length=length)
            ):
                carried: int | str = length
                return carried
        return None


class DriverStep(Step):
    """The driver under test; `conn` names one of several connections, `expect` the outcome of the operation's IRP."""

    options: ClassVar[tuple[str, ...]] = ("conn", "expect", "returns", "within")
    conn: ConnectionNumber | Literal["all"] = 0
    expect: Outcome | None = None
    returns: Outcome | None = None  # what the function itself returns, as against its IRP (R30, R31)
    within: Seconds | None = None

    @property
    def wanted(self) -> Outcome | None:
        """What its operations must come to: success where nothing else is said, None where nobody waits for them."""
        waits = self.verb in AWAITED and getattr(self.arguments, "wait", True)
        return self.expect or ("success" if waits else None)

    socket: verbs.MakeSocket | None = None
    connect: verbs.Connect | None = None
    listen: verbs.Listen | None = None
    accept: verbs.Accept | None = None
    enable: verbs.Events | None = None
    disable: verbs.Events | None = None
    receive: verbs.Receive | None = None
    send: verbs.Send | None = None
    disconnect: verbs.Disconnect | None = None
    close: verbs.Close | None = None
    cancel: verbs.Cancel | None = None
    release: verbs.Nothing | None = None
    callback: verbs.Callback | None = None
    keepalive: verbs.Keepalive | None = None
    max_retransmit: verbs.MaxRetransmit | None = Field(None, alias="max-retransmit")
    silent: verbs.Nothing | None = None
    unload: verbs.Nothing | None = None
    reload: verbs.Nothing | None = None
    malformed: verbs.Nothing | None = None
    await_: verbs.DriverAwait | None = Field(None, alias="await")


class PeerStep(Step):
    """The peer program at the other end of connection `conn`."""

    options: ClassVar[tuple[str, ...]] = ("conn", "within")
    conn: ConnectionNumber | Literal["all"] = 0
    within: Seconds | None = None

    connect: verbs.PeerConnect | None = None
    accept: verbs.Nothing | None = None
    send: verbs.PeerSend | None = None
    fill: verbs.Fill | None = None
    receive: verbs.PeerReceive | None = None
    shutdown: verbs.Shutdown | None = None
    close: verbs.PeerClose | None = None
    close_all: verbs.CloseAll | None = Field(None, alias="close-all")
    close_listener: verbs.Nothing | None = Field(None, alias="close-listener")
    option: verbs.PeerOption | None = None
    kill: verbs.Nothing | None = None
    exit: verbs.Nothing | None = None
    destroy: verbs.Nothing | None = None
    vanish: verbs.Nothing | None = None
    freeze: verbs.Nothing | None = None
    sysctl: verbs.Sysctl | None = None
    await_: verbs.PeerAwait | None = Field(None, alias="await")

    @model_validator(mode="after")
    def _all_connect(self) -> Self:
        if self.conn == "all" and self.connect is None:
            raise ValueError("`conn: all` goes with `connect`; what ends all connections is `close-all`")
        return self


class WireStep(Step):
    """The cable between the machines."""

    options: ClassVar[tuple[str, ...]] = ("conn", "within")
    conn: ConnectionNumber = 0
    within: Seconds | None = None

    drop: verbs.Match | None = None
    hold: verbs.Hold | None = None
    duplicate: verbs.Match | None = None
    reorder: verbs.Match | None = None
    corrupt: verbs.Match | None = None
    forge: verbs.Forge | None = None
    blackhole: verbs.Blackhole | None = None
    cable: verbs.Cable | None = None
    icmp: verbs.Icmp | None = None
    firewall: verbs.Firewall | None = None
    play: played.Play | None = None
    release: verbs.Nothing | None = None
    heal: verbs.Nothing | None = None
    await_: verbs.WireAwait | None = Field(None, alias="await")


class LabStep(Step):
    """The lab itself: machines as a whole, and time."""

    settle: verbs.Nothing | None = None
    wait: verbs.Wait | None = None
    pause: verbs.MachineStep | None = None
    resume: verbs.MachineStep | None = None
    reset: verbs.MachineStep | None = None
    power_off: verbs.MachineStep | None = Field(None, alias="power-off")
    address: verbs.Address | None = None
