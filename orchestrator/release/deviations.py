"""What is otherwise than in the last qualified release, in sentences. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from wsklab.orchestrator.release.records import Cell, Count
from wsklab.orchestrator.release.statement import Lab, Predicate

Key = tuple[str, str, str]


def deviations(before: Predicate, cells: Sequence[Cell], lab: Lab) -> Iterator[str]:
    """Yield changed results, changed behaviour where both passed, and what was changed under them."""
    old = {_key(cell): cell for cell in before.cells}
    new = {_key(cell): cell for cell in cells}
    yield from (f"{cell.title} is new" for key, cell in new.items() if key not in old)
    yield from (f"{cell.title} is no longer in the plan" for key, cell in old.items() if key not in new)
    if before.begun.lab.version != lab.version:
        yield f"wsklab was {before.begun.lab.version}, is {lab.version}"
    elif before.begun.lab.sha256 != lab.sha256:
        yield f"the code of wsklab {lab.version} has changed"
    for key in [key for key in new if key in old]:
        title = new[key].title
        yield from (f"{title}: {text}" for text in _changed(_facts(old[key]), _facts(new[key])))
        yield from (f"{title}: {text}" for text in _scenarios(old[key], new[key]))


def _key(cell: Cell) -> Key:
    return cell.target, cell.driver, str(sorted(cell.options.items()))


def _facts(cell: Cell) -> dict[str, str]:
    found: dict[str, str] = {}
    for run in cell.runs[-1:]:
        found = {
            "the driver": run.driver.sha256[:16],
            "the image": run.target.image_sha256[:16],
            "the target": run.target.version,
            "the accelerator": run.accelerator,
        } | {name: text for name, text in run.versions.items() if name != "wsklab"}
    return found


def _changed(old: Mapping[str, str], new: Mapping[str, str]) -> Iterator[str]:
    for name in sorted(old.keys() & new.keys()):
        if old[name] != new[name]:
            yield f"{name} was {old[name]}, is {new[name]}"


def _scenarios(old: Cell, new: Cell) -> Iterator[str]:
    before, after = ({count.scenario: count for count in cell.scenarios} for cell in (old, new))
    for name in sorted(before.keys() | after.keys()):
        if name not in before:
            yield f"{name} is new"
        elif name not in after:
            yield f"{name} is no longer run"
        elif word(before[name]) != word(after[name]):
            yield f"{name} was {word(before[name])}, is {word(after[name])}"
        elif before[name].told != after[name].told and not after[name].recorded:
            yield f"{name} was told {' | '.join(before[name].told)}, is told {' | '.join(after[name].told)}"


def word(count: Count) -> str:
    """Return what became of a scenario, in a word."""
    if count.failed:
        return "flaky" if count.passed else "fail"
    if count.known:
        return "known"
    return "pass" if count.passed == count.runs else "not proven"
