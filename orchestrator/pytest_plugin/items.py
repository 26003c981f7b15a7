"""Scenario files as items: played in an item's setup, so that a fault of the lab is an error; judged in its call."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from wsklab.common.errors import WsklabError
from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.judge.reading import Facts
from wsklab.orchestrator.live import telling
from wsklab.orchestrator.observe import observation
from wsklab.orchestrator.play.player import FAILURES
from wsklab.orchestrator.pytest_plugin.outcomes import DriverFailed, LabFailed, outcome, properties, reason
from wsklab.orchestrator.pytest_plugin.sharing import holder
from wsklab.orchestrator.results.results import ScenarioResult
from wsklab.orchestrator.scenario.catalogue import SUFFIXES
from wsklab.orchestrator.scenario.scenario import Scenario, load

ROW = pytest.StashKey[ScenarioResult]()
"""The row of an item, once there is one."""

NAMES = pytest.StashKey[dict[str, Path]]()
"""Scenario -> its file."""

LOOK = 65536
"""Bytes of a file in which it must show that it is a scenario."""


def is_scenario(path: Path) -> bool:
    """Whether a YAML file is one: it has a name and steps. Other files of a user's are his own business."""
    try:
        with path.open("rb") as file:
            start = file.read(LOOK)
    except OSError:
        return False
    return all(re.search(key, start, re.MULTILINE) for key in (rb"^name\s*:", rb"^steps\s*:"))


def is_run(path: Path) -> bool:
    """Whether a folder is that of a run, whose evidence holds scenarios that are no tests."""
    return (path / "results.jsonl").exists() or ((path / "results.json").exists() and (path / "evidence").is_dir())


class ScenarioFile(pytest.File):
    """One file, in which is one scenario."""

    def collect(self) -> Iterator[pytest.Item]:
        """Yield it, as often as it is to be repeated. Raises CollectError with file and line."""
        try:
            scenario = load(self.path)
        except UsageError as error:
            raise self.CollectError(str(error)) from None
        first = self.config.stash.setdefault(NAMES, {}).setdefault(scenario.name, self.path)
        if first != self.path:
            raise self.CollectError(
                f"{self.path}: the scenario in {first} is called '{scenario.name}', too: results are kept by name, "
                "so one of them needs another."
            )
        for number in range(1, self.config.getoption("--wsklab-repeat") + 1):
            name = scenario.name if number == 1 else f"{scenario.name}-{number}"
            yield ScenarioItem.from_parent(self, name=name, scenario=scenario, number=number)


class ScenarioItem(pytest.Item):
    """One run of one scenario."""

    def __init__(self, *, scenario: Scenario, number: int, **words: Any) -> None:
        super().__init__(**words)
        self.scenario = scenario
        self.number = number
        self.extra_keyword_matches |= {scenario.name, *scenario.tags, *scenario.covers}
        for tag in scenario.tags:
            self.config.addinivalue_line("markers", f"{tag}: a tag of scenarios")
            self.add_marker(tag)

    def setup(self) -> None:
        """Play it. Raises LabFailed when the lab could not, so that it is an error and no failure."""
        try:
            session = holder(self.config).get()
            if why := session.misfit(self.scenario):
                pytest.skip(why)
            row = session.play(self.scenario, self.number, self.config.getoption("--wsklab-shared"))
        except (WsklabError, *FAILURES) as error:
            raise LabFailed(str(error)) from None
        self.stash[ROW] = row
        self.user_properties += properties(row, session.folder)
        if outcome(row) == "error":
            raise LabFailed(reason(row))

    def runtest(self) -> None:
        """Say what came of it."""
        row = self.stash[ROW]
        match outcome(row, self.config.getoption("--wsklab-inconclusive")):
            case "failed":
                raise DriverFailed(reason(row))
            case "skipped":
                pytest.skip(reason(row))
            case "xfailed":
                pytest.xfail(reason(row))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Return what is wrong first, then what was told and what was on the wire; no trace of the lab's own code."""
        if isinstance(excinfo.value, (DriverFailed, LabFailed)):
            text = str(excinfo.value)
            return f"{text}\n\n{self._story()}" if ROW in self.stash else text
        return super().repr_failure(excinfo, style)

    def _story(self) -> str:
        session = holder(self.config).get()
        folder = session.folder / self.stash[ROW].evidence
        try:
            seen = observation.read(folder / "observations.jsonl").observations
        except UsageError as error:
            return f"The evidence cannot be read: {error}"
        return f"{telling.told(Facts(self.scenario, seen))}\n\nevidence: {folder}"

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Return the line of the scenario's name, to which an editor jumps."""
        lines = self.path.read_text(encoding="utf-8", errors="replace").splitlines()
        line = next((number for number, text in enumerate(lines) if text.startswith("name")), 0)
        return self.path, line, f"scenario {self.name}"


def collected(path: Path, parent: pytest.Collector) -> ScenarioFile | None:
    """Return the collector of a file that is a scenario."""
    if path.suffix in SUFFIXES and is_scenario(path):
        return ScenarioFile.from_parent(parent, path=path)
    return None
