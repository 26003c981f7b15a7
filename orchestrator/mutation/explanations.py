"""Mutants that nothing here can catch, each with the reason why: drivers/mutants-explained.yaml."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from wsklab.drivers import build
from wsklab.orchestrator.mutation.mutants import Mutant

FILE = build.HOME / "mutants-explained.yaml"


class Explanation(BaseModel):
    """Why one mutant survives (`id`), or all that change the same text (`before`).

    `file` may be a pattern.

    `equivalent`: no run can tell it from the correct build. `unreachable`: it is a fault, in code that this lab cannot
    make run. `strict_reaches`: the strict stand-in can, which has memory be short.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str | None = Field(None, pattern=r"^[0-9a-f]{10}$")
    before: str | None = None
    kind: Literal["equivalent", "unreachable"]
    file: str
    function: str | None = None
    operator: str | None = None
    change: str = ""
    strict_reaches: bool = False
    why: str = Field(min_length=20)

    def explains(self, mutant: Mutant) -> bool:
        """Whether it speaks of that mutant; every word that it has must fit."""
        words = (
            (self.id, mutant.id),
            (self.before, mutant.before),
            (self.function, mutant.function),
            (self.operator, mutant.operator),
        )
        return fnmatchcase(mutant.file, self.file) and all(said in (None, is_) for said, is_ in words)


@cache
def explanations(path: Path = FILE) -> Sequence[Explanation]:
    """All of them."""
    entries = TypeAdapter(list[Explanation]).validate_python(yaml.safe_load(path.read_text(encoding="utf-8")) or [])
    if vague := [entry for entry in entries if entry.id is None and entry.before is None]:
        raise ValueError(f"{path}: which mutants this explains is not said: {vague[0].why}")
    return entries


def explained(mutant: Mutant) -> Explanation | None:
    """Why it survives, if that is known."""
    return next((entry for entry in explanations() if entry.explains(mutant)), None)


def is_equivalent(mutant: Mutant) -> bool:
    """Whether it is known to be no fault."""
    entry = explained(mutant)
    return entry is not None and entry.kind == "equivalent"
