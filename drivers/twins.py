"""The catalogue of deliberately wrong builds, drivers/twins.yaml."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from .errors import DriverError

CATALOGUE = Path(__file__).with_name("twins.yaml")


class Twin(BaseModel):
    """One wrong build; see the head of twins.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z]+(-[a-z]+)*$")
    define: str = Field(pattern=r"^[A-Z]+(_[A-Z]+)*$")
    title: str
    rules: tuple[str, ...]
    verdict: Literal["fail", "inconclusive"]
    shows: str
    says: str = ""
    only_windows: str = ""
    scenario: str = ""
    seldom: str = ""
    strict: bool = False
    scarcity: bool = False


@cache
def twins() -> dict[str, Twin]:
    """All twins by name, in the order of the catalogue."""
    entries = TypeAdapter(list[Twin]).validate_python(yaml.safe_load(CATALOGUE.read_text(encoding="utf-8")))
    return {twin.name: twin for twin in entries}


def find_twin(name: str) -> Twin:
    """Return the twin of that name.

    Raises:
        DriverError: there is none.
    """
    try:
        return twins()[name]
    except KeyError:
        raise DriverError(f"There is no twin {name!r}; there are {', '.join(twins())}.") from None
