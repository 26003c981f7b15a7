"""What a run was asked for and what it came to: `results.json`, schema 2, a contract (docs/results.md).

Rows are kept in `results.jsonl` as they come (`rows.py`); the document is made of them at the end (`publish.py`).
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from wsklab.common import files
from wsklab.orchestrator.errors import ALL_PASS, INTERRUPTED, NOT_PROVEN, SOME_FAIL
from wsklab.orchestrator.judge.observed import VERDICTS, Disconnect, Observed, Verdict, observed
from wsklab.orchestrator.results.story import Story

__all__ = ["VERDICTS", "Observed", "Verdict", "observed"]

SCHEMA: Final = 2

UNLOAD = "driver-unload"
"""The last row of every run: the driver unloads and leaves nothing behind."""

UNLOAD_COVERS = ("R80", "R82", "BF71")

State = Literal["running", "complete", "interrupted", "aborted"]
"""`running` is what a killed run leaves behind; only `complete` can be green."""


@dataclass(frozen=True)
class Met:
    """What `known.yaml` has to say of a row: a `known` failure breaks no run, the other two do."""

    kind: Literal["known", "unexpected-pass", "expired"]
    said: str


@dataclass(frozen=True)
class ScenarioResult:
    """One run of one scenario: a row. Times in seconds; `evidence` is relative to the run's folder."""

    name: str
    title: str
    repeat: int
    verdict: Verdict
    reasons: Sequence[str]
    covers: Sequence[str]
    expected: Mapping[str, JsonValue]
    observed: Observed
    timing: Mapping[str, float]
    evidence: str
    findings: Sequence[str] = ()
    """Where the target's undocumented behaviour is not as recorded; no verdict depends on it."""
    known: Met | None = None
    variant: str = ""
    """Of the machine; "" is the machine as its profile says."""
    story: Story | None = None
    """What went wrong, told; only where something did."""

    @property
    def excused(self) -> bool:
        """Whether it failed in a way that is known."""
        return self.known is not None and self.known.kind == "known"

    @property
    def label(self) -> str:
        """Its name for people, with the variant."""
        return labelled(self.name, self.variant)

    @property
    def again(self) -> bool:
        """A repetition that passed: it has nothing to tell that the first one has not told."""
        return self.verdict == "pass" and self.repeat > 1 and self.name != UNLOAD


def labelled(name: str, variant: str) -> str:
    """Return a scenario's name with the variant of the machine, where it is one."""
    return f"{name} [{variant}]" if variant else name


@dataclass(frozen=True)
class Plan:
    """What a run was asked for: each scenario `repeat` times, or without a number until it is told to end."""

    scenarios: Sequence[str] = ()
    repeat: int | None = None
    until_fail: bool = False
    """It ends, complete, at the first row that does not pass."""
    variants: Sequence[str] = ("",)
    """Of the machine: each scenario is run on each; "" is the machine as its profile says."""
    left_out: Sequence[str] = ()
    """Scenarios that cannot be played on a variant, with its name."""

    @property
    def asked(self) -> int | None:
        """Rows asked for, the driver's unload not counted; None: no number was named."""
        return (
            None
            if self.repeat is None
            else self.repeat * (len(self.scenarios) * len(self.variants) - len(self.left_out))
        )

    def left(self, rows: Sequence[ScenarioResult]) -> int | None:
        """Rows that are still to come, the driver's unload not counted; None: no number was named."""
        return None if self.asked is None else self.asked - sum(row.name != UNLOAD for row in rows)

    def ended_by(self, rows: Sequence[ScenarioResult]) -> bool:
        """Whether a row has come at which the run was asked to end."""
        return self.until_fail and any(row.verdict != "pass" and not row.excused for row in rows if row.name != UNLOAD)

    def missing(self, rows: Sequence[ScenarioResult]) -> dict[str, int]:
        """Label -> how many rows of it were asked for and never reported, the unloads of the driver among them."""
        if not self.scenarios:
            return {}
        seen = Counter((row.name, row.variant) for row in rows)
        ended = self.ended_by(rows)
        missing: dict[str, int] = {}
        for variant in self.variants:
            wanted = 0 if self.repeat is None or ended else self.repeat
            for name in self.scenarios:
                if seen[name, variant] < wanted and labelled(name, variant) not in self.left_out:
                    missing[labelled(name, variant)] = wanted - seen[name, variant]
            never_begun = ended and not any(row.variant == variant for row in rows)
            if not seen[UNLOAD, variant] and not never_begun:
                missing[labelled(UNLOAD, variant)] = 1
        return missing

    def ordered(self, rows: Sequence[ScenarioResult]) -> list[ScenarioResult]:
        """Return the rows as they were asked for, whoever finished first; the unloads come last."""
        return [rows[number] for number in self.order(rows)]

    def order(self, rows: Sequence[ScenarioResult]) -> Sequence[int]:
        """Return where each of the ordered rows is in `rows`."""
        places = {name: place for place, name in enumerate(self.scenarios)}
        if not places:
            return range(len(rows))
        of = {variant: place for place, variant in enumerate(self.variants)}

        def place(number: int) -> tuple[object, ...]:
            row = rows[number]
            return (row.name == UNLOAD, of.get(row.variant, len(of)), row.repeat, places.get(row.name, len(places)))

        return sorted(range(len(rows)), key=place)


class Document(BaseModel):
    """`results.json`."""

    model_config = ConfigDict(frozen=True, defer_build=True, title="wsklab results, schema 2")

    schema_: Literal[2] = Field(alias="schema")
    state: State
    why: str | None
    """Why the run is not complete, or why a complete one ended before the last row."""
    exit_code: int
    asked: int | None
    """Rows asked for, the unload not counted; null: until something fails."""
    not_run: Mapping[str, int]
    """Scenario -> rows that were asked for and are not there."""
    plan: Plan
    run: Mapping[str, JsonValue]
    target: Mapping[str, JsonValue]
    driver: Mapping[str, JsonValue]
    totals: Mapping[str, int]
    scenarios: Sequence[ScenarioResult]
    """The rows; empty while the run goes on, when they are in `results.jsonl`."""


@dataclass
class Results:
    """Everything about one run; labs add rows to it."""

    run: dict[str, JsonValue]
    target: dict[str, JsonValue] = field(default_factory=dict)
    driver: dict[str, JsonValue] = field(default_factory=dict)
    scenarios: list[ScenarioResult] = field(default_factory=list)
    plan: Plan = Plan()
    state: State = "running"
    why: str | None = None

    def conclude(self, state: State, why: str | None = None) -> None:
        """Say how the run ended. One that lacks rows that were asked for is not complete, whoever says so."""
        self.state, self.why = state, why
        if state == "complete" and self.missing:
            self.state, self.why = "aborted", why or "nobody reported them, which is a mistake in wsklab"
        elif state == "complete" and self.plan.ended_by(self.scenarios):
            self.why = "it was to end at the first row that does not pass"

    @property
    def missing(self) -> dict[str, int]:
        """Name -> rows that were asked for and never reported."""
        return self.plan.missing(self.scenarios)

    @property
    def totals(self) -> dict[str, int]:
        """Verdict -> count, how many scenarios are flaky (different verdicts in one run), and rows not run.

        A known failure counts as `known` alone; that and what else `known.yaml` says is there where it says something.
        """
        counts = Counter(result.verdict for result in self.scenarios if not result.excused)
        met = Counter(result.known.kind.replace("-", "_") for result in self.scenarios if result.known)
        return (
            {verdict: counts[verdict] for verdict in VERDICTS}
            | dict(sorted(met.items()))
            | {
                "flaky": len(self.flaky),
                "all": len(self.scenarios),
                "not_run": sum(self.missing.values()),
            }
        )

    @property
    def flaky(self) -> list[str]:
        """Scenarios that were repeated and did not always get the same verdict."""
        verdicts: dict[str, set[str]] = {}
        for result in self.scenarios:
            if result.excused:  # one that fails now and then is known to
                continue
            verdicts.setdefault(result.label, set()).add(result.verdict)
        return sorted(name for name, seen in verdicts.items() if len(seen) > 1)

    @property
    def exit_code(self) -> int:
        """As the contract says: what is not whole proves nothing; a fail or a flake outranks what is not proven."""
        if self.state == "interrupted":
            return INTERRUPTED
        if self.state != "complete" or self.missing:
            return NOT_PROVEN
        totals = self.totals
        if any(totals.get(key) for key in ("fail", "flaky", "unexpected_pass", "expired")):
            return SOME_FAIL
        return NOT_PROVEN if totals["inconclusive"] or totals["infra"] or not totals["all"] else ALL_PASS

    @property
    def shortfall(self) -> str | None:
        """One sentence on what was not run and why; None for a complete run."""
        if self.state == "complete":
            return None
        asked, missing = self.plan.asked, self.missing
        run = sum(row.name != UNLOAD for row in self.scenarios)
        unload = sum(missing.pop(labelled(UNLOAD, variant), 0) for variant in self.plan.variants)
        why = f"{self.state}: {self.why}" if self.why and self.state != "interrupted" else self.why or self.state
        if asked is None:
            return f"{run} run, no number asked for: {why}"
        if missing:
            return f"{run} of {asked} run; {sum(missing.values())} not run: {why}"
        return f"{run} of {asked} run{', the unload not judged' if unload else ''}: {why}"

    @property
    def document(self) -> Document:
        """The document, its rows in the order in which they were asked for."""
        return self._document(self.plan.ordered(self.scenarios))

    @property
    def head(self) -> dict[str, JsonValue]:
        """The document without its rows."""
        return self._document(()).model_dump(by_alias=True, exclude={"scenarios"})

    def _document(self, rows: Sequence[ScenarioResult]) -> Document:
        return Document(
            schema=SCHEMA,
            state=self.state,
            why=self.why,
            exit_code=self.exit_code,
            asked=self.plan.asked,
            not_run=self.missing,
            plan=self.plan,
            run=self.run,
            target=self.target,
            driver=self.driver,
            totals=self.totals,
            scenarios=rows,
        )

    def as_dict(self) -> dict[str, JsonValue]:
        """Return the document as it is written."""
        return self.head | {"scenarios": [asdict(row) for row in self.plan.ordered(self.scenarios)]}

    def as_text(self) -> str:
        """Return the document as JSON."""
        rows = self.plan.ordered(self.scenarios)
        return "".join(as_pieces(self.head, (json.dumps(asdict(row)) for row in rows)))


def as_pieces(head: Mapping[str, JsonValue], rows: Iterable[str] = ()) -> Iterator[str]:
    """Yield a document as JSON, a line for each row, which is JSON already: there may be a million of them."""
    yield json.dumps(head, indent=1).removesuffix("\n}") + ',\n "scenarios": ['
    for number, row in enumerate(rows):
        yield f"{',' if number else ''}\n  {row}"
    yield "\n ]\n}\n"


def call_words(call: Disconnect) -> str:
    """One call of WskDisconnectEvent (of a row's `observed`), as far as the driver's text told it."""
    ending = {True: "abortive", False: "graceful", None: "not told"}[call["abortive"]]
    return ending if call["flags"] is None else f"{ending} {call['flags']:#x}"


def read(path: Path) -> dict[str, JsonValue]:
    """Return a results file as written. Raises OSError and ValueError."""
    document = files.read_json(path, files.RESULT)
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise ValueError(f"{path} is not a results file of schema {SCHEMA}")
    return document


def write_atomically(path: Path, text: str | Iterable[str]) -> None:
    """Write a text, or its pieces, beside `path` and rename over it; nothing is left beside it when that fails."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with beside.open("w", encoding="utf-8") as file:
            file.writelines((text,) if isinstance(text, str) else text)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
