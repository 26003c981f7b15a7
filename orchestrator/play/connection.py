"""One connection of a scenario, as the driver, the peer program and the wire each call it."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Connection:
    """One connection of the scenario.

    `raw` is the driver's number for it, `cookie` its context, `sock` the peer program's name for its end; the ports
    are known once it is open. `operations` lists what was started on it, by WSK function.
    """

    number: int
    raw: int
    cookie: int
    sock: str
    target_port: int | None = None
    peer_port: int | None = None
    operations: dict[str, list[int]] = field(default_factory=dict)
