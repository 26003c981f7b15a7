"""Which scenarios a driver can play that cannot be steered, only connected and observed. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from wsklab.drivers.profile import DriverProfile
from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.scenario import verbs
from wsklab.orchestrator.scenario.scenario import Scenario, Socket

HELP = "`wsklab scenario list` marks with any-driver what every driver can play"


def playable(
    scenarios: Sequence[Scenario], profile: DriverProfile, named: Collection[str], witnessed: bool = False
) -> tuple[list[Scenario], list[str]]:
    """Return (what `profile`'s driver can play, why the others are left out), a sentence for each.

    `witnessed`: the stand-in's provider tells what the driver's own text does not.

    Raises UsageError when one cannot be played and the user has `named` any by name or file, or when nothing is left.
    """
    kept, left_out = [], []
    for scenario in scenarios:
        reason = next(misfits(scenario, profile, witnessed), None)
        if reason is None:
            kept.append(scenario)
        elif named:
            raise UsageError(f"the driver {profile.name} cannot play {scenario.name}: {reason}.")
        else:
            left_out.append(f"{scenario.name} is left out: {reason}")
    if not kept:
        raise UsageError(f"the driver {profile.name} can play none of these scenarios; {HELP}.")
    return kept, left_out


def misfits(scenario: Scenario, profile: DriverProfile, witnessed: bool = False) -> Iterator[str]:
    """Everything that keeps the driver from playing it: which step or expectation, and what to do."""
    for number, action in enumerate(scenario.steps, 1):
        arguments, here = action.step.arguments, f"step {number} ({action})"
        if action.actor == "driver":
            if (
                not _open_to_all(arguments)
                or getattr(action.step, "expect", None)
                or getattr(action.step, "returns", None)
            ):
                yield (
                    f"{here} takes the lab's own driver, any other can only be told to `connect` and be watched "
                    f"with `await: disconnect`; {HELP}"
                )
        elif isinstance(arguments, verbs.PeerConnect):
            yield f"{here} is done by `driver: connect` when the peer is who connects; leave the step out"
        elif isinstance(arguments, verbs.PeerAwait) and arguments.what == "readable" and not _talks(profile):
            yield (
                f"in {here} the peer waits for bytes, and the profile does not say that the driver sends any; "
                f"give `greeting` or `replies` under `provoke`"
            )
    silent = not witnessed and all(pattern.kind == "disc" for pattern in profile.patterns)
    if not scenario.expect.disconnect and silent:
        yield (
            "it expects no event, and a driver of which only `disc` lines are known is silent for any reason; "
            "give a pattern of kind `open` or `load`"
        )
    for name in ("receive", "send", "indication", "order", "characterise"):
        if getattr(scenario.expect, name):
            yield f"it expects something under `{name}`, which only the lab's own driver reports; {HELP}"
    if scenario.socket != Socket():
        yield f"its `socket` is for the lab's own driver, any other makes its sockets as it likes; {HELP}"
    most = 1 if profile.provoke is None else profile.provoke.connections
    if scenario.connections > most:
        yield (
            f"it has {scenario.connections} connections, and the profile says that its driver has {most} at a time; "
            "if it has more, give `connections` under `provoke`, or --provoke KIND:PORT:CONNECTIONS"
        )


def _open_to_all(arguments: object) -> bool:
    if isinstance(arguments, verbs.DriverAwait):
        return arguments.what == "disconnect"
    return isinstance(arguments, verbs.Connect) and arguments == verbs.Connect.model_validate({})


def _talks(profile: DriverProfile) -> bool:
    return profile.provoke is not None and profile.provoke.talks
