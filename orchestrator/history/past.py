"""The past of scenarios, told from the cells of their runs. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from wsklab.orchestrator.history.queries import Cell, Kept
from wsklab.orchestrator.history.records import Environment, Ingredients, Run
from wsklab.orchestrator.history.statistics import Break, Count, Drift, Rate, broke, drift, rate

NAMES = {
    "driver_sha256": "driver",
    "image_sha256": "image of the target",
    "target_version": "version of the target",
    "qemu": "QEMU",
    "lab": "wsklab",
    "host": "host's kernel",
}
"""What each ingredient is called."""

HASHES = frozenset({"driver_sha256", "image_sha256"})


def mark(cell: Cell | None) -> str:
    """One sign for a scenario in a run: p(ass), f(ail), i(nconclusive), x (infra), k(nown), ~ (flaky), . (not run)."""
    if cell is None or not cell.counts:
        return "."
    if len(cell.counts) > 1:
        return "~"
    return {"pass": "p", "fail": "f", "inconclusive": "i", "infra": "x", "known": "k"}[next(iter(cell.counts))]


def changed(before: Run, after: Run) -> Iterator[str]:
    """Yield what took part in one run and not in the other, a phrase for each."""
    old, new = asdict(before.ingredients), asdict(after.ingredients)
    for name in Ingredients.__dataclass_fields__:
        if old[name] != new[name]:
            was, now = (value[:12] if name in HASHES else value for value in (old[name], new[name]))
            yield f"{NAMES[name]} {was or 'unknown'} -> {now or 'unknown'}"
    if before.node != after.node:
        yield f"machine {before.node} -> {after.node}"
    if before.seed != after.seed:
        yield f"seed {before.seed} -> {after.seed}"


@dataclass(frozen=True)
class Past:
    """One scenario under one environment, oldest run first."""

    scenario: str
    environment: Environment
    runs: Sequence[Kept]
    cells: Sequence[Cell]
    rate: Rate
    """Of the rows that were made with what the newest run was made with: another build is another driver."""
    broke: Break | None
    drift: Drift | None

    @property
    def marks(self) -> str:
        """One sign for each run."""
        return "".join(mark(cell) for cell in self.cells)

    @property
    def is_twin(self) -> bool:
        """Whether its driver was wrong on purpose."""
        return self.runs[-1].run.is_twin

    @property
    def trouble(self) -> bool:
        """Whether somebody should look at it."""
        return not self.is_twin and bool(self.broke or self.newest.bad)

    @property
    def newest(self) -> Cell:
        """What became of it last."""
        return self.cells[-1]


def pasts(scenario: str, runs: Sequence[Kept], cells: Mapping[int, Cell]) -> list[Past]:
    """Return a scenario's past under each environment, the one that was run last first; those of twins at the end."""
    groups: dict[Environment, list[Kept]] = {}
    for kept in runs:
        if kept.id in cells:
            groups.setdefault(kept.run.environment, []).append(kept)
    found = [_past(scenario, environment, group, cells) for environment, group in groups.items()]
    return sorted(found, key=lambda past: (not past.is_twin, past.runs[-1].run.started), reverse=True)


def _past(scenario: str, environment: Environment, runs: Sequence[Kept], cells: Mapping[int, Cell]) -> Past:
    own = [cells[kept.id] for kept in runs]
    newest = runs[-1].run
    same = [cells[kept.id] for kept in runs if _same(kept.run.ingredients, newest.ingredients)]
    times = [
        cell.times["pass"]
        for kept, cell in zip(runs, own, strict=True)
        if kept.run.node == newest.node and "pass" in cell.times
    ]
    return Past(
        scenario,
        environment,
        runs,
        own,
        rate(sum(cell.bad for cell in same), sum(cell.judged for cell in same)),
        broke([Count(place, cell.bad, cell.judged) for place, cell in enumerate(own)]),
        drift(times),
    )


def _same(one: Ingredients, other: Ingredients) -> bool:
    """Whether verdicts that differ are a flake and no change: the same driver, image and lab."""
    return (one.driver_sha256, one.image_sha256, one.qemu, one.lab) == (
        other.driver_sha256,
        other.image_sha256,
        other.qemu,
        other.lab,
    )


def sentence(past: Past) -> str:
    """Where it broke, and what changed there. Raises AssertionError for one that did not."""
    broke = past.broke
    assert broke is not None
    first = past.runs[broke.first_bad]
    where = f"run {first.id} ({first.run.name}, {first.run.when})"
    if broke.last_good is None:
        return f"It has never passed, from {where} on."
    good = past.runs[broke.last_good]
    between = ", ".join(changed(good.run, first.run)) or "nothing that is recorded"
    how = (
        "Broken since"
        if broke.steady
        else f"Does not pass in {broke.after} of its rows, before in {broke.before}: since"
    )
    return f"{how} {where}. What changed since run {good.id} ({good.run.name}): {between}."
