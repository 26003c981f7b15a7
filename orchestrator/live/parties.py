"""The parties of a conversation as Python objects: `peer.close(linger=0)` is the step `peer: {close: {linger: 0}}`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, get_args

from pydantic import BaseModel

from wsklab.orchestrator.errors import LabError
from wsklab.orchestrator.judge.reading import AT_DISPATCH_LEVEL, told_abortive
from wsklab.orchestrator.live import telling
from wsklab.orchestrator.live.conversation import Conversation
from wsklab.orchestrator.observe.driver_lines import DisconnectTold
from wsklab.orchestrator.observe.wire_frames import FrameSeen
from wsklab.orchestrator.scenario.steps import DriverStep, LabStep, PeerStep, Step, WireStep
from wsklab.orchestrator.scenario.verbs import Segment, Side

Told = Literal["graceful", "abortive", "not told"]


class Party:
    """Somebody who acts. Every verb of docs/scenarios.md is a method: `-` is written `_`, and `await` as `await_`.

    A verb's shorthand may stand without its name (`peer.send(100)`); `from` is written `sender`.
    """

    _actor: str
    _step: type[Step]

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation

    def __getattr__(self, name: str) -> Callable[..., None]:
        """Return a verb. Raises AttributeError for a word that is none."""
        verb = name.rstrip("_").replace("_", "-")
        if name.startswith("_") or verb not in self._step.verbs():
            raise AttributeError(f"the {self._actor} has no verb '{name}'; it has {', '.join(self._words())}")

        def do(*shorthand: Any, **words: Any) -> None:
            __tracebackhide__ = True
            options = {word: words.pop(word) for word in self._step.options if word in words}
            if len(shorthand) > 1 or (shorthand and words):
                raise TypeError(f"{self._actor}.{name} takes one value, or words with names")
            arguments = shorthand[0] if shorthand else {_yaml(word): value for word, value in words.items()}
            self._conversation.do(self._actor, verb, arguments, options)

        do.__name__ = name
        do.__doc__ = _meaning(self._step, name)
        return do

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._words()]

    def __repr__(self) -> str:
        """As a failed assertion and a prompt show it."""
        return f"<{self._actor}>"

    def _words(self) -> list[str]:
        return [f"{verb}_" if verb == "await" else verb.replace("-", "_") for verb in self._step.verbs()]


def _yaml(word: str) -> str:
    return "from" if word == "sender" else word.replace("_", "-")


def _meaning(step: type[Step], name: str) -> str:
    """Return the first line of what a verb's arguments say of themselves."""
    for part in get_args(step.model_fields[name].annotation) if name in step.model_fields else ():
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part.__doc__ or ""
    return ""


class Disconnect:
    """One call of WskDisconnectEvent; None is what the driver's text does not tell."""

    def __init__(self, seen: DisconnectTold) -> None:
        self._seen = seen
        self.conn = seen.conn
        self.flags = seen.flags
        self.abortive = told_abortive(seen)
        self.irql = seen.irql
        self.at_dispatch = None if seen.flags is None else bool(seen.flags & AT_DISPATCH_LEVEL)

    def __repr__(self) -> str:
        """As a failed assertion shows it."""
        flags = "flags not told" if self.flags is None else f"flags {self.flags:#x}"
        how: Told = "not told" if self.abortive is None else "abortive" if self.abortive else "graceful"
        return f"<WskDisconnectEvent {how}, {flags}>"


class Driver(Party):
    """The driver under test."""

    _actor, _step = "driver", DriverStep

    @property
    def disconnects(self) -> list[Disconnect]:
        """The calls of WskDisconnectEvent so far."""
        return [Disconnect(one) for one in self._conversation.events]

    def await_disconnect(self, conn: int = 0, within: float | None = None) -> Disconnect:
        """Wait for the next WskDisconnectEvent of a connection, and return it. Raises StepFailed if none comes."""
        __tracebackhide__ = True
        self._conversation.do("driver", "await", "disconnect", {"conn": conn} | ({"within": within} if within else {}))
        mine = [one for one in self.disconnects if one.conn == conn]
        if not mine:
            raise LabError("the driver has closed its socket before any event: there is none to return.")
        return mine[-1]


class Peer(Party):
    """The peer program, at the other end of every connection."""

    _actor, _step = "peer", PeerStep

    def shell(self, command: str) -> str:
        """Run a command in the peer's shell; returns what it said. Raises LabError."""
        return self._conversation.lab.shell("peer", command)


class Wire(Party):
    """The cable between the machines."""

    _actor, _step = "wire", WireStep

    def drop_first(self, segment: Segment, sender: Side | None = None, conn: int = 0) -> None:
        """Swallow the next such segment: what is sent again afterwards passes."""
        __tracebackhide__ = True
        self._conversation.do("wire", "drop", _match(segment, sender), {"conn": conn})

    def hold_first(self, segment: Segment, seconds: float | None = None, sender: Side | None = None) -> None:
        """Keep the next such segment back, for a time or until `release`."""
        __tracebackhide__ = True
        self._conversation.do(
            "wire", "hold", _match(segment, sender) | ({} if seconds is None else {"seconds": seconds}), {}
        )

    @property
    def frames(self) -> list[FrameSeen]:
        """Every TCP segment that has passed, or was to pass, until now."""
        return [o for o in self._conversation.seen if isinstance(o, FrameSeen)]

    def endings(self, sender: Side, conn: int = 0) -> list[str]:
        """Return the `fin` and `rst` segments that one side has sent, in order; retransmissions count once."""
        return list(self._conversation.facts.ending(conn, sender).sent)


def _match(segment: Segment, sender: Side | None) -> dict[str, Any]:
    return {"segment": segment} | ({} if sender is None else {"from": sender})


class Target:
    """The guest that runs the driver."""

    def __init__(self, conversation: Conversation) -> None:
        self._conversation = conversation
        guest = conversation.lab.guest
        self.name = guest.image.name
        self.qualifying = guest.qualifying

    def shell(self, command: str) -> str:
        """Run a command line in the guest's own shell; returns what it said. Raises LabError."""
        return self._conversation.lab.shell("target", command)


class TheLab(Party):
    """The lab as a whole: `settle`, `wait`, `pause`, `reset`, `power_off`, `address`; and what was seen in it."""

    _actor, _step = "lab", LabStep

    @property
    def folder(self) -> str:
        """Where the evidence of this test goes."""
        return str(self._conversation.folder)

    def story(self) -> str:
        """Return what was told and what was on the wire until now, in lines."""
        return telling.told(self._conversation.facts)

    def __repr__(self) -> str:
        """Return a word for the prompt; the lab's inner objects say nothing to its user."""
        return f"<lab with {self._conversation.lab.guest.image.name}, evidence in {self.folder}>"


class Parties:
    """All of them."""

    def __init__(self, conversation: Conversation) -> None:
        self.conversation = conversation
        self.lab = TheLab(conversation)
        self.target = Target(conversation)
        self.peer = Peer(conversation)
        self.wire = Wire(conversation)
        self.driver = Driver(conversation)
