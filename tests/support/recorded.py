"""A hand-made recording of one scenario run, for the judge's tests: true by default, and bent by each test."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from wsklab.orchestrator.observe.base import KEY
from wsklab.orchestrator.observe.observation import KINDS, Observation, made_of

COOKIE = 0xC0010001
TARGET_PORT, PEER_PORT = 49200, 40001
RESET = 0xC000020D
PENDING = 0x103


def observed(t: int, source: str, kind: str, conn: int | None = None, **data: Any) -> Observation:
    """Return an observation by its names on disk; what a test leaves out is empty, 0 or false."""
    known = KINDS[source, kind, source == "driver" and "seq" in data]
    hints = get_type_hints(known)
    empty = {
        field.metadata.get(KEY, field.name): _empty(hints[field.name])
        for field in fields(known)
        if field.default is MISSING and field.default_factory is MISSING and field.name != "t"
    }
    return made_of(source, kind, t, conn, empty | data)


def _empty(hint: Any) -> object:
    """Return a value that a field of this type may have."""
    if get_origin(hint) is Literal:
        return get_args(hint)[0]
    return {int: 0, str: "", bool: False}.get(hint, [] if get_origin(hint) is tuple else None)


class Recording:
    """Builds observations in time order; the driver's lines get their numbers and stand in the ring as printed."""

    def __init__(self) -> None:
        self.observations: list[Observation] = []
        self.ring: list[dict[str, Any]] = []
        self._t = 1_000_000
        self._seq = 100
        self._steps = 0
        self._frames = 0

    def add(self, source: str, kind: str, conn: int | None = None, **data: Any) -> Recording:
        self._t += 1000
        self.observations.append(observed(self._t, source, kind, conn, **data))
        return self

    def line(self, kind: str, conn: int | None = 0, clock: int | None = None, **data: Any) -> Recording:
        """`clock`: the driver's time in it, in units of 100 ns."""
        self._seq += 1
        time = "" if clock is None else f"t={clock:016x} conn=0 "
        text = f"WSKLAB1 seq={self._seq:08x} {time}ev={kind}"
        self.ring.append({"seq": self._seq, "text": text})
        return self.add("driver", kind, conn, seq=self._seq, text=text, **data)

    def opened(self) -> Recording:
        self.add("lab", "canary", when="before", seen=True)
        self.add("lab", "opened", 0, id=7, cookie=COOKIE)
        return self.add("lab", "flow", 0, target_port=TARGET_PORT, peer_port=PEER_PORT)

    def step(self, actor: str, verb: str, **data: Any) -> Recording:
        index, self._steps = self._steps, self._steps + 1
        fields = {"outcome": "done", "detail": "", "ops": [], "expect": None, "began": self._t, **data}
        return self.add("lab", "step", index=index, actor=actor, verb=verb, text=f"{actor}: {verb}", **fields)

    def frame(self, sender: str, flags: str, seq: int = 1, length: int = 0, fate: str = "") -> Recording:
        self._frames += 1
        ports = (TARGET_PORT, PEER_PORT) if sender == "target" else (PEER_PORT, TARGET_PORT)
        return self.add(
            "wire",
            "frame",
            proto="tcp",
            sender=sender,
            flags=flags,
            seq=seq,
            ack=1,
            length=length,
            sport=ports[0],
            dport=ports[1],
            fate=fate,
            number=self._frames,
        )

    def disconnect(self, flags: int, irql: int = 0, cookie: int = COOKIE, abortive: bool | None = None) -> Recording:
        said = bool(flags & 1) if abortive is None else abortive
        return self.line("disc", flags=flags, irql=irql, cookie=cookie, abortive=said)

    def call(self, op: str, number: int, ret: int = PENDING, **data: Any) -> Recording:
        return self.line("call", op=op, id=number, ret=ret, **data)

    def done(self, op: str, number: int, status: int, length: int = 0, **data: Any) -> Recording:
        return self.line("done", op=op, id=number, status=status, length=length, **data)

    def ended(self, canary: bool = True, **left: int) -> list[Observation]:
        self.add("lab", "barrier", complete=True)
        self.add("lab", "canary", when="after", seen=canary)
        self.add("lab", "end")
        self.line("clean", None, **{"sockets": 0, "irps": 0, "indications": 0, **left})
        first = self.ring[0]["seq"]
        self.add("lab", "ring", first=first, last=self._seq, records=self.ring)
        return self.observations
