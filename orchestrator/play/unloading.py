"""Unloading the driver in the middle of its work: `DriverUnload` has to clean up by itself (R80, R82)."""

from __future__ import annotations

import time

from wsklab.orchestrator.guest.agent import AgentError, AgentSilent
from wsklab.orchestrator.observe.lab_notes import RingTaken
from wsklab.orchestrator.play.context import PlayContext

PATIENCE = 20.0
"""Seconds for the driver to close everything and to go."""

SERVICE_TIMED_OUT = 1053
"""ERROR_SERVICE_REQUEST_TIMEOUT: what Windows says of a service that does not end."""

STUCK = "the driver does not unload: its service was told to stop and never ended (R80, R82)"


def in_story(context: PlayContext) -> None:
    """Stop the driver's service with everything as it is, and load the driver again, as what follows needs one.

    Its lines count from 1 again then. Raises AgentError when it does not go.
    """
    lab = context.lab
    records, last = lab.target.ring(context.first_line)  # the ring goes with the driver
    context.note(RingTaken(t=time.time_ns(), first=context.first_line, last=last, records=tuple(records)))
    try:
        lab.target.unload(PATIENCE * lab.slowness)
    except (AgentSilent, TimeoutError):
        raise AgentError(STUCK, SERVICE_TIMED_OUT) from None
    except AgentError as error:
        text = STUCK if error.code == SERVICE_TIMED_OUT else f"the driver does not unload: {error}"
        raise AgentError(text, error.code) from None
    lab.reload()
    context.first_line = 1
