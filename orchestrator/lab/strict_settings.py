"""What a scenario asks of the stand-in's strict mode, as the words that drivers/strict/config.c reads. Pure."""

from __future__ import annotations

import zlib

from wsklab.orchestrator.scenario.scenario import Scenario

WITNESSED = 8
"""Connections up to which the provider tells every call: a line of it for each of a thousand takes longer than they."""

NOTHING = "irql=passive\n"


def words(scenario: Scenario, seed: str, driver: str) -> str:
    """Return the settings; `driver` is the image under test, `seed` is of one repetition of one scenario."""
    drawn = zlib.crc32(f"{seed} {scenario.name}".encode())  # restored, all would draw the same
    asked, said = scenario.socket, [f"irql={scenario.socket.irql or 'mixed'}", f"seed={drawn}"]
    if scenario.connections > WITNESSED:
        said.append("witness=off")
    if asked.provider != "ready":
        said.append(f"provider={asked.provider}")
    if asked.rare:
        said.append("rare=on")
    if asked.concurrent:
        said.append("concurrent=on")
    if asked.pend is not None:
        said.append(f"pend={asked.pend}")
    if asked.fails is not None:
        said += [f"fail={asked.fails}", f"of={driver}"]
    return " ".join(said) + "\n"
