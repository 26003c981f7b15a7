"""What a verdict is, and what a row of `results.json` tells of what was seen."""

from __future__ import annotations

from typing import Literal

from typing_extensions import TypedDict

Verdict = Literal["pass", "fail", "inconclusive", "infra"]
VERDICTS: tuple[Verdict, ...] = ("pass", "fail", "inconclusive", "infra")


class Disconnect(TypedDict):
    """One call of WskDisconnectEvent; null is what the driver's text does not tell."""

    conn: int | None
    flags: int | None
    abortive: bool | None
    at_dispatch: bool | None
    irql: int | None
    context_ok: bool | None
    order: int | None


class Transfer(TypedDict):
    """One completed send or receive; `status` is an NTSTATUS in hex."""

    conn: int | None
    status: str
    length: int
    order: int


class Ends(TypedDict):
    """The `fin` and `rst` segments that each side sent, a list for each connection, and how many frames there were."""

    peer: list[list[str]]
    driver: list[list[str]]
    frames: int


class Observed(TypedDict):
    """What was seen; every row has all of it, empty where there was nothing to see."""

    disconnects: list[Disconnect]
    receives: list[Transfer]
    sends: list[Transfer]
    wire: Ends


def observed() -> Observed:
    """Return what a row has that saw nothing."""
    return Observed(disconnects=[], receives=[], sends=[], wire=Ends(peer=[], driver=[], frames=0))
