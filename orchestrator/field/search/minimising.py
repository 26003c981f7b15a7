"""Minimising a scenario that fails, perhaps only now and then: which trial comes next, and what the trials say. Pure.

A trial counts as the same failure when its verdict is the same, one of its reasons is the one to keep, and it has no
reason that the whole scenario did not have: a scenario that has lost its story fails, too, but for other reasons. Such
a one is known by them after a few trials, while one that passes must be tried until its failure should have shown.
All that is known comes from the trials in their order, so that a search is resumed by telling it its trials once more.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from wsklab.orchestrator.field.search import chances, smaller
from wsklab.orchestrator.field.search.chances import Sequential
from wsklab.orchestrator.field.search.smaller import Document
from wsklab.orchestrator.scenario.scenario import Scenario

FAILURES, AT_LEAST = 3, 5
"""Failures, and trials, of the whole scenario before anything is left out."""

LAST = 10
"""Trials of the result."""

UNLUCKY = 3
"""Trials that the lab spoils before a case is passed over."""

STRAYED = 2
"""Trials that end as none of the whole scenario did, before a case has lost its story, if they are more than half."""

_NUMBER = re.compile(r"0x[0-9a-f]+|[0-9]+")


class Trial(NamedTuple):
    """What became of one case, once."""

    case: str
    verdict: str
    reasons: tuple[str, ...]


def plain(reason: str) -> str:
    """Return a reason without its numbers, which differ from trial to trial and from case to case."""
    return _NUMBER.sub("#", reason.casefold()).removeprefix("connection #: ")


@dataclass
class Count:
    """How often a case failed in the same way, of the trials that say something of it."""

    failed: int = 0
    trials: int = 0

    def __str__(self) -> str:
        return f"{self.failed} of {self.trials}"


@dataclass
class Minimiser:
    """Says which case is to be tried next (`next`), and hears what came of it (`tell`)."""

    document: Document
    keep: str
    most: int
    """Trials of the whole scenario at the most, if it does not fail."""
    say: Callable[[str], None] = lambda text: None
    smallest: Document = field(init=False)
    counts: dict[str, Count] = field(default_factory=dict)
    last: Count = field(default_factory=Count)
    verdict: str = ""
    cases: int = 0
    found: bool = False
    """It was seen to fail."""
    done: bool = False

    def __post_init__(self) -> None:
        self.smallest = self.document
        self._reasons: set[str] = set()
        self._others: set[frozenset[str]] = {frozenset()}  # how the whole scenario ends when it does not fail so
        self._said = ""
        self._decided: dict[str, bool] = {}
        self._course = self._all()
        self._current: Document | None = next(self._course)

    @property
    def stage(self) -> str:
        """What is being done, for people."""
        if self.done:
            return "done"
        return "the whole scenario" if not self._reasons else "smaller ones" if not self.last.trials else "the result"

    def next(self) -> Scenario | None:
        """Return the scenario to be tried next; None when all is known."""
        return None if self._current is None else smaller.valid(self._current)

    @property
    def case(self) -> str:
        """The key of that scenario."""
        return "" if self._current is None else smaller.key(self._current)

    def tell(self, trial: Trial) -> bool:
        """Hear of a trial; returns whether it is the failure. One of a case that is decided changes nothing."""
        same = self._same(trial)
        if trial.verdict != "infra":
            count = self.counts.setdefault(trial.case, Count())
            count.failed += same
            count.trials += 1
        if self._current is not None and trial.case == self.case:
            try:
                self._current = self._course.send(trial)
            except StopIteration:
                self._current, self.done = None, True
        return same

    def _same(self, trial: Trial) -> bool:
        if trial.verdict not in ("fail", "inconclusive") or self.verdict not in ("", trial.verdict):
            return False
        reasons = {plain(reason) for reason in trial.reasons}
        kept = any(plain(self.keep) in reason for reason in reasons)
        return kept and (not self.found or not self._reasons or reasons <= self._reasons)

    def _all(self) -> Generator[Document, Trial, None]:
        rate = yield from self._whole()
        if rate is None:
            return
        reducing = smaller.reduced(self.document)
        try:
            candidate = next(reducing)
            while True:
                fails = yield from self._fails(candidate, rate * self._share(candidate))
                if fails:
                    self._accept(candidate)
                candidate = reducing.send(fails)
        except StopIteration as end:
            self.smallest = end.value
        while self.last.trials < LAST:
            trial = yield self.smallest
            if trial.verdict != "infra":
                self.last.failed += self._same(trial)
                self.last.trials += 1

    def _whole(self) -> Generator[Document, Trial, float | None]:
        """How often the whole scenario fails; None: never."""
        count, spoilt, reasons = Count(), 0, set[str]()
        while count.failed < FAILURES or count.trials < AT_LEAST:
            if count.trials >= self.most or spoilt > self.most:
                break
            trial = yield self.document
            if trial.verdict == "infra":
                spoilt += 1
                continue
            count.trials += 1
            if self._same(trial):
                count.failed += 1
                self.verdict, self.found = trial.verdict, True
                reasons |= {plain(reason) for reason in trial.reasons}
            else:
                self._others.add(frozenset(map(plain, trial.reasons)))
        if not count.failed:
            return None
        self._reasons = reasons
        rate = chances.looked_for(count.failed, count.trials)
        self.say(
            f"the whole scenario: {self.verdict} in {count} trials; a smaller one is given up after "
            f"{chances.trials_for(rate)} trials without it"
        )
        return rate

    def _share(self, candidate: Document) -> float:
        """Return what fewer connections leave of the chance that one of them fails."""
        return float(candidate.get("connections", 1)) / float(self.document.get("connections", 1))

    def _fails(self, candidate: Document, rate: float) -> Generator[Document, Trial, bool]:
        """Whether a smaller scenario fails in the same way, by a sequential test."""
        case = smaller.key(candidate)
        if case in self._decided:
            return self._decided[case]
        test, spoilt, strayed = Sequential(rate), 0, 0
        if smaller.valid(candidate) is None:
            self._decided[case] = False
        else:
            self.cases += 1
            while test.decided is None and spoilt < UNLUCKY:
                trial = yield candidate
                if trial.verdict == "infra":
                    spoilt += 1
                else:
                    test.see(same := self._same(trial))
                    strayed += not same and frozenset(map(plain, trial.reasons)) not in self._others
                    if strayed >= STRAYED and strayed * 2 > test.failed + test.passed:
                        break
            self._decided[case] = test.decided is True
        return self._decided[case]

    def _accept(self, candidate: Document) -> None:
        self.smallest = candidate
        steps = len(candidate["steps"])
        what = f"{steps} step{'s' if steps != 1 else ''}, {smaller.size(candidate)} elements"
        if what != self._said:  # a smaller number is nothing to tell each time
            self._said = what
            self.say(f"still fails: {what}")


def heading(minimiser: Minimiser, told: Sequence[str]) -> str:
    """Return the comment at the top of the result's file."""
    case = smaller.key(minimiser.smallest)
    count = minimiser.counts.get(case, Count())
    lines = [
        *told,
        f"Kept: {minimiser.verdict}, {minimiser.keep}",
        f"It failed so in {minimiser.last} last trials, and in {count} of all trials of it.",
        f"{len(minimiser.document['steps'])} steps were tried to be fewer in {minimiser.cases} cases; "
        f"{len(minimiser.smallest['steps'])} are left, and none of them can be left out."
        if minimiser.done
        else "Not finished: smaller ones are still to be tried.",
    ]
    return "".join(f"# {line}\n" for line in lines)
