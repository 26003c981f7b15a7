"""Mutants that nothing here can catch, each with the reason why: drivers/mutants-explained.yaml."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from wsklab.drivers import build

FILE = build.HOME / "mutants-explained.yaml"


class Explanation(BaseModel):
    """Why one mutant survives, by its id; the other words are for the reader.

    `equivalent`: no run can tell it from the correct build. `unreachable`: it is a fault, in code that this lab cannot
    make run (memory is never short here).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern=r"^[0-9a-f]{10}$")
    kind: Literal["equivalent", "unreachable"]
    file: str
    function: str
    operator: str
    change: str
    why: str = Field(min_length=20)


@cache
def explanations(path: Path = FILE) -> dict[str, Explanation]:
    """All of them, by id."""
    entries = TypeAdapter(list[Explanation]).validate_python(yaml.safe_load(path.read_text(encoding="utf-8")) or [])
    return {entry.id: entry for entry in entries}


def equivalent() -> set[str]:
    """The ids of those that are no faults."""
    return {entry.id for entry in explanations().values() if entry.kind == "equivalent"}


def unreachable() -> dict[str, str]:
    """Why, for each that is a fault but cannot be shown here."""
    return {entry.id: entry.why for entry in explanations().values() if entry.kind == "unreachable"}
