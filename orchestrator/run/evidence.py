"""The evidence folder of one scenario: everything that the verdict rests on, valid whenever the run is killed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from pydantic import JsonValue

from wsklab.common.text import visible
from wsklab.orchestrator.judge.judge import Judgement
from wsklab.orchestrator.observe import observation
from wsklab.orchestrator.observe.driver_lines import DriverLine
from wsklab.orchestrator.observe.lab_notes import Unread
from wsklab.orchestrator.observe.observation import Observation
from wsklab.orchestrator.observe.wsk_lines import WskSeen
from wsklab.orchestrator.results import beside
from wsklab.orchestrator.results.comments import of_frames
from wsklab.orchestrator.results.story import Story
from wsklab.orchestrator.scenario.scenario import Scenario
from wsklab.qemu import network
from wsklab.qemu.logfile import LogFile
from wsklab.qemu.wire.annotate import annotated

NEEDED_FREE = 512 * 1024 * 1024
"""Bytes of disk that must be free before a run starts: recordings and logs, with room to spare."""

NAMES = {
    address: name
    for name, host in {**network.MACHINES, "wire": network.WIRE}.items()
    for address in host.addresses.values()
}
"""Who has which address."""


@dataclass(frozen=True)
class Slice:
    """The part of a growing log file that belongs to one scenario."""

    log: LogFile
    position: int

    @classmethod
    def begin(cls, log: LogFile) -> Slice:
        """From the present end of `log`."""
        return cls(log, log.position)

    def save(self, path: Path) -> None:
        """Copy what has been added since to `path`; of very much the beginning and the end."""
        self.log.copy(path, self.position)


def save(
    folder: Path, scenario: Scenario, observations: Sequence[Observation], judgement: Judgement, logs: dict[str, Slice]
) -> None:
    """Write the folder: the scenario as it was read, what was observed, the logs, and last the verdict."""
    (folder / "scenario.yaml").write_text(
        yaml.safe_dump(as_document(scenario), sort_keys=False, width=110), encoding="utf-8"
    )
    observation.write(folder / "observations.jsonl", observations)
    printed = (o for o in observations if isinstance(o, (DriverLine, Unread)) and not isinstance(o, WskSeen))
    lines = [visible(o.text, lines=True) for o in printed]
    (folder / "debug.txt").write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    for name, part in logs.items():
        part.save(folder / name)
    if scenario.capture:
        left, right = beside.of_capture(scenario.capture), beside.of_run(observations)
        text = beside.drawing(left, right, ("the capture", "this run"))
        (folder / beside.FILE).write_text(text, encoding="utf-8")
    verdict = {
        "verdict": judgement.verdict,
        "reasons": judgement.reasons,
        "remarks": judgement.remarks,
        "observed": judgement.observed,
    }
    (folder / "verdict.json").write_text(json.dumps(verdict, indent=1) + "\n", encoding="utf-8")


def annotate(folder: Path, observations: Sequence[Observation], story: Story | None) -> None:
    """Give the recording names for addresses, and the driver's lines as comments; frames and numbers stay as they are.

    Raises OSError.
    """
    recording = folder / "wire.pcapng"
    if not recording.exists():
        return
    told = {number: [visible(text) for text in texts] for number, texts in of_frames(observations, story).items()}
    beside = recording.with_suffix(".annotated")
    beside.write_bytes(annotated(recording.read_bytes(), told, NAMES))
    beside.replace(recording)


def as_document(scenario: Scenario) -> dict[str, JsonValue]:
    """Return a scenario as it would be written by hand: only what was said."""
    document: dict[str, JsonValue] = scenario.model_dump(mode="json", by_alias=True, exclude_unset=True)
    return document


def expected(scenario: Scenario) -> dict[str, JsonValue]:
    """Return what of it must be observed."""
    return scenario.expect.model_dump(mode="json", by_alias=True, exclude_unset=True)
