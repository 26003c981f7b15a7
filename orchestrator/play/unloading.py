"""Unloading the driver in the middle of its work: `DriverUnload` has to clean up by itself (R80, R82)."""

from __future__ import annotations

import time

from wsklab.orchestrator.errors import LabError, StepError
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
    _unload(context)
    context.lab.reload()
    context.first_line = 1


def and_loaded_again(context: PlayContext) -> None:
    """Do the same; where the driver does not load as the scenario has it, it is loaded without that, for what follows.

    Raises AgentError when it does not go, StepError when it does not load.
    """
    _unload(context)
    try:
        context.lab.reload()
    except LabError as error:
        context.lab.journal.check()
        context.lab.ask_nothing()
        context.lab.reload()
        raise StepError(str(error)) from None
    finally:
        context.first_line = 1


def _unload(context: PlayContext) -> None:
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
