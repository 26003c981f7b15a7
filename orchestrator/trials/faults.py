"""All the faults that `wsklab doctor --faults` does, and the tables of what came of them."""

from __future__ import annotations

import os
import platform
import re
from dataclasses import asdict, dataclass

from wsklab.orchestrator.errors import ALL_PASS, NOT_PROVEN
from wsklab.orchestrator.trials import lab_faults, run_faults
from wsklab.orchestrator.trials.fault import Case, Outcome, Seen

SCHEMA = 1

PARTS = (
    "orchestrator",
    "QEMU",
    "peer",
    "wire",
    "guest kernel",
    "agent",
    "disk",
    "folder",
    "cache",
    "hostile input",
)
"""What can break, in the order of the table."""

CASES: tuple[Case, ...] = tuple(sorted((*run_faults.CASES, *lab_faults.CASES), key=lambda case: PARTS.index(case.part)))

HEAD = ("part", "fault", "verdict", "what is said of it", "named after", "over after", "what is kept")
"""The columns of the table."""

WIDEST = 240
"""Characters of a reason in the table; the whole is in `faults.json`."""


@dataclass(frozen=True)
class Measured:
    """All that were done, and on what."""

    host: str
    started: str
    accelerator: str
    outcomes: tuple[Outcome, ...]

    @property
    def exit_code(self) -> int:
        """Whether every fault got its verdict."""
        return NOT_PROVEN if any(one.problems for one in self.outcomes) else ALL_PASS


def host_in_words(load: float) -> str:
    """Return the host as one must know it to read the seconds.

    `load`: processes that want a processor, on the average.
    """
    return f"{os.cpu_count()} processors, {platform.system()} {platform.machine()}, load {load:.1f} when it began"


def as_document(measured: Measured) -> dict[str, object]:
    """`faults.json`."""
    return {"schema": SCHEMA, **asdict(measured), "exit_code": measured.exit_code}


def as_page(measured: Measured) -> str:
    """`faults.md`: a table with a line on the host above it, as it stands in the documentation."""
    rows = [HEAD, tuple("---" for _ in HEAD), *(row(one) for one in measured.outcomes)]
    wrong = [f"- **{one.fault}**: {problem}" for one in measured.outcomes for problem in one.problems]
    return "\n".join(
        [
            f"Measured {measured.started[:10]} with {measured.accelerator.upper()} on {measured.host}.",
            "",
            *(f"| {' | '.join(map(_cell, cells))} |" for cells in rows),
            *(["", "What was promised and does not hold:", "", *wrong] if wrong else []),
            "",
        ]
    )


def row(outcome: Outcome) -> tuple[str, ...]:
    """One fault, by the columns of `HEAD`."""
    seen = outcome.seen
    return (
        outcome.part,
        outcome.fault,
        seen.verdict,
        _cut(plain(seen.reason)) or "-",
        "-" if seen.named_after_s is None else f"{seen.named_after_s:.1f} s",
        f"{seen.ended_after_s:.1f} s",
        kept(seen),
    )


def kept(seen: Seen) -> str:
    """Return what is kept, as words: files of a run by name, those of a broken lab by what they tell of whom."""
    words: dict[str, list[str]] = {}
    for name in seen.kept:
        machine, _, rest = name.partition("-")
        if rest and machine in ("target", "peer"):
            words.setdefault(f"{machine}: ", []).append(rest.rpartition(".")[0])
        else:
            words.setdefault("", []).append(name)
    return "; ".join(who + ", ".join(names) for who, names in words.items()) or "-"


def plain(reason: str) -> str:
    """Return a reason without the folder in which it happened to be made."""
    return re.sub(r"/\S*/(?=[^\s/])", "", reason.removeprefix("wsklab: "))


def _cut(text: str) -> str:
    return text if len(text) <= WIDEST else text[: WIDEST - 1].rstrip() + "…"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*").replace("\n", " ")
