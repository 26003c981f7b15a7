"""What the lab needs of a host, and the packages that bring it: the list that `./lab` installs from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal, cast

LIST = Path(__file__).with_name("host_packages.tsv")

Purpose = Literal["run", "windows", "view", "test"]


@dataclass(frozen=True)
class Need:
    """One thing that a host must have: any one of `any_of`, each a command or, with a leading slash, a file."""

    any_of: tuple[str, ...]
    purpose: Purpose
    debian: str
    fedora: str

    def met(self, which: Callable[[str], str | None]) -> bool:
        """Say whether the host has it; `which` finds commands."""
        return any(Path(one).exists() if one.startswith("/") else which(one) is not None for one in self.any_of)


@cache
def needs() -> tuple[Need, ...]:
    """Return the list, in its own order."""
    return tuple(_read(LIST.read_text(encoding="utf-8")))


def _read(text: str) -> Iterator[Need]:
    for line in text.splitlines():
        if line and not line.startswith("#"):
            what, purpose, debian, fedora = line.split("\t")
            yield Need(tuple(what.split("|")), cast(Purpose, purpose), debian, fedora)


def missing(purpose: Purpose, which: Callable[[str], str | None]) -> list[Need]:
    """Return what is needed for `purpose` and not there."""
    return [need for need in needs() if need.purpose == purpose and not need.met(which)]
