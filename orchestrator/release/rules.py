"""Go or no-go: the plan's rules, held against what the runs came to. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date

from wsklab.orchestrator.release.errata import Where
from wsklab.orchestrator.release.plan import Plan, places, words
from wsklab.orchestrator.release.records import Cell, Closed, Count
from wsklab.orchestrator.release.sampling import bound, percent
from wsklab.orchestrator.results.known import Erratum
from wsklab.orchestrator.results.results import UNLOAD

MOST = 200
"""Reasons that are listed."""


class Decision(Closed):
    """What the rules come to."""

    reasons: tuple[str, ...]
    """Why it is a no-go; none: it is a go."""
    remarks: tuple[str, ...]
    """What somebody who signs should know, and no rule forbids."""

    @property
    def go(self) -> bool:
        """Whether no rule is broken."""
        return not self.reasons


def decide(
    plan: Plan,
    wanted: Mapping[str, Sequence[str]],
    cells: Sequence[Cell],
    errata: Sequence[Erratum],
    day: date,
    rehearsal: bool,
) -> Decision:
    """Return the decision on a plan that asks for the scenarios `wanted` of each driver."""
    reasons = [*_whole(plan, cells), *_same(cells)]
    for cell in cells:
        reasons += [f"{cell.title}: {reason}" for reason in _cell(plan, wanted.get(cell.driver, ()), cell, rehearsal)]
        reasons += [f"{cell.title}: {reason}" for reason in _errata(cell, errata, day)]
    reasons += [*_options(plan, cells), *_covers(plan, cells)]
    sure = set(certain(plan, cells, errata, day))  # first of all: what was stopped early has many that say no more
    reasons.sort(key=lambda reason: reason not in sure)
    if len(reasons) > MOST:
        reasons = [*reasons[:MOST], f"and {len(reasons) - MOST} more"]
    return Decision(reasons=tuple(reasons), remarks=tuple(_remarks(cells, errata, rehearsal)))


def certain(plan: Plan, cells: Sequence[Cell], errata: Sequence[Erratum], day: date) -> Iterator[str]:
    """Yield why it is a no-go whatever is still run of the plan; nothing while it can still be a go."""
    yield from _same(cells)
    for cell in cells:
        for reason in (*_lost(plan, cell), *_errata(cell, errata, day)):
            yield f"{cell.title}: {reason}"


def _lost(plan: Plan, cell: Cell) -> Iterator[str]:
    """Yield what a cell's counts have lost for good, were all that is still to come to pass."""
    rules = plan.rules
    for count in cell.scenarios:
        if count.failed > rules.failures:
            yield _too_many(plan, count)
        elif rules.flake_rate is not None and count.scenario != UNLOAD and count.failed:
            most = bound(count.failed, max(plan.repeats, count.judged), rules.confidence)
            if most > rules.flake_rate:
                yield (
                    f"{count.scenario} failed {count.failed} times, with which {plan.repeats} runs cannot prove that "
                    f"it flakes at no more than {percent(rules.flake_rate)}"
                )
    for name, number, most in _unjudged(plan, cell):
        if number and not most:
            yield _share(cell, name, number, most)


def _whole(plan: Plan, cells: Sequence[Cell]) -> Iterator[str]:
    asked = [(place.target, place.driver, dict(place.options)) for place in places(plan)]
    if [(cell.target, cell.driver, cell.options) for cell in cells] != asked:
        yield "the cells are not those of the plan"


def _cell(plan: Plan, wanted: Sequence[str], cell: Cell, rehearsal: bool) -> Iterator[str]:
    if not cell.runs:
        yield "nothing was run"
        return
    latest = {run.boot: run for run in cell.runs}
    for boot in range(1, len(plan.per_boot) + 1):
        if boot not in latest or latest[boot].state != "complete":
            yield f"boot {boot} of {len(plan.per_boot)} did not come to its end"
    for run in cell.runs:
        if not run.target.qualifying and not rehearsal:
            yield f"{run.target.name} is a stand-in, which qualifies nothing"
        if run.driver.twin and not rehearsal:
            yield f"the driver is {run.driver.twin}, a build that is wrong on purpose"
        if run.target.name != cell.target or _stem(run.driver.profile) != _stem(cell.driver):
            yield f"{run.folder} is a run of {run.driver.profile} on {run.target.name}"
    if not wanted:
        yield "no scenario is asked for"
    counts = {count.scenario: count for count in cell.scenarios}
    for name in wanted:
        if name not in counts:
            yield f"{name} was not run"
    for count in cell.scenarios:
        yield from _scenario(plan, count, len(plan.per_boot) if count.scenario == UNLOAD else plan.repeats)
    if UNLOAD not in counts:
        yield "the driver's unload was not judged"
    yield from _shares(plan, cell)


def _stem(profile: str) -> str:
    """Return a profile's name without its place and without a twin's."""
    return profile.rpartition("/")[2].partition(":")[0].removesuffix(".yaml")


def _scenario(plan: Plan, count: Count, asked: int) -> Iterator[str]:
    rules, name = plan.rules, count.scenario
    if count.failed > rules.failures:
        yield _too_many(plan, count)
    if count.judged < asked:
        yield f"{name} was judged {count.judged} times, {asked} are asked for"
    elif rules.flake_rate is not None and name != UNLOAD and not count.known:
        most = bound(count.failed, count.judged, rules.confidence)
        if most > rules.flake_rate:
            yield (
                f"{name} may flake at up to {percent(most)} after {count.failed} failures in {count.judged} runs "
                f"at confidence {rules.confidence:.4g}; {percent(rules.flake_rate)} is asked for"
            )


def _too_many(plan: Plan, count: Count) -> str:
    why = f": {count.reasons[0]}" if count.reasons else ""
    return f"{count.scenario} failed {count.failed} of {count.judged} times, {plan.rules.failures} may{why}"


def _shares(plan: Plan, cell: Cell) -> Iterator[str]:
    every = sum(count.runs for count in cell.scenarios)
    for name, number, most in _unjudged(plan, cell):
        if number > most * every:
            yield _share(cell, name, number, most)


def _unjudged(plan: Plan, cell: Cell) -> Iterator[tuple[str, int, float]]:
    """(verdict, how many runs have it, what share of them may)."""
    yield "inconclusive", sum(count.inconclusive for count in cell.scenarios), plan.rules.inconclusive
    yield "infra", sum(count.infra for count in cell.scenarios), plan.rules.infra


def _share(cell: Cell, name: str, number: int, most: float) -> str:
    first = next(count for count in cell.scenarios if getattr(count, name))
    why = f", as {first.scenario}: {first.reasons[0]}" if first.reasons else f", as {first.scenario}"
    every = sum(count.runs for count in cell.scenarios)
    return f"{number} of {every} runs are {name}, {percent(most)} may be{why}"


def _same(cells: Sequence[Cell]) -> Iterator[str]:
    """Yield what took part and was not the same from the first run to the last."""
    seen: dict[tuple[str, ...], tuple[str, str]] = {}
    for cell in cells:
        for run in cell.runs:
            facts: dict[tuple[str, ...], str] = {
                ("the image of", run.target.name): run.target.image_sha256,
                ("the driver", cell.driver, f"for {run.target.kind}"): run.driver.sha256,  # Windows has it signed
                **{("the version of", name): text for name, text in run.versions.items()},
                **{("the file", name): digest for name, digest in run.ingredients.items()},
            }
            for key, value in facts.items():
                first, folder = seen.setdefault(key, (value, run.folder))
                if value != first:
                    yield f"{' '.join(key)} is another in {run.folder} than in {folder}"


def _options(plan: Plan, cells: Sequence[Cell]) -> Iterator[str]:
    asked = plan.rules.options
    for target in dict.fromkeys(cell.target for cell in cells) if asked else ():
        for driver in dict.fromkeys(cell.driver for cell in cells):
            met = [
                cell
                for cell in cells
                if (cell.target, cell.driver) == (target, driver) and asked.items() <= cell.options.items()
            ]
            if not met:
                yield f"{driver} was not run on {target} with {' '.join(words(asked))}, which the rules ask for"
    for cell in cells:
        verifier = cell.options.get("verifier")
        if verifier and any(run.target.verifier != verifier for run in cell.runs):
            yield f"{cell.title}: Driver Verifier was not found set to {verifier} in all runs"


def _covers(plan: Plan, cells: Sequence[Cell]) -> Iterator[str]:
    """Each number must be judged, and not only recorded, by a scenario that did nothing but pass."""
    for target in dict.fromkeys(cell.target for cell in cells):
        for driver in dict.fromkeys(cell.driver for cell in cells):
            covered = {
                number
                for cell in cells
                if (cell.target, cell.driver) == (target, driver)
                for count in cell.scenarios
                if count.passed == count.runs and not count.recorded
                for number in count.covers
            }
            missing = [number for number in plan.rules.covers if number not in covered]
            if missing:
                yield f"{driver} on {target}: no scenario that passed covers {', '.join(missing)}"


def _errata(cell: Cell, errata: Sequence[Erratum], day: date) -> Iterator[str]:
    """Yield the entries that are out of date and would hide the next failure."""
    for run in cell.runs[:1]:
        environment = f"{run.driver.profile} on {run.target.name} ({run.accelerator})"
        where = Where(target=run.target.name, environment=environment, variant=str(cell.options.get("variant", "")))
        for entry in errata:
            for count in (count for count in cell.scenarios if where.has(entry, count.scenario)):
                if day > entry.until:
                    yield f"the erratum on {count.scenario} was known until {entry.until}: look at it again"
                elif count.passed and not entry.sometimes:
                    yield f"{count.scenario} passes, but is to fail: {entry.why}; take its erratum out"


def _remarks(cells: Sequence[Cell], errata: Sequence[Erratum], rehearsal: bool) -> Iterator[str]:
    if rehearsal:
        yield "This is a rehearsal: it qualifies nothing."
    for entry in errata:
        link = f" ({entry.link})" if entry.link else ""
        yield f"Open erratum on {entry.scenario}, until {entry.until}: {entry.why}{link}"
    for cell in cells:
        for count in cell.scenarios:
            if count.known:
                yield f"{cell.title}: {count.scenario} did not pass {count.known} times in a way that is known"
            if len(count.told) > 1 and not count.recorded:
                yield f"{cell.title}: {count.scenario} passed with different events: {' | '.join(count.told)}"
        again = [run for run in cell.runs if run.state != "complete"]
        if again:
            yield f"{cell.title}: {len(again)} of {len(cell.runs)} runs were cut short; their rows count"
