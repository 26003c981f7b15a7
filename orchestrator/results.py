"""`results.json` (schema version 1, a contract): written anew after every scenario, valid whenever a run is killed."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from wsklab.common import files

SCHEMA = 1

# Exit codes of the command line (a contract: scripts rely on them).
ALL_PASS, SOME_FAIL, WRONG_USAGE, NOT_PROVEN, INTERRUPTED = 0, 1, 2, 3, 130

UNLOAD = "driver-unload"
"""The last row of every run: the driver unloads and leaves nothing behind."""

UNLOAD_COVERS = ("R80", "R82", "BF71")


@dataclass
class ScenarioResult:
    """One run of one scenario. Times in seconds; `evidence` is relative to the run's folder."""

    name: str
    title: str
    repeat: int
    verdict: str
    reasons: list[str]
    covers: list[str]
    expected: dict[str, Any]
    observed: dict[str, Any]
    timing: dict[str, float]
    evidence: str
    findings: list[str] = field(default_factory=list)
    """Where the target's undocumented behaviour is not as recorded; no verdict depends on it."""


    @property
    def again(self) -> bool:
        """A repetition that passed: it has nothing to tell that the first one has not told."""
        return self.verdict == "pass" and self.repeat > 1 and self.name != UNLOAD


@dataclass
class Results:
    """Everything about one run."""

    run: dict[str, Any]
    target: dict[str, Any] = field(default_factory=dict)
    driver: dict[str, Any] = field(default_factory=dict)
    scenarios: list[ScenarioResult] = field(default_factory=list)
    timing: dict[str, float] = field(default_factory=dict)
    _rows: dict[int, str] = field(default_factory=dict, init=False, repr=False)

    @property
    def totals(self) -> dict[str, int]:
        """Verdict -> count, and how many scenarios are flaky (different verdicts in one run)."""
        counts = Counter(result.verdict for result in self.scenarios)
        keys = ("pass", "fail", "inconclusive", "infra")
        return {key: counts[key] for key in keys} | {"flaky": len(self.flaky), "all": len(self.scenarios)}

    @property
    def flaky(self) -> list[str]:
        """Scenarios that were repeated and did not always get the same verdict."""
        verdicts: dict[str, set[str]] = {}
        for result in self.scenarios:
            verdicts.setdefault(result.name, set()).add(result.verdict)
        return sorted(name for name, seen in verdicts.items() if len(seen) > 1)

    @property
    def exit_code(self) -> int:
        """As the contract says: a fail or a flake outranks what could not be proven."""
        totals = self.totals
        if totals["fail"] or totals["flaky"]:
            return SOME_FAIL
        return NOT_PROVEN if totals["inconclusive"] or totals["infra"] or not totals["all"] else ALL_PASS

    def as_dict(self) -> dict[str, Any]:
        """The document as it is written."""
        return self._head() | {"scenarios": [asdict(result) for result in self.scenarios]}

    def _head(self) -> dict[str, Any]:
        return {"schema": SCHEMA, "run": self.run, "target": self.target, "driver": self.driver,
                "totals": self.totals, "timing": self.timing}

    def write(self, path: Path) -> None:
        """Replace `path` atomically: a reader, or a kill, never finds half a file.

        It is written after each of perhaps thousands of rows: what was turned into JSON once is not turned again.
        """
        for result in self.scenarios:
            if id(result) not in self._rows:
                self._rows[id(result)] = json.dumps(asdict(result))
        rows = [self._rows[id(result)] for result in self.scenarios]
        head = json.dumps(self._head(), indent=1).removesuffix("\n}")
        write_atomically(path, head + ',\n "scenarios": [\n  ' + ",\n  ".join(rows) + "\n ]\n}\n")


def call_words(call: Mapping[str, Any]) -> str:
    """One call of WskDisconnectEvent (of a row's `observed`), as far as the driver's text told it."""
    ending = {True: "abortive", False: "graceful", None: "not told"}[call["abortive"]]
    return ending if call["flags"] is None else f"{ending} {call['flags']:#x}"


def read(path: Path) -> dict[str, Any]:
    """A results file as written. Raises OSError and ValueError."""
    document = files.read_json(path, files.RESULT)
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise ValueError(f"{path} is not a results file of schema {SCHEMA}")
    return document


def write_atomically(path: Path, text: str) -> None:
    """Write beside `path` and rename over it."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(text, encoding="utf-8")
    beside.replace(path)
