"""Mutants that are no faults, each with the reason why: drivers/mutants-equivalent.yaml."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from wsklab.drivers import build

FILE = build.HOME / "mutants-equivalent.yaml"


class Equivalent(BaseModel):
    """One mutant that no test can tell from the correct build, by its id; the other words are for the reader."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern=r"^[0-9a-f]{10}$")
    file: str
    function: str
    operator: str
    change: str
    why: str = Field(min_length=20)


@cache
def equivalents(path: Path = FILE) -> dict[str, Equivalent]:
    """All of them, by id."""
    entries = TypeAdapter(list[Equivalent]).validate_python(yaml.safe_load(path.read_text(encoding="utf-8")) or [])
    return {entry.id: entry for entry in entries}
