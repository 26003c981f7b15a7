"""Scenarios on a target that has IPv6 alone. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.scenario import verbs
from wsklab.orchestrator.scenario.scenario import Scenario

if TYPE_CHECKING:  # what other drivers need is loaded with the first of them
    from wsklab.drivers.profile import DriverProfile


def over_ipv6(
    scenarios: Sequence[Scenario], profile: DriverProfile | None, variant: str
) -> tuple[list[Scenario], list[str]]:
    """Return (the scenarios with IPv6 sockets, why others are left out).

    `profile` is that of a driver which is not ours. Raises UsageError when the driver does not speak IPv6, or nothing
    is left.
    """
    if profile is not None and (profile.provoke is None or not profile.provoke.ipv6):
        raise UsageError(
            f"--variant {variant}: the profile {profile.name} does not say that its driver listens on IPv6, too; "
            "where it does, say `ipv6: true` under `provoke`."
        )
    kept, left_out = [], []
    for scenario in scenarios:
        if any(isinstance(action.step.arguments, verbs.Address) for action in scenario.steps):
            left_out.append(f"{scenario.name} is left out of variant {variant}: it takes an IPv4 address away")
            continue
        socket = scenario.socket.model_copy(update={"family": "ipv6"})
        kept.append(scenario.model_copy(update={"socket": socket}))
    if not kept:
        raise UsageError(f"--variant {variant}: none of these scenarios can be played by IPv6 alone.")
    return kept, left_out
