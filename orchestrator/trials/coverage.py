"""What of the reference is checked, by what, and why the rest is not. Pure, except for reading the catalogue.

Nothing here is kept by hand but titles, tests and reasons (`requirements.yaml`): the scenarios come from their
`covers:`, the twins from the rules they break, the verdicts from results files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from wsklab.drivers.twins import Twin
from wsklab.orchestrator.errors import UsageError
from wsklab.orchestrator.results.results import UNLOAD, UNLOAD_COVERS
from wsklab.orchestrator.scenario import yaml_source
from wsklab.orchestrator.scenario.model import Strict
from wsklab.orchestrator.scenario.scenario import KNOWN, ExpectedTransfer, Scenario

CATALOGUE = Path(__file__).with_name("requirements.yaml")
WAYS = {
    "scenarios": "judged by scenarios",
    "tests": "by other tests",
    "recorded": "only recorded by scenarios",
    "not here": "not on the stand-in",
    "nothing": "by nothing, which is a mistake",
}
GROUPS = {"R": "Requirements", "C": "Endings", "BF": "Bugs met in the field"}


class Entry(Strict):
    """One number of the reference; the head of requirements.yaml says what the keys mean."""

    title: str
    elsewhere: list[str] = []
    not_on_standin: str | None = None
    limit: str | None = None


class Catalogue(Strict):
    """requirements.yaml."""

    unassigned: list[str]
    entries: dict[str, Entry]


@dataclass(frozen=True)
class Use:
    """A scenario that covers a number; `recorded`: it characterises the events instead of judging them (mark X)."""

    scenario: str
    recorded: bool
    verdict: str | None = None
    run: str | None = None


@dataclass(frozen=True)
class Row:
    """Everything that is known about one number."""

    id: str
    title: str
    scenarios: tuple[Use, ...]
    elsewhere: tuple[str, ...]
    not_on_standin: str | None
    limit: str | None
    twins: tuple[str, ...]

    @property
    def by(self) -> str:
        """The strongest check: one of WAYS."""
        if any(not use.recorded for use in self.scenarios):
            return "scenarios"
        if self.elsewhere:
            return "tests"
        if self.scenarios:
            return "recorded"
        return "not here" if self.not_on_standin else "nothing"


def _tells(flag: str) -> Callable[[Scenario], bool]:
    return lambda s: any(event.abortive == flag for event in s.expect.disconnect)


def _never_enabled(s: Scenario) -> bool:
    return not s.expect.disconnect and not any(getattr(action.step, "enable", None) for action in s.steps)


def _receives(wanted: Callable[[ExpectedTransfer], bool]) -> Callable[[Scenario], bool]:
    return lambda s: any(wanted(transfer) for transfer in s.expect.receive or ())


def _fails_after(s: Scenario) -> bool:
    sends = any(getattr(a.step, "send", None) and getattr(a.step, "expect", None) == "failure" for a in s.steps)
    return sends or any(t.status == "failure" for t in [*(s.expect.receive or ()), *(s.expect.send or ())])


DEMANDS: dict[str, tuple[Callable[[Scenario], bool], str]] = {
    "R2": (_never_enabled, "events that are never enabled, and no call expected"),
    "R3": (_never_enabled, "events that are never enabled, and no call expected"),
    "R5": (_tells("set"), "a call with abortive: set"),
    "R6": (_tells("clear"), "a call with abortive: clear"),
    "R4": (lambda s: any(event.context == "own" for event in s.expect.disconnect), "a call with context: own"),
    "R13": (_fails_after, "a send or receive that fails"),
    "R21": (lambda s: not s.expect.disconnect, "no call expected"),
    "R43": (_receives(lambda t: t.status == "success" and t.length == 0), "a receive of 0 bytes"),
    "R45": (_receives(lambda t: t.status not in ("any", "success", "pending")), "a receive that fails"),
}
"""What a scenario must expect if it claims this number and judges: a claim that nothing would contradict is none."""


@dataclass(frozen=True)
class Verdict:
    """The newest verdict on one scenario in the results files given."""

    verdict: str
    run: str
    started: str


def catalogue() -> Catalogue:
    """Return the catalogue of titles, tests and reasons. Raises UsageError."""
    return yaml_source.load(CATALOGUE, Catalogue)


def rows(
    known: Catalogue, scenarios: Iterable[Scenario], twins: Iterable[Twin], verdicts: Mapping[str, Verdict]
) -> list[Row]:
    """One row for each assigned number, in the order of the reference."""
    covering = _covering(scenarios)
    breaking = list(twins)

    def use(name: str, recorded: bool) -> Use:
        last = verdicts.get(name)
        return Use(name, recorded, last.verdict if last else None, last.run if last else None)

    return [
        Row(
            number,
            entry.title,
            tuple(use(*pair) for pair in covering.get(number, ())),
            tuple(entry.elsewhere),
            entry.not_on_standin,
            entry.limit,
            tuple(twin.name for twin in breaking if number in twin.rules),
        )
        for number, entry in sorted(known.entries.items(), key=lambda item: _order(item[0]))
    ]


def _covering(scenarios: Iterable[Scenario]) -> dict[str, list[tuple[str, bool]]]:
    """Return number -> (scenario, whether it only records), the unload that ends every run included."""
    found: dict[str, list[tuple[str, bool]]] = {}
    for scenario in scenarios:
        for number in dict.fromkeys(scenario.covers):
            found.setdefault(number, []).append((scenario.name, scenario.expect.characterise))
    for number in UNLOAD_COVERS:
        found.setdefault(number, []).append((UNLOAD, False))
    return found


def _order(number: str) -> tuple[int, int]:
    letters = number.rstrip("0123456789")
    return list(GROUPS).index(letters), int(number.removeprefix(letters))


def problems(known: Catalogue, scenarios: Sequence[Scenario], table: Iterable[Row]) -> Iterator[str]:
    """Yield what keeps the table from being complete and free of contradiction, one sentence each."""
    listed, unassigned = set(known.entries), set(known.unassigned)
    for number in sorted(KNOWN - listed - unassigned, key=_order):
        yield f"{number} is not in requirements.yaml"
    for number in sorted((listed - KNOWN) | (unassigned - KNOWN)):
        yield f"{number} is no number of the reference"
    for number in sorted(unassigned & (listed | set(_covering(scenarios))), key=_order):
        yield f"{number} is unassigned, but somebody claims it"
    for scenario in scenarios:
        for number in () if scenario.expect.characterise else scenario.covers:
            meets, words = DEMANDS.get(number, (lambda s: True, ""))
            if not meets(scenario):
                yield f"{scenario.name} claims {number}, which needs {words}"
    for row in table:
        if row.by == "nothing":
            yield f"{row.id} has neither scenario nor test nor a reason: {row.title}"
        if row.not_on_standin and (row.scenarios or row.elsewhere):
            checker = row.scenarios[0].scenario if row.scenarios else row.elsewhere[0]
            yield f"{row.id} gives a reason for not being checked, but {checker} checks it"
        if row.limit and not (row.scenarios or row.elsewhere):
            yield f"{row.id} limits a check that there is not"


def newest(documents: Iterable[Mapping[str, Any]]) -> dict[str, Verdict]:
    """Scenario -> its verdict in the newest of these results files. Raises UsageError for runs of a twin."""
    found: dict[str, Verdict] = {}
    for document in sorted(documents, key=lambda d: str(d["run"]["started"])):
        run = document["run"]
        if document["driver"].get("twin"):
            raise UsageError(
                f"run {run['id']} is of the twin '{document['driver']['twin']}'; coverage is of the correct driver."
            )
        seen: dict[str, set[str]] = {}
        for result in document["scenarios"]:
            seen.setdefault(result["name"], set()).add(result["verdict"])
        for name, all_seen in seen.items():
            found[name] = Verdict(all_seen.pop() if len(all_seen) == 1 else "flaky", run["id"], run["started"])
    return found


def counts(table: Iterable[Row]) -> dict[str, dict[str, int]]:
    """Group -> way of checking -> how many numbers are checked in no stronger way."""
    found = {letters: dict.fromkeys(WAYS, 0) for letters in GROUPS}
    for row in table:
        found[row.id.rstrip("0123456789")][row.by] += 1
    return found


def as_document(table: Sequence[Row], wrong: Sequence[str]) -> dict[str, Any]:
    """`wsklab scenario coverage --json`."""
    return {
        "schema": 1,
        "counts": counts(table),
        "problems": list(wrong),
        "rows": [asdict(row) | {"by": row.by} for row in table],
    }


# --- docs/coverage.md -------------------------------------------------------------------------------------------------

HEAD = """\
# What is checked, and what is not

<!-- Written by `wsklab scenario coverage --markdown`; a test compares it. Change scenarios or requirements.yaml. -->

R are requirements on WSK and its clients, C the ways a TCP connection ends, BF bugs that were met in the field.
Scenarios are named as `wsklab run` knows them; *recorded* means that documents do not say what Windows does: the
scenario judges the wire and keeps what the driver was told, without calling it right or wrong. Tests run without
machines; those of the provider show that the stand-in keeps to the rule. The last column names the wrong builds of the
driver that break the rule on purpose; `wsklab run --twins` shows which scenarios catch them.

**All of this is about the stand-in.** A statement about WSK that holds there does not hold on Windows for that reason.
`wsklab scenario coverage --results results.json` adds the verdicts of real runs.
"""


def markdown(table: Sequence[Row]) -> str:
    """Return the page docs/coverage.md."""
    ways = [way for way in WAYS if way != "nothing"]
    lines = [HEAD, f"| | {' | '.join(WAYS[way] for way in ways)} |", "|---" * (len(ways) + 1) + "|"]
    for letters, count in counts(table).items():
        lines.append(f"| {GROUPS[letters]} | {' | '.join(str(count[way]) for way in ways)} |")
    for letters, title in GROUPS.items():
        lines += ["", f"## {title}", "", "| | what it says | checked by | twins |", "|---|---|---|---|"]
        lines += [_line(row) for row in table if row.id.rstrip("0123456789") == letters]
    return "\n".join(lines) + "\n"


def _line(row: Row) -> str:
    checked = [f"`{use.scenario}`{' (recorded)' if use.recorded else ''}" for use in row.scenarios]
    checked += [f"test `{short(test)}`" for test in row.elsewhere]
    cell = ", ".join(checked) or f"*not here:* {row.not_on_standin or '**nothing**'}"
    if row.limit:
        cell += f". *Limit:* {row.limit}"
    cells = (row.id, row.title, cell, ", ".join(f"`{twin}`" for twin in row.twins))
    return "| " + " | ".join(text.replace("|", "\\|") for text in cells) + " |"


def short(test: str) -> str:
    """Return the telling part of a pytest name: the case in brackets, or the function."""
    name = test.rpartition("::")[2]
    return name.partition("[")[2].rstrip("]") or name
